//! From replies to facts, and from facts to a report. Pure.

use skein_client::LeasedTask;
use skein_model::event::AttemptFacts;
use skein_model::retry::{Next, RetryPolicy};
use skein_model::spool::{Outcome, Report, Verdict};
use skein_model::{DurationMs, Reply, UnixMs};
use skein_smtp::client::{RecipientOutcome, TransactionOutcome};
use skein_smtp::reply_class::{Scope, Stage, is_too_many_recipients};

use crate::host::Host;
use crate::refusal;

/// A reply as it is kept.
pub fn fact(reply: &skein_smtp::reply::Reply) -> Reply {
    Reply {
        code: reply.code,
        enhanced: reply.enhanced.map(Into::into),
        text: reply.text.replace('\n', " "),
        host: None,
        class: None,
    }
    .bounded()
}

pub fn from_host(host: &Host, mut reply: Reply) -> Reply {
    reply.host = Some(format!("{} [{}]", host.name, host.address));
    reply
}

/// How an attempt went, before it is known what becomes of the recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    pub site: String,
    pub source: Option<String>,
    /// The name of the source IP as metrics have it; none was chosen.
    pub ip: Option<String>,
    pub peer: Option<String>,
    pub tls: Option<String>,
    pub duration: DurationMs,
    /// The peer took on the duty to report success.
    pub passes_dsn: bool,
    /// The peer took as many recipients as it takes at a time, and the others may follow now.
    pub rest_at_once: bool,
    /// The cause that keeps the message from going may be over by then.
    pub retry_within: Option<DurationMs>,
    /// No host was met, and the destination is left alone for so long; zero: it is not yet.
    pub away_for: Option<DurationMs>,
    /// The IP from which it is left alone.
    pub away_from: Option<String>,
}

/// How a transaction calls its end where no host said anything.
const CUT: (u8, u16, u16) = (4, 4, 2);
/// A task that met no host once comes again soon, and later each time: its destination was restarted perhaps, or is one of a
/// site that lives otherwise.
const SOON: DurationMs = DurationMs::from_secs(1);

/// Whether another host of the destination may take what this one did not. Nothing was decided about any recipient:
/// the connection ended before the final dot, the host lacks an extension that the message needs, or, where more hosts are
/// left to ask, it takes nothing from this return path now (RFC 5321 5.1).
pub fn may_go_elsewhere(outcome: &TransactionOutcome, has_more_hosts: bool) -> bool {
    use skein_smtp::reply_class::ReplyClass::{Deferred, Failed};
    let undecided = |recipient: &RecipientOutcome| match recipient.class {
        Deferred(Scope::Connection) => true,
        Deferred(Scope::Message) => {
            has_more_hosts && recipient.from_peer && recipient.stage == Stage::Mail
        }
        Failed(Scope::Message) => !recipient.from_peer,
        _ => false,
    };
    !outcome.dot_sent && outcome.recipients.iter().all(undecided)
}

/// Whether the host took some recipients and said of the others only that they are too many for one transaction
/// (RFC 5321 4.5.3.1.10).
pub fn rest_may_follow_at_once(recipients: &[RecipientOutcome]) -> bool {
    use skein_smtp::reply_class::ReplyClass::{Deferred, Delivered};
    let mut some_taken = false;
    let mut some_left = false;
    for recipient in recipients {
        match recipient.class {
            Delivered => some_taken = true,
            Deferred(_) if !is_too_many_recipients(&recipient.reply) => return false,
            Deferred(_) => some_left = true,
            _ => {}
        }
    }
    some_taken && some_left
}

/// Verdicts of a transaction by recipient, in the order of the task.
pub fn verdicts(host: &Host, outcomes: &[RecipientOutcome]) -> Vec<(Verdict, Reply)> {
    outcomes
        .iter()
        .map(|outcome| {
            let reply = fact(&outcome.reply);
            let reply = if outcome.from_peer {
                from_host(host, reply)
            } else {
                Reply { code: 0, ..reply }
            };
            let verdict = match outcome.class {
                skein_smtp::reply_class::ReplyClass::Delivered => Verdict::Delivered,
                skein_smtp::reply_class::ReplyClass::Deferred(_) => Verdict::Deferred,
                skein_smtp::reply_class::ReplyClass::Failed(_) => Verdict::Failed,
            };
            (verdict, reply)
        })
        .collect()
}

/// Whether the connection ended before anything was decided, and no host said why.
pub fn is_cut(verdicts: &[(Verdict, Reply)]) -> bool {
    let is_ours = |reply: &Reply| reply.host.is_none() && reply.enhanced == Some(CUT);
    let mut all = verdicts.iter();
    all.all(|(verdict, reply)| *verdict == Verdict::Deferred && is_ours(reply))
}

/// The report of an attempt: recipients that are too old expire, the others wait.
pub fn report(
    policy: &RetryPolicy,
    task: &LeasedTask,
    attempt: &Attempt,
    verdicts: Vec<(Verdict, Reply)>,
    now: UnixMs,
) -> Report {
    let number = task.task.attempts + 1;
    let next = next(policy, task, attempt.away_for, now);
    let (verdicts, asked) = refusal::told(verdicts, &attempt.site);
    let retry_after = match next {
        Next::RetryAfter(wait) if !attempt.rest_at_once => {
            let wait = asked.map_or(wait, |asked| as_asked(policy, task, asked, wait, now));
            attempt.retry_within.map_or(wait, |within| within.min(wait))
        }
        Next::RetryAfter(_) | Next::Expired => DurationMs(0),
    };
    let outcomes = task
        .task
        .recipients
        .iter()
        .zip(verdicts)
        .map(|((recipient, _), (verdict, reply))| {
            let (verdict, reply) = match (verdict, next) {
                (Verdict::Deferred, Next::Expired) => (Verdict::Expired, expired(&reply)),
                (Verdict::Expired, _) => (verdict, refusal::expired(reply)),
                _ => (verdict, reply),
            };
            Outcome {
                recipient: *recipient,
                verdict,
                reply,
            }
        })
        .collect();
    let envelope = &task.message.envelope;
    Report {
        task: task.id,
        session: task.session,
        epoch: task.epoch,
        facts: AttemptFacts {
            number,
            queue: task.task.queue(envelope).id,
            domain: task.task.domain.clone(),
            site: attempt.site.clone(),
            source: attempt.source.clone(),
            peer: attempt.peer.clone(),
            tls: attempt.tls.clone(),
            duration: attempt.duration,
        },
        outcomes,
        retry_after,
        dsn: None,
        delay_notified: false,
        away_for: attempt.away_for,
    }
}

/// A wait that the hosts ask for, within what the policy has. `wait`: by the policy alone, which differs from task to task: those
/// that were told the same do not come back together.
fn as_asked(
    policy: &RetryPolicy,
    task: &LeasedTask,
    asked: DurationMs,
    wait: DurationMs,
    now: UnixMs,
) -> DurationMs {
    let apart = wait.0 % (asked.0 / 10 + 1);
    let age = now.since(task.task.created);
    let left = policy.max_age.0.saturating_sub(age.0).max(1);
    DurationMs((asked.0 + apart).min(policy.cap.0).min(left))
}

/// When a task is tried again. Of the attempts, those count that met a host. One that waits for its destination is looked at
/// meanwhile as rarely as any other task of its age, so that it expires and its sender hears of the delay.
fn next(
    policy: &RetryPolicy,
    task: &LeasedTask,
    away_for: Option<DurationMs>,
    now: UnixMs,
) -> Next {
    let row = &task.task;
    let after = |attempt: u32| policy.after(task.id, attempt, row.created, now);
    match away_for {
        None => after((row.attempts + 1).saturating_sub(row.absences).max(1)),
        Some(DurationMs(0)) => {
            let soon = RetryPolicy {
                first: SOON.min(policy.first),
                ..policy.clone()
            };
            match (
                soon.after(task.id, row.absences + 1, row.created, now),
                after(row.attempts + 1),
            ) {
                (Next::RetryAfter(soon), Next::RetryAfter(usual)) => {
                    Next::RetryAfter(soon.min(usual))
                }
                _ => Next::Expired,
            }
        }
        Some(_) => after(row.attempts + 1),
    }
}

/// The reply of a recipient that was given up: ours, with the last that was heard.
pub fn expired(last: &Reply) -> Reply {
    let text = format!("delivery time expired; the last attempt ended with: {last}");
    refusal::expired(Reply {
        host: last.host.clone(),
        ..Reply::ours((4, 4, 7), text)
    })
    .bounded()
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;

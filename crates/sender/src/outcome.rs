//! From replies to facts, and from facts to a report. Pure.

use skein_client::Assigned;
use skein_model::event::AttemptFacts;
use skein_model::retry::{Next, RetryPolicy};
use skein_model::spool::{Outcome, Report, Verdict};
use skein_model::{DurationMs, QueueId, Reply, UnixMs};
use skein_smtp::client::RecipientOutcome;

use crate::connect::Host;

/// A reply as it is kept.
pub fn fact(reply: &skein_smtp::reply::Reply) -> Reply {
    Reply {
        code: reply.code,
        enhanced: reply.enhanced.map(Into::into),
        text: reply.text.replace('\n', " "),
        host: None,
    }
    .bounded()
}

pub fn from_host(host: &Host, mut reply: Reply) -> Reply {
    reply.host = Some(format!("{} [{}]", host.name, host.address));
    reply
}

/// How an attempt went, before it is known what becomes of the recipients.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    pub site: String,
    pub source: Option<String>,
    pub peer: Option<String>,
    pub tls: Option<String>,
    pub duration: DurationMs,
    /// The peer took on the duty to report success.
    pub passes_dsn: bool,
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
            let verdict = match outcome.verdict {
                skein_smtp::verdict::Verdict::Delivered => Verdict::Delivered,
                skein_smtp::verdict::Verdict::Deferred(_) => Verdict::Deferred,
                skein_smtp::verdict::Verdict::Failed(_) => Verdict::Failed,
            };
            (verdict, reply)
        })
        .collect()
}

/// The report of an attempt: recipients that are too old expire, the others wait.
pub fn report(
    policy: &RetryPolicy,
    task: &Assigned,
    attempt: &Attempt,
    verdicts: Vec<(Verdict, Reply)>,
    now: UnixMs,
) -> Report {
    let number = task.task.attempts + 1;
    let next = policy.after(task.id, number, task.task.created, now);
    let retry_after = match next {
        Next::RetryAfter(wait) => wait,
        Next::Expired => DurationMs(0),
    };
    let outcomes = task
        .task
        .recipients
        .iter()
        .zip(verdicts)
        .map(|((recipient, _), (verdict, reply))| match (verdict, next) {
            (Verdict::Deferred, Next::Expired) => Outcome {
                recipient: *recipient,
                verdict: Verdict::Expired,
                reply: expired(&reply),
            },
            _ => Outcome {
                recipient: *recipient,
                verdict,
                reply,
            },
        })
        .collect();
    let envelope = &task.message.envelope;
    Report {
        task: task.id,
        session: task.session,
        epoch: task.epoch,
        facts: AttemptFacts {
            number,
            queue: QueueId::of(&task.task.domain, &envelope.tenant, &envelope.pool),
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
    }
}

/// The reply of a recipient that was given up: ours, with the last that was heard.
pub fn expired(last: &Reply) -> Reply {
    let text = format!("delivery time expired; the last attempt ended with: {last}");
    Reply {
        host: last.host.clone(),
        ..Reply::ours((4, 4, 7), text)
    }
    .bounded()
}

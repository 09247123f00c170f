//! Recording what an attempt came to. Actions are fenced, facts are not.

use std::borrow::Cow;

use super::apply::{Away, Effect, end_task, queue_of, take_over};
use super::command::{Outcome, Refusal, Report, Verdict};
use super::held;
use super::rows::{MessageRow, TaskRow};
use super::state::State;
use crate::event::EventKind;
use crate::feature::{Feature, WireVersion};
use crate::id::MessageId;
use crate::mail::Recipient;
use crate::rows::Rows;
use crate::time::DurationMs;

/// A sender that is gone must not leave a destination alone; its pauses are half as long at most.
const AWAY_MAX: DurationMs = DurationMs::from_secs(600);

/// Records the outcomes that are news.
///
/// A terminal outcome is a fact: it counts while the recipient is open, from any session and however late,
/// because refusing it would send the message again. Deferring is an action: only the session that holds the
/// slot may do it, once for each attempt.
pub(super) fn record<R: Rows>(
    state: &mut State<'_, R>,
    report: &Report,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    let report = &*as_kept(state.row.keeps(), report);
    let Some(mut task) = state.task(report.task) else {
        // Reported before, or deleted meanwhile: repeating a report is no error.
        return Ok(());
    };
    let mut message = state
        .message(report.task.message)
        .expect("a task's message outlives it");
    let may_act = state
        .slot(task.slot)
        .is_some_and(|slot| slot.session == report.session && slot.epoch == report.epoch);
    let is_new_attempt = report.facts.number > task.attempts;

    let open = task.recipients.len();
    let mut news = Vec::new();
    for outcome in &report.outcomes {
        let terminal = outcome.verdict != Verdict::Deferred;
        let Some(place) = task
            .recipients
            .iter()
            .position(|(number, _)| *number == outcome.recipient)
        else {
            continue;
        };
        if terminal {
            news.push((outcome, task.recipients.remove(place).1));
        } else if may_act && is_new_attempt {
            news.push((outcome, task.recipients[place].1.clone()));
        }
    }
    if news.is_empty() && !(may_act && is_new_attempt) {
        return if may_act {
            Ok(())
        } else {
            Err(Refusal::StaleEpoch)
        };
    }
    let dsn = match &report.dsn {
        Some(dsn) if !news.is_empty() => {
            take_over(state, dsn, effects)?;
            Some(dsn.id)
        }
        _ => None,
    };
    let may_defer = may_act && is_new_attempt;
    let due = state.now() + report.retry_after;
    for (outcome, recipient) in &news {
        state.event(
            report.task.message,
            &message,
            event_kind(report, outcome, recipient, due, dsn),
        );
    }
    let is_answer = |outcome: &Outcome| outcome.reply.host.is_some();
    if may_act && report.away_for.is_none() && report.outcomes.iter().any(is_answer) {
        let queue = queue_of(&message, &task);
        effects.push(Effect::Answered { queue });
    }
    held::lose_recipients(state, &message, open - task.recipients.len());
    if task.recipients.is_empty() {
        end_task(state, report.task, &task, &mut message, effects);
    } else {
        keep(state, report, &mut task, &message, may_defer, effects);
    }
    Ok(())
}

/// Without what replicas of older builds would not store.
fn as_kept(keeps: WireVersion, report: &Report) -> Cow<'_, Report> {
    let has_class = |outcome: &Outcome| outcome.reply.class.is_some();
    if keeps >= Feature::BounceClasses.since() || !report.outcomes.iter().any(has_class) {
        return Cow::Borrowed(report);
    }
    let mut report = report.clone();
    for outcome in &mut report.outcomes {
        outcome.reply.class = None;
    }
    Cow::Owned(report)
}

/// Writes a task back that still has open recipients; a deferral gives it a new place in line.
fn keep<R: Rows>(
    state: &mut State<'_, R>,
    report: &Report,
    task: &mut TaskRow,
    message: &MessageRow,
    may_defer: bool,
    effects: &mut Vec<Effect>,
) {
    if may_defer {
        let queue = queue_of(message, task);
        state.delete_due(queue.id, report.task, task);
        task.attempts = report.facts.number;
        task.due = state.now() + report.retry_after;
        task.delay_notified |= report.delay_notified;
        let deferral = report
            .outcomes
            .iter()
            .rev()
            .find(|o| o.verdict == Verdict::Deferred);
        task.last_reply = deferral
            .map(|outcome| outcome.reply.clone())
            .or(task.last_reply.take());
        let away_for = report.away_for.map(|given| given.min(AWAY_MAX));
        task.absences += u32::from(away_for.is_some());
        task.awaits_host = away_for.is_some_and(|given| given.0 > 0);
        state.add_due(queue.id, report.task, task);
        effects.push(Effect::Due {
            queue,
            due: task.due,
            task: report.task,
        });
        if let Some(given) = away_for.filter(|_| task.awaits_host) {
            let since = state.now();
            let until = since + given;
            effects.push(Effect::Awaits {
                queue,
                task: report.task,
                away: Some(Away { since, until }),
            });
        }
    }
    state.put_task(report.task, task);
}

fn event_kind(
    report: &Report,
    outcome: &Outcome,
    recipient: &Recipient,
    due: crate::time::UnixMs,
    dsn: Option<MessageId>,
) -> EventKind {
    let recipient = recipient.address.clone();
    let attempt = report.facts.clone();
    let reply = outcome.reply.clone();
    match outcome.verdict {
        Verdict::Delivered => EventKind::Delivered {
            recipient,
            attempt,
            reply,
        },
        Verdict::Deferred => EventKind::Deferred {
            recipient,
            attempt,
            reply,
            due,
        },
        Verdict::Failed => EventKind::Bounced {
            recipient,
            attempt,
            reply,
            dsn,
        },
        Verdict::Expired => EventKind::Expired {
            recipient,
            attempt,
            reply,
            dsn,
        },
    }
}

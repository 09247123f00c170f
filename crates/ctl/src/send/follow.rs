//! What becomes of a message: its events, until no recipient is open.

use std::time::{Duration, Instant};

use skein_wire::v1::{GetMessageRequest, HistoryEventKind, Message};
use tonic::Code;

use crate::admin::Admin;
use crate::{message, show};

/// The node is asked as often at first, and less and less often then: most messages are delivered within a second.
const ASK_FIRST: Duration = Duration::from_millis(100);
const ASK_LAST: Duration = Duration::from_secs(2);
/// A node that is asked may hear of a message after the node that took it, and a leader may be elected meanwhile.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// To every recipient.
    Delivered,
    /// Some recipient will not get it.
    Failed,
    /// Something is open.
    Waiting,
}

/// Asks until nothing is open or the time is over, and tells each event once.
///
/// # Errors
/// The admin API gives no answer, or does not know the message.
pub async fn follow(
    mut admin: Admin,
    id: &str,
    until: Instant,
    prints: bool,
) -> Result<Message, tonic::Status> {
    let begun = Instant::now();
    let mut known = Message::default();
    let mut pause = ASK_FIRST;
    let mut answered = begun;
    loop {
        let request = GetMessageRequest { id: id.to_owned() };
        match admin.get_message(request).await {
            Ok(found) => {
                let found = found.into_inner();
                if prints {
                    for entry in found.history.iter().skip(known.history.len()) {
                        println!("{}", message::line(entry));
                    }
                }
                known = found;
                answered = Instant::now();
            }
            Err(status) if may_pass(status.code()) && answered.elapsed() < UNKNOWN_FOR => {}
            Err(status) => return Err(status),
        }
        let now = Instant::now();
        if now >= until || outcome(&known) != Outcome::Waiting {
            return Ok(known);
        }
        tokio::time::sleep(pause.min(until - now)).await;
        pause = (pause * 3 / 2).min(ASK_LAST);
    }
}

fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound | Code::Unavailable | Code::DeadlineExceeded | Code::Aborted
    )
}

pub fn outcome(message: &Message) -> Outcome {
    let is_failure = |kind| {
        matches!(
            kind,
            HistoryEventKind::Bounced | HistoryEventKind::Expired | HistoryEventKind::Deleted
        )
    };
    if message.finished_at_ms == 0 {
        return Outcome::Waiting;
    }
    match message
        .history
        .iter()
        .any(|entry| is_failure(entry.event()))
    {
        true => Outcome::Failed,
        false => Outcome::Delivered,
    }
}

/// The recipients that are open, with the reason that was heard last.
pub fn waiting(message: &Message) -> String {
    let open = message.open_tasks.iter().map(|task| {
        let reply = match task.last_reply.as_str() {
            "" => String::new(),
            reply => format!(": {reply}"),
        };
        let attempts = match task.attempts {
            1 => "1 attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        format!(
            "{} ({attempts}, next {}){reply}",
            task.recipients.join(", "),
            show::until(task.due_at_ms)
        )
    });
    let open: Vec<String> = open.collect();
    match open.is_empty() {
        true => "the admin API has not heard of it yet".to_owned(),
        false => open.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use skein_wire::v1::{HistoryEntry, TaskSummary};

    use super::*;

    fn message(finished_at_ms: u64, events: &[HistoryEventKind]) -> Message {
        let entry = |event: &HistoryEventKind| HistoryEntry {
            event: (*event).into(),
            ..HistoryEntry::default()
        };
        Message {
            finished_at_ms,
            history: events.iter().map(entry).collect(),
            ..Message::default()
        }
    }

    #[test]
    fn a_message_is_delivered_when_nobody_is_left_without() {
        use HistoryEventKind::{Accepted, Bounced, Deferred, Deleted, Delivered, Expired};
        for (finished, events, expected) in [
            (0, &[][..], Outcome::Waiting),
            (0, &[Accepted, Delivered], Outcome::Waiting),
            (0, &[Accepted, Bounced], Outcome::Waiting),
            (1, &[Accepted, Delivered], Outcome::Delivered),
            (1, &[Accepted, Deferred, Delivered], Outcome::Delivered),
            (1, &[Accepted, Delivered, Bounced], Outcome::Failed),
            (1, &[Accepted, Deferred, Expired], Outcome::Failed),
            (1, &[Accepted, Deleted], Outcome::Failed),
        ] {
            assert_eq!(outcome(&message(finished, events)), expected, "{events:?}");
        }
    }

    #[test]
    fn what_waits_is_told_with_its_last_reply() {
        let mut open = message(0, &[]);
        assert!(waiting(&open).contains("not heard of it"));
        open.open_tasks.push(TaskSummary {
            recipients: vec!["a@b.test".to_owned(), "c@b.test".to_owned()],
            attempts: 2,
            due_at_ms: 1,
            last_reply: "451 later".to_owned(),
            ..TaskSummary::default()
        });
        assert_eq!(
            waiting(&open),
            "a@b.test, c@b.test (2 attempts, next due): 451 later"
        );
    }
}

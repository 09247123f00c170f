//! What may be asked of a spool group, and what it answers.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::import::Import;
use crate::event::{AttemptFacts, EventKind};
use crate::id::{Epoch, MessageId, QueueId, SessionId, Slot, TaskId};
use crate::mail::{BodyRef, Domain, Envelope, Recipient, Reply};
use crate::time::{DurationMs, UnixMs};
use crate::trace_context::TraceContext;

/// A command is idempotent: a leader change may make its author send it twice.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Accept(#[n(0)] Box<Accept>),
    #[n(1)]
    Report(#[n(0)] Box<Report>),
    #[n(2)]
    OpenSlots(#[n(0)] OpenSlots),
    #[n(3)]
    Delete {
        #[n(0)]
        message: MessageId,
        #[n(1)]
        by: String,
    },
    #[n(4)]
    Flush(#[n(0)] FlushScope),
    /// Forgets events that every sink has, and the history of messages that ended long ago.
    #[n(5)]
    Trim {
        #[n(0)]
        events_before: u64,
        #[n(1)]
        finished_before: UnixMs,
        /// Rows that one command may remove, so that an apply stays short.
        #[n(2)]
        limit: u32,
    },
    #[n(6)]
    Refile(#[n(0)] Box<Refile>),
    /// An operator has a queue's tasks go through another pool.
    #[n(7)]
    MoveTasks {
        #[n(0)]
        queue: QueueId,
        #[n(1)]
        pool: String,
    },
    /// What is held of each tenant is counted from now on.
    #[n(8)]
    CountHeld,
    /// What builds of this [`WireVersion`](crate::feature::WireVersion) read in rows is kept from now on.
    #[n(9)]
    Keep(#[n(0)] u32),
    /// What came back about a message of the group, out of band.
    #[n(10)]
    Told(#[n(0)] Box<Told>),
    #[n(16)]
    Import(#[n(0)] Box<Import>),
}

/// Takes a message over: all recipients or none.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Accept {
    #[n(0)]
    pub id: MessageId,
    #[n(1)]
    pub envelope: Envelope,
    #[n(2)]
    pub body: BodyRef,
    #[n(3)]
    pub tasks: Vec<NewTask>,
    /// For a DSN: the message that it is about.
    #[n(4)]
    pub about: Option<MessageId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewTask {
    #[n(0)]
    pub domain: Domain,
    #[n(1)]
    pub slot: Slot,
    #[n(2)]
    pub recipients: Vec<Recipient>,
    /// None: the domain.
    #[n(3)]
    pub site: Option<String>,
    /// The span that makes it, if that is recorded.
    #[n(4)]
    pub created_in: Option<TraceContext>,
    /// Instead of the envelope's, towards the recipients' hosts.
    #[n(5)]
    pub return_path: Option<String>,
}

impl NewTask {
    /// Groups recipients by domain, in order of first appearance, at most `recipients_max` to a task. A domain of
    /// which `sites` knows nothing is its own site; `slot_of` says which slot a site's tasks go to.
    ///
    /// A task is one SMTP transaction. RFC 5321 4.5.3.1.8 lets every server refuse more than 100 recipients.
    pub fn plan(
        recipients: impl IntoIterator<Item = (Domain, Recipient)>,
        recipients_max: usize,
        sites: &BTreeMap<Domain, String>,
        slot_of: impl Fn(&str) -> Slot,
    ) -> Vec<Self> {
        let mut tasks: Vec<Self> = Vec::new();
        let mut open = std::collections::HashMap::new();
        for (domain, recipient) in recipients {
            let place = *open
                .entry(domain.clone())
                .and_modify(|place: &mut usize| {
                    if tasks[*place].recipients.len() >= recipients_max {
                        *place = usize::MAX;
                    }
                })
                .or_insert(usize::MAX);
            if place == usize::MAX {
                open.insert(domain.clone(), tasks.len());
                let site = sites.get(&domain).filter(|site| *site != domain.as_str());
                let slot = slot_of(site.map_or(domain.as_str(), String::as_str));
                let site = site.cloned();
                tasks.push(Self {
                    domain,
                    slot,
                    recipients: vec![recipient],
                    site,
                    created_in: None,
                    return_path: None,
                });
            } else {
                tasks[place].recipients.push(recipient);
            }
        }
        tasks
    }
}

/// The result of one attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    #[n(0)]
    pub task: TaskId,
    #[n(1)]
    pub session: SessionId,
    /// The epoch under which the task was dispensed.
    #[n(2)]
    pub epoch: Epoch,
    #[n(3)]
    pub facts: AttemptFacts,
    #[n(4)]
    pub outcomes: Vec<Outcome>,
    /// Wait before the next attempt for the recipients that stay open.
    #[n(5)]
    pub retry_after: DurationMs,
    /// A DSN about these outcomes; taken over in the same apply, if at least one outcome is news.
    #[n(6)]
    pub dsn: Option<Accept>,
    /// The DSN tells of a delay, so none is due again.
    #[n(7)]
    pub delay_notified: bool,
    /// The destination gave no connection, and is asked again after so long: until it answers, the task waits for that, and
    /// for nothing of its own. Zero: no host was met this time, which is no reason yet to leave the destination alone. None:
    /// a host was met, or it is our own fault.
    #[n(8)]
    pub away_for: Option<DurationMs>,
}

/// What a report that came by mail says about a message, long after its attempts perhaps.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Told {
    #[n(0)]
    pub message: MessageId,
    /// The return path that it was handed in with, and its tenant: for a message that is forgotten by now.
    #[n(1)]
    pub sender: String,
    #[n(2)]
    pub tenant: String,
    /// Which of the message's recipients, from 0: while the message is known, its address is that, whatever the report says.
    #[n(3)]
    pub recipient: Option<u16>,
    #[n(4)]
    pub news: Vec<EventKind>,
}

impl Told {
    /// One report is about so many recipients at most.
    pub const NEWS_MAX: usize = 100;
}

/// Files a task under another site: its sender found that it belongs there. It counts no attempt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Refile {
    #[n(0)]
    pub task: TaskId,
    #[n(1)]
    pub session: SessionId,
    /// The epoch under which the task was dispensed.
    #[n(2)]
    pub epoch: Epoch,
    /// None: the domain.
    #[n(3)]
    pub site: Option<String>,
    /// Of that site.
    #[n(4)]
    pub slot: Slot,
    /// How often the task had moved when it was dispensed.
    #[n(5)]
    pub moves: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// Number of the recipient within the task as it was accepted.
    #[n(0)]
    pub recipient: u32,
    #[n(1)]
    pub verdict: Verdict,
    #[n(2)]
    pub reply: Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Verdict {
    #[n(0)]
    Delivered,
    #[n(1)]
    Deferred,
    #[n(2)]
    Failed,
    /// Given up because of its age.
    #[n(3)]
    Expired,
}

/// A sender claims slots. A slot keeps its highest epoch for ever.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OpenSlots {
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub slots: Vec<(Slot, Epoch)>,
}

/// Which tasks become due now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FlushScope {
    #[n(0)]
    Queue(#[n(0)] QueueId),
    #[n(1)]
    Message(#[n(0)] MessageId),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    #[n(0)]
    Done,
    /// Done for this many things.
    #[n(1)]
    Count(#[n(0)] u64),
    #[n(2)]
    Refused(#[n(0)] Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum Refusal {
    #[n(0)]
    #[error("the slot was opened by another session under a higher epoch")]
    StaleEpoch,
    #[n(1)]
    #[error("no such message or task is open")]
    NotFound,
    #[n(2)]
    #[error("the message has no recipient")]
    NoRecipients,
    #[n(3)]
    #[error("the task has moved as often as it may")]
    MovedEnough,
    #[n(16)]
    #[error("the group holds other messages; a backup is restored into an empty cluster")]
    NotEmpty,
    #[n(17)]
    #[error("this backup is restored already")]
    Restored,
}

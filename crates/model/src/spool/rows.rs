//! The rows of a spool group.
//!
//! | key | value |
//! |---|---|
//! | `m` message | [`MessageRow`] |
//! | `t` message, number | [`TaskRow`] |
//! | `d` queue, due, message, number | nothing: the order in which a queue's tasks come due |
//! | `w` queue, message, number | nothing: tasks of a queue that are due as soon as their destination answers |
//! | `q` queue | [`QueueRow`] |
//! | `s` slot | [`SlotRow`] |
//! | `o` tenant | [`HeldRow`](super::HeldRow): what the group holds of it |
//! | `h` message, seq | [`crate::event::Event`] |
//! | `e` seq | message: the order of events |
//! | `x` finished at, message | nothing: the order in which history is forgotten |
//! | `b` | [`ImportRow`](super::ImportRow): the backup that the group comes from |
//! | `z` | [`StateRow`] |

use minicbor::{Decode, Encode};

use crate::automation::TaskFacts;
use crate::feature::WireVersion;
use crate::id::{Epoch, SessionId, Slot};
use crate::mail::{BodyRef, Domain, Envelope, Recipient, Reply};
use crate::priority::Priority;
use crate::queue::{Queue, QueueNames};
use crate::time::UnixMs;
use crate::trace_context::TraceContext;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MessageRow {
    #[n(0)]
    pub envelope: Envelope,
    #[n(1)]
    pub body: BodyRef,
    #[n(2)]
    pub accepted_at: UnixMs,
    #[n(3)]
    pub open_tasks: u32,
    #[n(4)]
    pub finished_at: Option<UnixMs>,
    /// It is part of what the group holds of its tenant; left out of rows of groups that do not count yet.
    #[n(5)]
    pub is_counted: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TaskRow {
    #[n(0)]
    pub domain: Domain,
    #[n(1)]
    pub slot: Slot,
    /// Open recipients with their number in the task as accepted. A recipient that is done is gone from here.
    #[n(2)]
    pub recipients: Vec<(u32, Recipient)>,
    /// Attempts that ended.
    #[n(3)]
    pub attempts: u32,
    #[n(4)]
    pub due: UnixMs,
    #[n(5)]
    pub created: UnixMs,
    #[n(6)]
    pub last_reply: Option<Reply>,
    #[n(7)]
    pub delay_notified: bool,
    /// What it is filed under; none if that is its domain.
    #[n(8)]
    pub site: Option<String>,
    /// How often it was filed anew.
    #[n(9)]
    #[cbor(default)]
    pub moves: u32,
    /// An operator had it go through this pool; none: through the message's own.
    #[n(10)]
    pub pool: Option<String>,
    /// Attempts that met no host. They say nothing about the message, so its next wait is not longer for them.
    #[n(11)]
    #[cbor(default)]
    pub absences: u32,
    /// It met no host the last time: it is due as soon as its destination answers, and at `due` whether it does or not.
    #[n(12)]
    #[cbor(default)]
    pub awaits_host: bool,
    /// The span of the intake that made it, if that is recorded: attempts link to it.
    #[n(13)]
    pub created_in: Option<TraceContext>,
    /// See [`TaskRow::return_path`].
    #[n(14)]
    pub return_path: Option<String>,
}

impl TaskRow {
    pub fn site(&self) -> &str {
        self.site.as_deref().unwrap_or(self.domain.as_str())
    }

    pub fn pool<'a>(&'a self, envelope: &'a Envelope) -> &'a str {
        self.pool.as_deref().unwrap_or(&envelope.pool)
    }

    /// What the recipients' hosts are told: the task's own, which says whom a report is about, or that of the message.
    pub fn return_path<'a>(&'a self, envelope: &'a Envelope) -> &'a str {
        self.return_path.as_deref().unwrap_or(&envelope.return_path)
    }

    /// What operators' words about mail are compared with. A site that a provider has is called as the provider is.
    pub fn facts<'a>(&'a self, envelope: &'a Envelope) -> TaskFacts<'a> {
        TaskFacts {
            tenant: &envelope.tenant,
            domain: self.domain.as_str(),
            site: self.site(),
            provider: Some(self.site()),
            pool: self.pool(envelope),
            campaign: envelope.campaign.as_deref(),
        }
    }

    /// Of a message with this envelope.
    pub fn queue(&self, envelope: &Envelope) -> Queue {
        Queue::of(&QueueNames {
            domain: &self.domain,
            site: self.site.as_deref(),
            tenant: &envelope.tenant,
            pool: self.pool(envelope),
            campaign: envelope.campaign.as_deref(),
            priority: envelope.priority,
            slot: self.slot,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QueueRow {
    #[n(0)]
    pub domain: Domain,
    #[n(1)]
    pub tenant: String,
    #[n(2)]
    pub pool: String,
    #[n(3)]
    pub slot: Slot,
    /// Open tasks.
    #[n(4)]
    pub tasks: u64,
    #[n(5)]
    #[cbor(default)]
    pub priority: Priority,
    /// None: the domain.
    #[n(6)]
    pub site: Option<String>,
    #[n(7)]
    pub campaign: Option<String>,
}

impl QueueRow {
    pub fn site(&self) -> &str {
        self.site.as_deref().unwrap_or(self.domain.as_str())
    }

    /// What operators' words about mail are compared with. A site that a provider has is called as the provider is.
    pub fn facts(&self) -> TaskFacts<'_> {
        TaskFacts {
            tenant: &self.tenant,
            domain: self.domain.as_str(),
            site: self.site(),
            provider: Some(self.site()),
            pool: &self.pool,
            campaign: self.campaign.as_deref(),
        }
    }

    pub fn queue(&self) -> Queue {
        Queue::of(&QueueNames {
            domain: &self.domain,
            site: self.site.as_deref(),
            tenant: &self.tenant,
            pool: &self.pool,
            campaign: self.campaign.as_deref(),
            priority: self.priority,
            slot: self.slot,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SlotRow {
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub epoch: Epoch,
}

/// What a group knows about itself as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub struct StateRow {
    /// The latest `at` of any entry; time never goes back within a group.
    #[n(0)]
    pub now: UnixMs,
    #[n(1)]
    pub next_seq: u64,
    #[n(2)]
    pub open_messages: u64,
    #[n(3)]
    pub open_tasks: u64,
    #[n(4)]
    pub open_body_bytes: u64,
    /// Events before this number are trimmed.
    #[n(5)]
    pub first_seq: u64,
    /// What is held of each tenant is counted; left out by groups that do not yet.
    #[n(6)]
    pub counts_held: Option<bool>,
    /// See [`StateRow::keeps`].
    #[n(7)]
    pub keeps: Option<u32>,
}

impl StateRow {
    /// What newer builds alone read in rows is left out: replicas of an older one would store other rows.
    pub fn keeps(&self) -> WireVersion {
        self.keeps.map_or(WireVersion::OLDEST, WireVersion)
    }
}

/// Keys of the rows. Numbers are big-endian, so byte order is number order.
pub mod key {
    use crate::id::{MessageId, QueueId, Slot, TaskId};
    use crate::time::UnixMs;

    pub const MESSAGES: &[u8] = b"m";
    pub const QUEUES: &[u8] = b"q";
    pub const EVENTS: &[u8] = b"e";
    pub const FINISHED: &[u8] = b"x";
    pub const SLOTS: &[u8] = b"s";
    pub const STATE: &[u8] = b"z";
    pub const HELD: &[u8] = b"o";
    pub const IMPORT: &[u8] = b"b";

    fn join(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
        key.push(tag);
        for part in parts {
            key.extend_from_slice(part);
        }
        key
    }

    pub fn message(id: MessageId) -> Vec<u8> {
        join(b'm', &[&id.0])
    }

    pub fn held(tenant: &str) -> Vec<u8> {
        join(b'o', &[tenant.as_bytes()])
    }

    pub fn task(id: TaskId) -> Vec<u8> {
        join(b't', &[&id.message.0, &id.number.to_be_bytes()])
    }

    pub fn tasks_of(message: MessageId) -> Vec<u8> {
        join(b't', &[&message.0])
    }

    pub fn due(queue: QueueId, due: UnixMs, task: TaskId) -> Vec<u8> {
        join(
            b'd',
            &[
                &queue.0.to_be_bytes(),
                &due.0.to_be_bytes(),
                &task.message.0,
                &task.number.to_be_bytes(),
            ],
        )
    }

    pub fn due_of(queue: QueueId) -> Vec<u8> {
        join(b'd', &[&queue.0.to_be_bytes()])
    }

    pub fn awaiting(queue: QueueId, task: TaskId) -> Vec<u8> {
        join(
            b'w',
            &[
                &queue.0.to_be_bytes(),
                &task.message.0,
                &task.number.to_be_bytes(),
            ],
        )
    }

    pub fn awaiting_of(queue: QueueId) -> Vec<u8> {
        join(b'w', &[&queue.0.to_be_bytes()])
    }

    pub fn queue(id: QueueId) -> Vec<u8> {
        join(b'q', &[&id.0.to_be_bytes()])
    }

    pub fn slot(slot: Slot) -> Vec<u8> {
        join(b's', &[&slot.0.to_be_bytes()])
    }

    pub fn history(message: MessageId, seq: u64) -> Vec<u8> {
        join(b'h', &[&message.0, &seq.to_be_bytes()])
    }

    pub fn history_of(message: MessageId) -> Vec<u8> {
        join(b'h', &[&message.0])
    }

    pub fn event(seq: u64) -> Vec<u8> {
        join(b'e', &[&seq.to_be_bytes()])
    }

    pub fn finished(at: UnixMs, message: MessageId) -> Vec<u8> {
        join(b'x', &[&at.0.to_be_bytes(), &message.0])
    }

    fn number<const N: usize>(key: &[u8], at: usize) -> Option<[u8; N]> {
        key.get(at..at + N)?.try_into().ok()
    }

    /// Due time and task of a `d` key.
    pub fn read_due(key: &[u8]) -> Option<(UnixMs, TaskId)> {
        let due = UnixMs(u64::from_be_bytes(number(key, 9)?));
        let message = MessageId(number(key, 17)?);
        let task = TaskId {
            message,
            number: u32::from_be_bytes(number(key, 33)?),
        };
        Some((due, task))
    }

    /// Task of a `w` key.
    pub fn read_awaiting(key: &[u8]) -> Option<TaskId> {
        Some(TaskId {
            message: MessageId(number(key, 9)?),
            number: u32::from_be_bytes(number(key, 25)?),
        })
    }

    pub fn read_queue(key: &[u8]) -> Option<QueueId> {
        number(key, 1).map(|n| QueueId(u64::from_be_bytes(n)))
    }

    pub fn read_task(key: &[u8]) -> Option<TaskId> {
        Some(TaskId {
            message: MessageId(number(key, 1)?),
            number: u32::from_be_bytes(number(key, 17)?),
        })
    }

    pub fn read_message(key: &[u8]) -> Option<MessageId> {
        number(key, 1).map(MessageId)
    }

    pub fn read_slot(key: &[u8]) -> Option<Slot> {
        number(key, 1).map(|n| Slot(u16::from_be_bytes(n)))
    }

    pub fn read_event(key: &[u8]) -> Option<u64> {
        number(key, 1).map(u64::from_be_bytes)
    }

    /// Time and message of an `x` key.
    pub fn read_finished(key: &[u8]) -> Option<(UnixMs, MessageId)> {
        Some((
            UnixMs(u64::from_be_bytes(number(key, 1)?)),
            MessageId(number(key, 9)?),
        ))
    }
}

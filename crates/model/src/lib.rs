//! The product, pure: messages, tasks and queues, the state machines that own them, and the
//! decisions about them.
//!
//! Nothing in this crate reads a clock, draws a random number, opens a file or a socket. Time and
//! chance are arguments, so the same code runs in a node, in a property test and in a simulation.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod absence;
pub mod address;
pub mod automation;
pub mod bounce;
pub mod broken_tls;
pub mod disk;
pub mod dispense;
pub mod doctor;
pub mod event;
pub mod feature;
pub mod health;
pub mod history;
mod host_port;
pub mod id;
pub mod lease;
pub mod leased_tasks;
pub mod lockout;
pub mod mail;
pub mod meta;
pub mod nearest;
pub mod preflight;
pub mod priority;
pub mod proposal;
pub mod queue;
pub mod queue_survey;
pub mod retry;
pub mod rfc3339;
pub mod rotation;
pub mod rows;
pub mod slewed_clock;
pub mod spool;
pub mod sts;
pub mod suppression;
pub mod throttle;
pub mod time;
pub mod tls_report;
pub mod trace_context;
pub mod warmup;

pub use host_port::{HostPort, NotAHostPort};
pub use id::{Epoch, GroupId, MessageId, NodeId, QueueId, SessionId, Slot, TaskId};
pub use mail::{BodyRef, Domain, Envelope, Notify, Recipient, Reply, reply_class};
pub use nearest::nearest;
pub use priority::Priority;
pub use queue::{Queue, SITE_BYTES_MAX, is_campaign_name, is_site_name};
pub use time::{DurationMs, LimitMs, UnixMs};
pub use trace_context::TraceContext;

/// How a value is laid out on disk and in the Raft log: CBOR arrays with numbered fields.
///
/// A field may be appended as an `Option`; a field's number is never used again. Readers of an
/// older version therefore read what a newer one wrote, which a rolling upgrade needs.
pub mod codec {
    use minicbor::{Decode, Encode};

    /// Bytes that do not hold the value which their place says they hold.
    #[derive(Debug, thiserror::Error)]
    #[error("stored {what} cannot be decoded")]
    pub struct CorruptRow {
        pub what: &'static str,
        #[source]
        pub source: minicbor::decode::Error,
    }

    pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        minicbor::encode(value, &mut out).expect("writing to a Vec cannot fail");
        out
    }

    pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CorruptRow> {
        minicbor::decode(bytes).map_err(|source| CorruptRow {
            what: std::any::type_name::<T>(),
            source,
        })
    }
}

#[cfg(test)]
mod proposal_tests;

//! The client dialogue after EHLO: what the peer can do, one mail transaction, and what became of each recipient.

mod capabilities;
mod commands;
#[cfg(test)]
mod lmtp_tests;
mod message;
#[cfg(test)]
mod tests;
mod transaction;

pub use capabilities::Capabilities;
pub use message::{CannotSend, OutgoingMessage, OutgoingRecipient, ReturnContent};
pub use transaction::{Next, RecipientOutcome, Transaction, TransactionOutcome};

//! SMTP, pure: codec, server and client dialogues, replies and their classes.
//!
//! Nothing here reads a clock, a socket or a random number. Bytes go in, bytes and typed events come out,
//! so that every dialogue can be tested as data. The shells are in `ingress` and `sender`.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod address;
pub mod client;
pub mod command;
pub mod line_ends;
pub mod receive;
pub mod reply;
pub mod reply_class;
pub mod secret;
pub mod server;
pub mod stuff;
pub mod xtext;

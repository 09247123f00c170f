//! Opens, clicks and unsubscribes, pure: what is put into a message for them, and what is made of the hits that follow.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

pub mod address;
pub mod bots;
pub mod click;
mod encoding;
mod entity;
mod message;
mod pixel;
mod rewrite;
mod target;
pub mod unsubscribe;

pub use address::truncate_ip;
pub use click::{Click, ClickSealer, NotFound, open_click};
pub use message::{RewrittenMessage, rewrite_message};
pub use pixel::{PIXEL_BYTES, pixel};
pub use rewrite::{HTML_BYTES_MAX, LINKS_MAX, Link, Mark, Options, Rewritten, Untouched, rewrite};
pub use target::TARGET_BYTES_MAX;

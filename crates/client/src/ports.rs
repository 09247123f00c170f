//! The side that listens: connections are accepted here, proven, and bounded.
//!
//! Strangers hold a place only until they must have shown who they are, and give it up as soon as somebody needs it. See
//! [`Places`] for who goes first.

mod accept;
mod places;
mod users;

pub use accept::{Accepted, Guard, Limits, accept};
pub use places::{Full, Places, network_of};

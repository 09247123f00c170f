//! The side that listens: connections are accepted here, proven, and bounded.
//!
//! A client holds a place unproven only for seconds, and gives it up as soon as another one needs it. See [`Places`] for
//! the order.

mod accept;
mod places;
mod room;
mod users;

pub use accept::{Accepted, Guard, Limits, accept};
pub use places::{Full, Places, network_of};

//! What goes from one source IP to one site: its tasks and the connections that serve them.

pub mod destinations;
pub mod hand_over;
pub mod hold;
pub mod open;
pub mod serve;
pub mod waiting;
pub mod waits;

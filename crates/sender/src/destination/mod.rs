//! What goes from one source IP to one site: its tasks and the connections that serve them.

pub mod attempt;
pub mod destinations;
pub mod hand_over;
pub mod hold;
pub mod open;
pub mod outbound;
pub mod permit;
pub mod placement;
pub mod placer;
pub mod serve;
pub mod state;
pub mod table;
pub mod tls_results;
pub mod transactions;
pub mod waiting;
pub mod waits;

//! Source IPs on several nodes: which of them mail comes from, through whom, and what happens when one moves.

mod fitness;
mod last;
mod lending;
mod moves;
mod older;
mod proxies;
mod sockets;
mod stage;
mod unplaced;
mod weights;

//! What the leader of the meta group keeps of senders, and decides for them: sessions, source IPs, limits and warm-ups.

mod broken_tls;
mod contested;
mod guesses;
pub mod health;
mod known_clients;
mod limits;
mod openings;
mod replies;
mod service;
mod sessions;
mod source_ips;
mod waits;
mod warmup;

pub use sessions::SessionsService;

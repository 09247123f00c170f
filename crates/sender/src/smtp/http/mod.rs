//! Mail as a POST to a program: what is sent, what the answer says, and the exchange.

pub mod exchange;
pub mod request;
pub mod response;
pub mod verdict;

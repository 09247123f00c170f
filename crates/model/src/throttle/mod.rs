//! Limits: how many at once, and how many in any window of time.
//!
//! A limit of which one process has all is a [`Window`] or a [`Concurrency`].

mod concurrency;
mod pace;
mod rate;
mod spent;
mod window;

pub use concurrency::Concurrency;
pub use rate::{BadRate, COUNT_MAX, PER_MAX, PER_MIN, Rate};
pub use window::Window;

#[cfg(test)]
mod window_tests;

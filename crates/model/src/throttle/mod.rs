//! Limits: how many at once, and how many in any window of time.
//!
//! A limit of which one process has all is a [`Window`] or a [`Concurrency`]. [`LimiterSet`] takes tokens of several limits at
//! once, all or none. A limit that spans processes is divided by the leader of the meta group: connections and rates over
//! short windows as [`Shares`], other rates as tokens of a [`Ledger`].
//!
//! No limit is exceeded, because whatever may be used somewhere is counted: tokens from before they can be used until the
//! end of the last window that they can be in. What cannot be known, such as what a dead process has used, counts as used.

mod allocation;
mod concurrency;
mod gcra;
mod ledger;
mod limit;
mod limit_clock;
mod limiter_set;
mod limiter_set_shared;
mod max_min;
mod rate;
mod shares;
mod token_lease;
mod window;
mod window_counter;

pub use allocation::{Before, LimitAnswer, LimitReport, Said};
pub use concurrency::Concurrency;
pub use ledger::{HOLDERS_MAX, Ledger};
pub use limit::{Counted, Limit, LimitId, Scope, SharedLimit};
pub use limit_clock::LimitClock;
pub use limiter_set::{LIMITERS_MAX, LimitRequest, LimiterSet, Permit, Throttled};
pub use limiter_set_shared::REPORTS_MAX;
pub use max_min::max_min;
pub use rate::{BadRate, COUNT_MAX, PER_MAX, PER_MIN, Rate};
pub use shares::{SHARERS_MAX, SHORT, ShareAnswer, ShareHeld, ShareReport, Shares, TURN};
pub use token_lease::{TokenLease, TokenLeaseAnswer, TokenLeaseReport};
pub use window::Window;

#[cfg(test)]
mod cluster_sides;
#[cfg(test)]
mod cluster_sim;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod limiter_set_tests;
#[cfg(test)]
mod shares_tests;
#[cfg(test)]
mod window_tests;

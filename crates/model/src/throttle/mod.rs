//! Limits: how many at once, and how many in any window of time.
//!
//! A limit of which one process has all is a [`Window`] or a [`Concurrency`]. [`Gates`] takes tokens of several limits at
//! once, all or none. A limit that spans processes is divided by the leader of the meta group: connections and rates over
//! short windows as [`Shares`], other rates and daily budgets as tokens of a [`Ledger`].
//!
//! No limit is exceeded, because whatever may be used somewhere is counted: tokens from before they can be used until the
//! end of the last window that they can be in. What nobody can know, such as what a dead process has used, counts as used.

mod concurrency;
mod gates;
mod gates_wide;
mod ledger;
mod limit;
mod lowered;
mod max_min;
mod pace;
mod purse;
mod rate;
mod shares;
mod spent;
mod stake;
mod steady;
mod window;

pub use concurrency::Concurrency;
pub use gates::{Gates, Held, LIMITERS_MAX, Permit, Want};
pub use gates_wide::REPORTS_MAX;
pub use ledger::{Allowance, Budget, HOLDERS_MAX, Ledger};
pub use limit::{Counted, Limit, LimitId, Scope, Wide};
pub use lowered::Lowered;
pub use max_min::max_min;
pub use purse::{Purse, PurseAnswer, PurseReport};
pub use rate::{BadRate, COUNT_MAX, PER_MAX, PER_MIN, Rate};
pub use shares::{SHARERS_MAX, SHORT, ShareAnswer, ShareHeld, ShareReport, Shares, TURN};
pub use stake::{Before, LimitAnswer, LimitReport, Said};
pub use steady::SteadyClock;
pub use window::Window;

#[cfg(test)]
mod cluster_sides;
#[cfg(test)]
mod cluster_sim;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod gates_tests;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod shares_tests;
#[cfg(test)]
mod window_tests;

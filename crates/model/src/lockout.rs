//! Attempts that fail, such as guesses of passwords: counted, slowed down, locked out for minutes. Pure: time is an argument, which
//! counts from any moment.
//!
//! Each node counts by itself and tells the leader of the meta group, which adds up and tells all. No failure is committed:
//! two hundred guesses a second would be as many commits. What the leader knows all nodes know as well, and tell the next one.
//! From where accounts have logged in is written down ([`KnownRow`](crate::meta::KnownRow)), at most once an hour and account.

mod counters;
mod shared;

pub use counters::{Calm, Counters, ENTRIES_MAX, FORGET, LOCK, Rule};
pub use shared::{Heard, KnownClient, SHARED_MAX, SharedFailures, Told};

use std::time::Duration;

/// For whom failures count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A network, as text.
    Client(String),
    /// A user, for clients from which it has not logged in before.
    User(String),
    /// A user at a client from which it has logged in before.
    UserAtClient(KnownClient),
}

/// What counts for one subject at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub subject: Subject,
    pub failures: u32,
    /// 0: it is not locked out.
    pub locked_for: Duration,
}

/// Typing errors are free.
const FREE: u32 = 3;
/// Failures that lock a client out: by then they have taken some twenty seconds.
pub const CLIENT_FAILURES_MAX: u32 = 10;
/// From however many clients. Nobody is made to wait because of an account's failures before: strangers could make others wait.
pub const USER_FAILURES_MAX: u32 = 20;
/// Recipients that are refused to a stranger.
const RELAYING_FAILURES_MAX: u32 = 20;

pub const OF_CLIENTS: Rule = Rule {
    free: FREE,
    failures_max: CLIENT_FAILURES_MAX,
};
pub const OF_USERS: Rule = Rule {
    free: USER_FAILURES_MAX,
    failures_max: USER_FAILURES_MAX,
};
pub const OF_RELAYING: Rule = Rule {
    free: FREE,
    failures_max: RELAYING_FAILURES_MAX,
};

/// The rule that failures of a subject are counted by.
pub fn rule_of(subject: &Subject) -> Rule {
    match subject {
        Subject::User(_) => OF_USERS,
        Subject::Client(_) | Subject::UserAtClient(_) => OF_CLIENTS,
    }
}

//! Guesses of passwords, and mail that strangers want relayed: counted over connections, slowed down, locked out for minutes.
//! Pure: time is an argument.
//!
//! Failures count for the client (an IPv4 address, a /64 of IPv6) and for the user. A user's lock does not hold for a client
//! from which that user has logged in before: else strangers could shut any user out. Such a pair has a counter of its own.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use ipnet::IpNet;

use crate::lockout::{Lock, Locked};

/// Typing errors are free.
const FREE: u32 = 3;
/// The wait before the next answer, which doubles with each further failure.
const DELAY: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(8);
/// A client whose delay is longer is not asked to wait, but to come again: waiting sessions take up places.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Failures that lock a client out, and a user for clients that are not known.
const CLIENT_FAILURES_MAX: u32 = 10;
const USER_FAILURES_MAX: u32 = 20;
/// A lock.
const LOCK: Duration = Duration::from_secs(300);
/// One failure is forgotten in this time.
const FORGET: Duration = Duration::from_secs(60);
/// Entries of each table, of about 100 bytes. Those with the fewest failures go first.
const ENTRIES_MAX: usize = 10_000;

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<T> {
    /// It is looked at after this time.
    Try(T, Duration),
    /// It is not looked at, for this time.
    Locked(Duration),
}

/// A login that is being looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    client: IpNet,
    is_known: bool,
}

#[derive(Debug)]
pub struct Guesses {
    clients: Table<IpNet>,
    users: Table<String>,
    /// Users, each with a network that it has logged in from.
    known: Table<(String, IpNet)>,
    relaying: Table<IpNet>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            clients: Table::new(CLIENT_FAILURES_MAX, Calm::Forgotten),
            users: Table::new(USER_FAILURES_MAX, Calm::Forgotten),
            known: Table::new(CLIENT_FAILURES_MAX, Calm::Kept),
            relaying: Table::new(USER_FAILURES_MAX, Calm::Forgotten),
        }
    }
}

impl Guesses {
    /// A client wants to log in. Each attempt counts as a failure until it has turned out well, so that many at once have
    /// no more tries than one after the other.
    pub fn login(&mut self, user: &str, client: IpNet, now: Duration) -> Decision<Login> {
        let mut login = Login {
            user: user.to_owned(),
            client,
            is_known: false,
        };
        let pair = (login.user.clone(), client);
        if self.known.entries.contains_key(&pair) {
            login.is_known = true;
            return match self.known.due(&pair, now) {
                Ok(_) => Decision::Try(login, self.known.begin(pair, now)),
                Err(locked) => Decision::Locked(locked),
            };
        }
        let due = (
            self.clients.due(&client, now),
            self.users.due(&login.user, now),
        );
        match due {
            (Ok(_), Ok(_)) => {
                let of_client = self.clients.begin(client, now);
                let of_user = self.users.begin(login.user.clone(), now);
                Decision::Try(login, of_client.max(of_user))
            }
            (Err(locked), Ok(_)) | (Ok(_), Err(locked)) => Decision::Locked(locked),
            (Err(one), Err(other)) => Decision::Locked(one.max(other)),
        }
    }

    /// The password was right.
    pub fn succeeded(&mut self, login: Login, now: Duration) {
        self.withdrawn(&login);
        self.known.entry((login.user, login.client), now);
    }

    /// The password was not looked at.
    pub fn withdrawn(&mut self, login: &Login) {
        let Login {
            user,
            client,
            is_known,
        } = login;
        if *is_known {
            self.known.undo(&(user.clone(), *client));
        } else {
            self.clients.undo(client);
            self.users.undo(user);
        }
    }

    /// The password was wrong. Returns failures that count for the client, and who is locked out by this one.
    pub fn failed(&mut self, login: &Login, now: Duration) -> (u32, Vec<Lock>) {
        let (user, client) = (login.user.clone(), login.client);
        if login.is_known {
            let pair = (user, client);
            let (failures, is_locked) = self.known.failed(&pair, now);
            let lock = is_locked.then(|| lock(Locked::UserAtClient(pair.0, pair.1), failures));
            return (failures, lock.into_iter().collect());
        }
        let (failures, is_locked) = self.clients.failed(&client, now);
        let (of_user, is_user_locked) = self.users.failed(&user, now);
        let locks = [
            is_locked.then(|| lock(Locked::Client(client), failures)),
            is_user_locked.then(|| lock(Locked::User(user), of_user)),
        ];
        (failures, locks.into_iter().flatten().collect())
    }

    /// A stranger wants mail relayed, which is refused in any case: after how long, or with the connection. Also whether it is
    /// locked out by this one.
    pub fn relaying(&mut self, client: IpNet, now: Duration) -> Decision<Option<Lock>> {
        match self.relaying.due(&client, now) {
            Ok(_) => {
                let after = self.relaying.begin(client, now);
                let (failures, is_locked) = self.relaying.failed(&client, now);
                let lock = is_locked.then(|| lock(Locked::Client(client), failures));
                Decision::Try(lock, after)
            }
            Err(locked) => Decision::Locked(locked),
        }
    }
}

fn lock(locked: Locked, failures: u32) -> Lock {
    Lock {
        locked,
        failures,
        time: LOCK,
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    failures: u32,
    /// Up to when failures were forgotten.
    at: Duration,
    /// When the next attempt is looked at, at the earliest.
    next_at: Duration,
    locked_until: Duration,
}

impl Counter {
    fn forget(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs() / FORGET.as_secs();
        let forgotten = u32::try_from(passed).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(forgotten);
        self.at = match self.failures {
            0 => now,
            _ => self.at + FORGET * forgotten,
        };
    }

    /// The more, the longer an entry is kept.
    fn order(&self, other: &Self) -> Ordering {
        let weight = |counter: &Self| (counter.failures, counter.locked_until, counter.at);
        weight(self).cmp(&weight(other))
    }
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(doublings) => DELAY.saturating_mul(1 << doublings.min(16)).min(DELAY_MAX),
    }
}

/// What becomes of entries without failures when room is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calm {
    Forgotten,
    /// Those that were used last.
    Kept,
}

#[derive(Debug)]
struct Table<K> {
    failures_max: u32,
    calm: Calm,
    entries: HashMap<K, Counter>,
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn new(failures_max: u32, calm: Calm) -> Self {
        Self {
            failures_max,
            calm,
            entries: HashMap::new(),
        }
    }

    /// How long an attempt would wait, or is locked out.
    fn due(&self, key: &K, now: Duration) -> Result<Duration, Duration> {
        let Some(counter) = self.entries.get(key) else {
            return Ok(Duration::ZERO);
        };
        let locked = counter.locked_until.saturating_sub(now);
        let wait = counter.next_at.saturating_sub(now);
        match () {
            () if !locked.is_zero() => Err(locked),
            () if wait > WAIT_MAX => Err(wait),
            () => Ok(wait),
        }
    }

    /// Counts an attempt; returns how long it waits.
    fn begin(&mut self, key: K, now: Duration) -> Duration {
        let counter = self.entry(key, now);
        counter.failures = counter.failures.saturating_add(1);
        let wait = delay(counter.failures);
        let looked_at = counter.next_at.max(now) + wait;
        counter.next_at = looked_at;
        looked_at.saturating_sub(now)
    }

    fn undo(&mut self, key: &K) {
        if let Some(counter) = self.entries.get_mut(key) {
            counter.failures = counter.failures.saturating_sub(1);
        }
    }

    /// Failures that count, and whether this one locks out who was not.
    fn failed(&mut self, key: &K, now: Duration) -> (u32, bool) {
        let Some(counter) = self.entries.get_mut(key) else {
            return (0, false);
        };
        if counter.failures < self.failures_max {
            return (counter.failures, false);
        }
        let was_locked = counter.locked_until > now;
        counter.locked_until = now + LOCK;
        (counter.failures, !was_locked)
    }

    fn entry(&mut self, key: K, now: Duration) -> &mut Counter {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let counter = self.entries.entry(key).or_default();
        counter.forget(now);
        counter
    }

    /// Forgets what decayed, or else the eighth with the fewest failures.
    fn make_room(&mut self, now: Duration) {
        if self.calm == Calm::Forgotten {
            self.entries.retain(|_, counter| {
                counter.forget(now);
                counter.failures > 0 || counter.locked_until > now
            });
        }
        let keep = ENTRIES_MAX - ENTRIES_MAX / 8;
        if self.entries.len() <= keep {
            return;
        }
        let mut order: Vec<(K, Counter)> = self.entries.drain().collect();
        let excess = order.len() - keep;
        order.select_nth_unstable_by(excess, |one, other| one.1.order(&other.1));
        self.entries = order.split_off(excess).into_iter().collect();
    }
}

#[cfg(test)]
#[path = "guessing_tests.rs"]
mod tests;

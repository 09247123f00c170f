//! Guesses of passwords, and mail that strangers want relayed: counted over connections and over nodes, slowed down, locked out for
//! minutes. Pure: time is an argument.
//!
//! Failures count for the client (an IPv4 address, a /64 of IPv6) and for the user. A user's lock does not hold for a client
//! from which that user has logged in before: else strangers could shut any user out. Such a pair has a counter of its own.
//! What counts here is told to the cluster, and what counts there is heard; in between, each node counts by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ipnet::IpNet;
use skein_model::lockout::{
    Calm, Counters, Heard, KnownClient, LOCK, OF_CLIENTS, OF_RELAYING, OF_USERS, SHARED_MAX,
    Standing, Subject, Told,
};

use crate::lockout::{Lock, Locked};

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

type Pair = (String, IpNet);

#[derive(Debug)]
pub struct Guesses {
    clients: Counters<IpNet>,
    users: Counters<String>,
    /// Users, each with a network that it has logged in from.
    known: Counters<Pair>,
    relaying: Counters<IpNet>,
    untold: Untold,
}

/// What the cluster has not heard yet. What is beyond a bound counts here alone.
#[derive(Debug, Default)]
struct Untold {
    failed: BTreeMap<Subject, Failed>,
    known: BTreeSet<KnownClient>,
    /// The version that was heard last.
    version: u64,
    /// The leader wants to hear everything.
    is_all: bool,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    /// Of the last of them.
    client: IpNet,
}

impl Untold {
    fn failed(&mut self, subject: Subject, client: IpNet) {
        let failed = &mut self.failed;
        if failed.len() < SHARED_MAX || failed.contains_key(&subject) {
            let failed = failed.entry(subject).or_insert(Failed { count: 0, client });
            *failed = Failed {
                count: failed.count.saturating_add(1),
                client,
            };
        }
    }

    fn known(&mut self, known: KnownClient) {
        if self.known.len() < SHARED_MAX {
            self.known.insert(known);
        }
    }
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            clients: Counters::new(OF_CLIENTS, Calm::Forgotten),
            users: Counters::new(OF_USERS, Calm::Forgotten),
            known: Counters::new(OF_CLIENTS, Calm::Kept),
            relaying: Counters::new(OF_RELAYING, Calm::Forgotten),
            untold: Untold::default(),
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
        if self.known.contains(&pair) {
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
        if !login.is_known {
            self.untold.known(known_client(&login.user, login.client));
        }
        self.known.note((login.user, login.client), now);
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
            let subject = Subject::UserAtClient(known_client(&user, client));
            self.untold.failed(subject, client);
            let pair = (user, client);
            let (failures, is_locked) = self.known.failed(&pair, now);
            let lock = is_locked.then(|| lock(Locked::UserAtClient(pair.0, pair.1), failures));
            return (failures, lock.into_iter().collect());
        }
        self.untold
            .failed(Subject::Client(client.to_string()), client);
        self.untold.failed(Subject::User(user.clone()), client);
        let (failures, is_locked) = self.clients.failed(&client, now);
        let (of_user, is_user_locked) = self.users.failed(&user, now);
        let locks = [
            is_locked.then(|| lock(Locked::Client(client), failures)),
            is_user_locked.then(|| lock(Locked::User(user), of_user)),
        ];
        (failures, locks.into_iter().flatten().collect())
    }

    /// The password was wrong, and could not have been right: nobody may log in as this user from there. It counts for the
    /// client alone, for such attempts do the user no harm.
    pub fn failed_elsewhere(&mut self, login: &Login, now: Duration) -> (u32, Vec<Lock>) {
        if login.is_known {
            return self.failed(login, now);
        }
        self.users.undo(&login.user);
        self.untold
            .failed(Subject::Client(login.client.to_string()), login.client);
        let (failures, is_locked) = self.clients.failed(&login.client, now);
        let lock = is_locked.then(|| lock(Locked::Client(login.client), failures));
        (failures, lock.into_iter().collect())
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

    /// What the cluster is to be told. It is told again unless [`Self::was_told`].
    pub fn to_tell(&mut self, now: Duration) -> Told {
        if self.untold.is_all {
            // A leader that is new hears of these failures with all others.
            self.untold.failed.clear();
        }
        let mut told = Told {
            version: self.untold.version,
            failed: (self.untold.failed.iter())
                .map(|(subject, failed)| (subject.clone(), failed.count))
                .collect(),
            known: self.untold.known.iter().cloned().collect(),
            standings: Vec::new(),
        };
        if self.untold.is_all {
            told.standings = self.standings(now);
            told.standings.truncate(SHARED_MAX);
            let all = self.known.all(now);
            let all = all.map(|((user, client), _, _)| known_client(user, *client));
            let left = SHARED_MAX.saturating_sub(told.known.len());
            told.known.extend(all.take(left));
        }
        told
    }

    /// Whether there is something to tell before its time.
    pub fn is_untold(&self) -> bool {
        let Untold {
            failed,
            known,
            is_all,
            ..
        } = &self.untold;
        !failed.is_empty() || !known.is_empty() || *is_all
    }

    fn standings(&mut self, now: Duration) -> Vec<Standing> {
        let mut all = Vec::new();
        let mut push = |subject: Subject, failures: u32, locked_for: Duration| {
            if failures > 0 || !locked_for.is_zero() {
                all.push(Standing {
                    subject,
                    failures,
                    locked_for,
                });
            }
        };
        for (client, failures, locked_for) in self.clients.all(now) {
            push(Subject::Client(client.to_string()), failures, locked_for);
        }
        for (user, failures, locked_for) in self.users.all(now) {
            push(Subject::User(user.clone()), failures, locked_for);
        }
        for ((user, client), failures, locked_for) in self.known.all(now) {
            let known = known_client(user, *client);
            push(Subject::UserAtClient(known), failures, locked_for);
        }
        all
    }

    /// The cluster has heard it, and says what it knows. What failed here in between was not told. Returns who is locked out by
    /// what was told, each with the client of the last failure here.
    pub fn was_told(&mut self, told: &Told, heard: Heard, now: Duration) -> Vec<(IpNet, Lock)> {
        let untold = &mut self.untold;
        let failed_here: BTreeMap<&Subject, IpNet> = (told.failed.iter())
            .filter_map(|(subject, _)| Some((subject, untold.failed.get(subject)?.client)))
            .collect();
        for (subject, count) in &told.failed {
            if let Some(left) = untold.failed.get_mut(subject) {
                left.count = left.count.saturating_sub(*count);
            }
        }
        untold.failed.retain(|_, left| left.count > 0);
        for known in &told.known {
            untold.known.remove(known);
        }
        untold.version = heard.version;
        untold.is_all = heard.is_new;
        for subject in heard.cleared {
            self.clear(&subject, now);
        }
        for known in heard.known {
            if let Ok(client) = known.client.parse() {
                self.known.note((known.user, client), now);
            }
        }
        let mut locks = Vec::new();
        for standing in heard.standings {
            let client = failed_here.get(&standing.subject).copied();
            let lock = self.raise(standing, now);
            locks.extend(client.zip(lock));
        }
        locks
    }

    /// Returns whom this locks out.
    fn raise(&mut self, standing: Standing, now: Duration) -> Option<Lock> {
        let Standing {
            subject,
            failures,
            locked_for,
        } = standing;
        let (was_locked, locked) = match subject {
            Subject::Client(client) => {
                let client = client.parse().ok()?;
                let was_locked = self.clients.is_locked(&client, now);
                self.clients.raise(client, failures, locked_for, now);
                (was_locked, Locked::Client(client))
            }
            Subject::User(user) => {
                let was_locked = self.users.is_locked(&user, now);
                self.users.raise(user.clone(), failures, locked_for, now);
                (was_locked, Locked::User(user))
            }
            Subject::UserAtClient(KnownClient { user, client }) => {
                let pair = (user, client.parse().ok()?);
                let was_locked = self.known.is_locked(&pair, now);
                self.known.raise(pair.clone(), failures, locked_for, now);
                (was_locked, Locked::UserAtClient(pair.0, pair.1))
            }
        };
        (!was_locked && !locked_for.is_zero()).then(|| lock(locked, failures))
    }

    /// An operator's word.
    fn clear(&mut self, subject: &Subject, now: Duration) {
        self.untold.failed.remove(subject);
        match subject {
            Subject::Client(client) => {
                if let Ok(client) = client.parse() {
                    self.clients.clear(&client, now);
                }
            }
            Subject::User(user) => {
                self.users.clear(user, now);
            }
            Subject::UserAtClient(KnownClient { user, client }) => {
                if let Ok(client) = client.parse() {
                    self.known.clear(&(user.clone(), client), now);
                }
            }
        }
    }
}

fn known_client(user: &str, client: IpNet) -> KnownClient {
    KnownClient {
        user: user.to_owned(),
        client: client.to_string(),
    }
}

fn lock(locked: Locked, failures: u32) -> Lock {
    Lock {
        locked,
        failures,
        time: LOCK,
    }
}

#[cfg(test)]
#[path = "guessing_tests.rs"]
mod tests;

//! Failures of all nodes, as the leader of the meta group adds them up in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::counters::{Calm, Counters, ENTRIES_MAX};
use super::{OF_CLIENTS, OF_USERS, Standing, Subject};

/// Of each list of one call, with about 100 bytes for each entry. What is more is told with the next.
pub const SHARED_MAX: usize = 4000;
/// Words of operators that nodes may not have heard of; each hears within seconds.
const CLEARED_MAX: usize = 1000;

/// A user, and a network from which it has logged in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KnownClient {
    pub user: String,
    pub client: String,
}

/// What a node tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// As it heard last; 0: it has heard nothing.
    pub version: u64,
    /// Failures since it told the last time.
    pub failed: Vec<(Subject, u32)>,
    /// Logins that went well where the user was not known.
    pub known: Vec<KnownClient>,
    /// What it has heard and counted before, for a leader that is new.
    pub standings: Vec<Standing>,
}

/// What it hears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub version: u64,
    /// The leader knows nothing of what was told to another one: it is to be told everything.
    pub is_new: bool,
    /// Those that make somebody wait, or are locked.
    pub standings: Vec<Standing>,
    pub known: Vec<KnownClient>,
    /// An operator has unlocked these.
    pub cleared: Vec<Subject>,
}

/// The failures of all nodes.
#[derive(Debug)]
pub struct SharedFailures {
    /// In its upper half what tells it from that of another leader, in the lower what grows with each change.
    version: u64,
    counters: BTreeMap<Kind, Counters<Subject>>,
    known: Counters<KnownClient>,
    /// When each of them changed last.
    changed: BTreeMap<Subject, u64>,
    known_since: BTreeMap<KnownClient, u64>,
    /// Those that the group may not have written down yet.
    unwritten: BTreeSet<KnownClient>,
    cleared: BTreeMap<Subject, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Client,
    User,
    UserAtClient,
}

impl Subject {
    fn kind(&self) -> Kind {
        match self {
            Self::Client(_) => Kind::Client,
            Self::User(_) => Kind::User,
            Self::UserAtClient(_) => Kind::UserAtClient,
        }
    }

    /// Whether it is this user, or this network.
    pub fn is_of(&self, name: &str) -> bool {
        match self {
            Self::Client(client) => client == name,
            Self::User(user) => user == name,
            Self::UserAtClient(known) => known.user == name || known.client == name,
        }
    }
}

impl SharedFailures {
    /// `random` tells it from those of other nodes, and of this node before.
    pub fn new(random: u32) -> Self {
        let table = |rule| Counters::new(rule, Calm::Forgotten);
        Self {
            version: u64::from(random.max(1)) << 32,
            counters: BTreeMap::from([
                (Kind::Client, table(OF_CLIENTS)),
                (Kind::User, table(OF_USERS)),
                (Kind::UserAtClient, table(OF_CLIENTS)),
            ]),
            known: Counters::new(OF_CLIENTS, Calm::Kept),
            changed: BTreeMap::new(),
            known_since: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            cleared: BTreeMap::new(),
        }
    }

    fn table(&mut self, subject: &Subject) -> &mut Counters<Subject> {
        let table = self.counters.get_mut(&subject.kind());
        table.expect("there is one of each kind")
    }

    /// A node tells, and hears what has changed since it heard last.
    pub fn tell(&mut self, told: Told, now: Duration) -> Heard {
        let is_new = told.version >> 32 != self.version >> 32;
        for (subject, failures) in told.failed.into_iter().take(SHARED_MAX) {
            if failures > 0 {
                self.table(&subject).add(subject.clone(), failures, now);
                self.has_changed(subject);
            }
        }
        for Standing {
            subject,
            failures,
            locked_for,
        } in told.standings.into_iter().take(SHARED_MAX)
        {
            // Who has not heard of an operator's word yet would take it back.
            let cleared = self.cleared.get(&subject);
            if cleared.is_some_and(|at| is_new || told.version < *at) {
                continue;
            }
            let table = self.table(&subject);
            if table.raise(subject.clone(), failures, locked_for, now) {
                self.has_changed(subject);
            }
        }
        for known in told.known.into_iter().take(SHARED_MAX) {
            if self.learn(known.clone(), now) {
                self.unwritten.insert(known);
            }
        }
        self.forget(now);
        let since = if is_new { 0 } else { told.version };
        self.since(since, is_new, now)
    }

    /// What the group has written down, the latest first: as much of it as there is room for.
    pub fn begin_with(&mut self, written: Vec<KnownClient>, now: Duration) {
        let room = ENTRIES_MAX.saturating_sub(self.known.len());
        for known in written.into_iter().take(room) {
            self.unwritten.remove(&known);
            self.learn(known, now);
        }
    }

    /// Whether it is news.
    fn learn(&mut self, known: KnownClient, now: Duration) -> bool {
        let is_new = !self.known.contains(&known);
        self.known.note(known.clone(), now);
        if is_new {
            self.version += 1;
            self.known_since.insert(known, self.version);
        }
        is_new
    }

    /// What is to be written down.
    pub fn unwritten(&self) -> Vec<KnownClient> {
        self.unwritten.iter().cloned().collect()
    }

    pub fn are_written(&mut self, written: &[KnownClient]) {
        for known in written {
            self.unwritten.remove(known);
        }
    }

    fn since(&mut self, since: u64, is_new: bool, now: Duration) -> Heard {
        let (changed, told_changed) = after(&self.changed, since);
        let (known, told_known) = after(&self.known_since, since);
        let (cleared, told_cleared) = after(&self.cleared, since);
        let told = [told_changed, told_known, told_cleared].into_iter();
        let standings = changed
            .into_iter()
            .filter_map(|subject| self.standing(subject, now));
        Heard {
            standings: standings.collect(),
            version: told.flatten().min().unwrap_or(self.version),
            is_new,
            known,
            cleared,
        }
    }

    fn standing(&mut self, subject: Subject, now: Duration) -> Option<Standing> {
        let (failures, locked_for) = self.table(&subject).of(&subject, now)?;
        Some(Standing {
            subject,
            failures,
            locked_for,
        })
    }

    fn has_changed(&mut self, subject: Subject) {
        self.version += 1;
        self.changed.insert(subject, self.version);
    }

    /// What is no longer in a table need not be told.
    fn forget(&mut self, now: Duration) {
        let counters = &mut self.counters;
        if self.changed.len() > counters.values().map(Counters::len).sum() {
            self.changed.retain(|subject, _| {
                let table = counters.get_mut(&subject.kind());
                table.is_some_and(|table| table.of(subject, now).is_some())
            });
        }
        if self.known_since.len() > self.known.len() {
            let known = &self.known;
            self.known_since.retain(|one, _| known.contains(one));
            self.unwritten.retain(|one| known.contains(one));
        }
    }

    /// Who is locked out at this moment, or made to wait.
    pub fn all(&mut self, now: Duration) -> Vec<Standing> {
        let mut all = Vec::new();
        for table in self.counters.values_mut() {
            let counting = table
                .all(now)
                .filter(|(_, failures, locked_for)| *failures > 0 || !locked_for.is_zero());
            all.extend(counting.map(|(subject, failures, locked_for)| Standing {
                subject: subject.clone(),
                failures,
                locked_for,
            }));
        }
        all.sort_by(|one, other| {
            let order = (other.locked_for, other.failures).cmp(&(one.locked_for, one.failures));
            order.then_with(|| one.subject.cmp(&other.subject))
        });
        all
    }

    /// Nothing counts any more for a user or a network of this name. Says for how many subjects something did.
    pub fn unlock(&mut self, name: &str, now: Duration) -> usize {
        let counting = self.all(now).into_iter().map(|standing| standing.subject);
        let named: Vec<Subject> = counting.filter(|subject| subject.is_of(name)).collect();
        for subject in &named {
            self.table(subject).clear(subject, now);
            self.version += 1;
            self.changed.remove(subject);
            self.cleared.insert(subject.clone(), self.version);
        }
        while self.cleared.len() > CLEARED_MAX {
            let oldest = self.cleared.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(subject, _)| subject.clone()) else {
                break;
            };
            self.cleared.remove(&oldest);
        }
        named.len()
    }
}

/// What has changed after a version, the first of it first; and up to which version that is, if that is not all.
fn after<T: Clone>(changed: &BTreeMap<T, u64>, version: u64) -> (Vec<T>, Option<u64>) {
    let later = changed.iter().filter(|(_, at)| **at > version);
    let mut later: Vec<(u64, &T)> = later.map(|(one, at)| (*at, one)).collect();
    let is_all = later.len() <= SHARED_MAX;
    if !is_all {
        later.sort_by_key(|(at, _)| *at);
        later.truncate(SHARED_MAX);
    }
    let last = later.last().map(|(at, _)| *at).filter(|_| !is_all);
    let later = later.into_iter().map(|(_, one)| one.clone());
    (later.collect(), last)
}

#[cfg(test)]
mod tests {
    use super::super::{CLIENT_FAILURES_MAX, LOCK, USER_FAILURES_MAX};
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn client(n: u32) -> Subject {
        Subject::Client(format!("192.0.2.{n}/32"))
    }

    fn ann() -> Subject {
        Subject::User("ann".into())
    }

    fn failed(version: u64, failed: &[(Subject, u32)]) -> Told {
        Told {
            version,
            failed: failed.to_vec(),
            ..Told::default()
        }
    }

    fn at_home() -> KnownClient {
        KnownClient {
            user: "ann".into(),
            client: "192.0.2.9/32".into(),
        }
    }

    #[test]
    fn failures_of_all_nodes_add_up_and_lock() {
        let mut shared = SharedFailures::new(7);
        let mut version = 0;
        // Three nodes see a few clients each, none of which is locked by itself.
        for node in 0..3 {
            let told: Vec<_> = (0..4).map(|n| (client(node * 4 + n), 2)).collect();
            let heard = shared.tell(failed(version, &told), s(1));
            version = heard.version;
            shared.tell(failed(version, &[(ann(), 8)]), s(1));
        }
        let heard = shared.tell(failed(0, &[]), s(1));
        let of = |heard: &Heard, subject: &Subject| {
            let found = heard.standings.iter().find(|one| one.subject == *subject);
            found.map(|one| (one.failures, one.locked_for))
        };
        assert_eq!(of(&heard, &ann()), Some((24, LOCK)));
        assert_eq!(of(&heard, &client(1)), Some((2, s(0))));
        assert_eq!(of(&heard, &client(12)), None);
        // One client at three nodes.
        for _ in 0..3 {
            shared.tell(failed(heard.version, &[(client(99), 4)]), s(2));
        }
        let next = shared.tell(failed(heard.version, &[]), s(2));
        assert_eq!(of(&next, &client(99)), Some((12, LOCK)));
        assert_eq!(next.standings.len(), 1, "only what has changed: {next:?}");
        let nothing = shared.tell(failed(next.version, &[]), s(3));
        assert_eq!(
            (nothing.version, nothing.standings.len(), nothing.is_new),
            (next.version, 0, false)
        );
        assert!(12 > CLIENT_FAILURES_MAX && 24 > USER_FAILURES_MAX);
    }

    #[test]
    fn a_leader_that_is_new_hears_everything_and_keeps_the_end_of_a_lock() {
        let mut before = SharedFailures::new(1);
        let told = Told {
            known: vec![at_home()],
            ..failed(0, &[(ann(), USER_FAILURES_MAX)])
        };
        let heard = before.tell(told, s(0));
        let mut next = SharedFailures::new(2);
        let first = next.tell(failed(heard.version, &[]), s(100));
        assert!(first.is_new && first.standings.is_empty());
        let left = Standing {
            locked_for: s(600),
            ..heard.standings[0].clone()
        };
        let told = Told {
            version: first.version,
            known: heard.known,
            standings: vec![left],
            ..Told::default()
        };
        let heard = next.tell(told.clone(), s(100));
        assert!(!heard.is_new);
        assert_eq!(heard.known, [at_home()]);
        assert_eq!(heard.standings[0].locked_for, s(600));
        // Another node says the same, which is no news.
        let again = next.tell(
            Told {
                version: heard.version,
                ..told
            },
            s(101),
        );
        assert_eq!(again.version, heard.version);
        assert_eq!(next.all(s(400))[0].locked_for, s(300));
    }

    #[test]
    fn a_leader_begins_with_what_was_written_and_says_what_is_not() {
        let elsewhere = KnownClient {
            client: "192.0.2.10/32".into(),
            ..at_home()
        };
        let mut shared = SharedFailures::new(1);
        shared.begin_with(vec![at_home()], s(0));
        assert_eq!(shared.unwritten(), []);
        // All nodes were stopped: one that knows nothing hears it.
        let heard = shared.tell(failed(0, &[]), s(1));
        assert_eq!(heard.known, [at_home()]);
        let told = Told {
            version: heard.version,
            known: vec![at_home(), elsewhere.clone()],
            ..Told::default()
        };
        shared.tell(told, s(2));
        let unwritten = shared.unwritten();
        assert_eq!(unwritten, std::slice::from_ref(&elsewhere));
        shared.are_written(&unwritten);
        assert_eq!(shared.unwritten(), []);
        // Another leader has written it meanwhile, and this one leads again.
        shared.begin_with(vec![elsewhere, at_home()], s(3));
        assert_eq!((shared.unwritten(), shared.known.len()), (vec![], 2));
        let many = (0..2 * ENTRIES_MAX).map(|n| KnownClient {
            user: format!("u{n}"),
            client: "192.0.2.9/32".into(),
        });
        shared.begin_with(many.collect(), s(4));
        assert_eq!(shared.known.len(), ENTRIES_MAX);
        assert!(shared.known.contains(&at_home()), "those of now stay");
    }

    #[test]
    fn an_operator_unlocks_a_user_or_a_network_on_all_nodes() {
        let mut shared = SharedFailures::new(1);
        let at_home = Subject::UserAtClient(at_home());
        let told = [
            (ann(), 20),
            (client(9), 8),
            (at_home.clone(), 8),
            (client(1), 8),
        ];
        let heard = shared.tell(failed(0, &told), s(0));
        assert_eq!(heard.standings.len(), 4);
        assert_eq!(shared.unlock("ann", s(1)), 2);
        assert_eq!(shared.unlock("ann", s(1)), 0);
        let heard = shared.tell(failed(heard.version, &[]), s(1));
        assert_eq!(heard.cleared, [ann(), at_home]);
        assert_eq!(shared.unlock("192.0.2.1/32", s(1)), 1);
        assert_eq!(shared.all(s(1)).len(), 1);
        // Who fails again counts again.
        let heard = shared.tell(failed(heard.version, &[(ann(), 1)]), s(2));
        assert_eq!(heard.cleared, [client(1)]);
        assert_eq!(
            (heard.standings[0].failures, heard.standings[0].locked_for),
            (1, s(0))
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut shared = SharedFailures::new(1);
        for batch in 0..30_u32 {
            let all = || (0..1000).map(|n| batch * 1000 + n);
            let clients = all().map(|n| Subject::Client(format!("10.0.{}.{}", n / 256, n % 256)));
            let users = all().map(|n| Subject::User(format!("u{n}")));
            let known = all().map(|n| KnownClient {
                user: format!("user{n}"),
                client: "192.0.2.1/32".into(),
            });
            let told = Told {
                known: known.collect(),
                ..failed(
                    0,
                    &clients.chain(users).map(|one| (one, 1)).collect::<Vec<_>>(),
                )
            };
            let heard = shared.tell(told, s(1));
            assert!(heard.standings.len() <= SHARED_MAX && heard.known.len() <= SHARED_MAX);
        }
        let most = super::super::ENTRIES_MAX;
        assert!(shared.changed.len() <= 3 * most && shared.known_since.len() <= most + 1);
        assert!(shared.unwritten.len() <= most + 1);
        assert!(shared.all(s(1)).len() <= 3 * most);
        // However much it is, a node hears all of it, one part after the other.
        let (mut version, mut heard) = (0, 0);
        loop {
            let next = shared.tell(failed(version, &[]), s(1));
            if next.standings.is_empty() && next.known.is_empty() {
                break;
            }
            heard += next.standings.len();
            version = next.version;
        }
        assert!(heard >= shared.all(s(1)).len(), "{heard}");
        for n in 0..CLEARED_MAX + 5 {
            shared.cleared.insert(Subject::User(format!("c{n}")), 1);
        }
        shared.tell(failed(0, &[(client(1), 8)]), s(2));
        shared.unlock("192.0.2.1/32", s(2));
        assert!(shared.cleared.len() <= CLEARED_MAX);
    }
}

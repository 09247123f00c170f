use proptest::prelude::*;

use skein_model::lockout::{ENTRIES_MAX, SharedFailures};

use super::*;
use crate::network::client_of;

fn client(n: u32) -> IpNet {
    client_of(std::net::Ipv4Addr::from(0x0a00_0000 + n).into())
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A wrong password; whether it was looked at, and when its answer came.
fn guess(guesses: &mut Guesses, user: &str, from: IpNet, now: Duration) -> Option<Duration> {
    match guesses.login(user, from, now) {
        Decision::Try(login, after) => {
            guesses.failed(&login, now + after);
            Some(after)
        }
        Decision::Locked(_) => None,
    }
}

/// The right one.
fn comes_in(guesses: &mut Guesses, user: &str, from: IpNet, now: Duration) -> bool {
    match guesses.login(user, from, now) {
        Decision::Try(login, _) => {
            guesses.succeeded(login, now);
            true
        }
        Decision::Locked(_) => false,
    }
}

#[test]
fn each_failure_makes_the_next_answer_later_and_then_there_is_none() {
    let mut guesses = Guesses::default();
    let mut now = s(0);
    let mut waits = Vec::new();
    while let Some(after) = guess(&mut guesses, "ann", client(1), now) {
        waits.push(after.as_millis());
        now += after;
    }
    assert_eq!(waits, [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000]);
    assert!(
        !comes_in(&mut guesses, "ann", client(1), now),
        "not even with the right one"
    );
    assert!(
        comes_in(&mut guesses, "ann", client(1), now + LOCK),
        "the lock ends"
    );
}

#[test]
fn each_lock_is_told_once_with_whom_it_is_for() {
    let mut guesses = Guesses::default();
    assert!(comes_in(&mut guesses, "ann", client(1), s(0)));
    let (mut told, mut now) = (Vec::new(), s(1));
    // Each network is locked out, and with the third the user; and then, where it is known, the user from there.
    for from in [2, 3, 4, 1] {
        while let Decision::Try(login, after) = guesses.login("ann", client(from), now) {
            now += after;
            let (_, locks) = guesses.failed(&login, now);
            told.extend(locks.into_iter().map(|lock| lock.locked));
        }
    }
    let client_locked = |n| Locked::Client(client(n));
    assert_eq!(
        told,
        [
            client_locked(2),
            client_locked(3),
            Locked::User("ann".to_owned()),
            Locked::UserAtClient("ann".to_owned(), client(1)),
        ]
    );
}

#[test]
fn who_types_wrong_now_and_then_is_not_locked_out() {
    let mut guesses = Guesses::default();
    for day in 0..30 {
        for _ in 0..3 {
            assert_eq!(
                guess(&mut guesses, "ann", client(1), s(day * 86_400)),
                Some(s(0))
            );
        }
        assert!(comes_in(
            &mut guesses,
            "ann",
            client(1),
            s(day * 86_400 + 1)
        ));
    }
}

#[test]
fn an_account_that_strangers_guess_at_stays_open_where_it_is_used() {
    let mut guesses = Guesses::default();
    assert!(comes_in(&mut guesses, "ann", client(1), s(0)));
    // From everywhere, also from its own network at other accounts.
    for n in 0..5_000 {
        guess(&mut guesses, "ann", client(100 + n), s(1));
        guess(&mut guesses, &format!("user{n}"), client(1), s(1));
    }
    assert_eq!(
        guess(&mut guesses, "ann", client(9), s(2)),
        None,
        "the account is locked"
    );
    assert_eq!(
        guess(&mut guesses, "bob", client(1), s(2)),
        None,
        "the network is"
    );
    assert!(comes_in(&mut guesses, "ann", client(1), s(2)));
    // There it can be guessed at no faster than anywhere.
    let looked_at = (0..100).filter(|_| guess(&mut guesses, "ann", client(1), s(3)).is_some());
    assert!(looked_at.count() <= 10);
}

#[test]
fn relaying_is_slowed_down_and_locked_too() {
    let mut guesses = Guesses::default();
    let (mut now, mut tried) = (s(0), 0);
    let mut locks = Vec::new();
    while let Decision::Try(lock, after) = guesses.relaying(client(1), now) {
        locks.extend(lock.map(|lock| lock.locked));
        now += after;
        tried += 1;
    }
    assert_eq!(locks, [Locked::Client(client(1))]);
    // Some are forgotten while it waits.
    assert!((12..25).contains(&tried), "{tried}");
    assert_eq!(guesses.relaying(client(2), now), Decision::Try(None, s(0)));
}

#[test]
fn tables_are_bounded_and_keep_who_fails_most() {
    let mut guesses = Guesses::default();
    assert!(comes_in(&mut guesses, "ann", client(1), s(0)));
    let mut now = s(0);
    while let Some(after) = guess(&mut guesses, "bob", client(2), now) {
        now += after;
    }
    let locked = now;
    for n in 0..30_000 {
        guess(&mut guesses, &format!("user{n}"), client(100 + n), locked);
        guesses.relaying(client(100 + n), locked);
    }
    assert!(guesses.clients.len() <= ENTRIES_MAX);
    assert!(guesses.users.len() <= ENTRIES_MAX);
    assert!(guesses.relaying.len() <= ENTRIES_MAX);
    assert_eq!(guess(&mut guesses, "bob", client(2), locked), None);
    for n in 0..15_000 {
        assert!(comes_in(
            &mut guesses,
            "carl",
            client(100_000 + n),
            locked + s(3600)
        ));
    }
    assert!(guesses.known.len() <= ENTRIES_MAX);
    let newest = ("carl".to_owned(), client(100_000 + 14_999));
    assert!(guesses.known.contains(&newest));
}

proptest! {
    #[test]
    fn nobody_has_more_guesses_than_one_after_the_other(
        steps in prop::collection::vec((0u64..3_000, 1u32..9, 0usize..3), 1..200),
    ) {
        // Steps of so many ms, in which so many try at once, with one of three accounts.
        let mut guesses = Guesses::default();
        let (mut now, mut answered) = (Duration::ZERO, Vec::new());
        for (wait, at_once, user) in steps {
            now += Duration::from_millis(wait);
            for _ in 0..at_once {
                if let Some(after) = guess(&mut guesses, ["a", "b", "c"][user], client(1), now) {
                    answered.push(now + after);
                }
            }
        }
        answered.sort();
        for (n, from) in answered.iter().enumerate() {
            let within = |span: u64| answered[n..].iter().filter(|at| **at < *from + s(span)).count();
            prop_assert!(within(10) <= 9, "{:?}", answered);
            prop_assert!(within(60) <= 14, "{:?}", answered);
            prop_assert!(within(3600) <= 80, "{:?}", answered);
        }
    }

    #[test]
    fn no_strangers_lock_out_who_was_there_before(
        steps in prop::collection::vec((0u64..60_000, 2u32..6, 0usize..3), 0..300),
    ) {
        let mut guesses = Guesses::default();
        prop_assert!(comes_in(&mut guesses, "a", client(1), Duration::ZERO));
        let mut now = Duration::ZERO;
        for (wait, from, user) in steps {
            now += Duration::from_millis(wait);
            guess(&mut guesses, ["a", "b", "c"][user], client(from), now);
        }
        let known = guesses.login("a", client(1), now);
        prop_assert!(matches!(known, Decision::Try(_, after) if after.is_zero()));
    }
}

/// Nodes and the leader that they tell.
struct Cluster {
    nodes: Vec<Guesses>,
    leader: SharedFailures,
}

impl Cluster {
    fn new(nodes: usize) -> Self {
        Self {
            nodes: (0..nodes).map(|_| Guesses::default()).collect(),
            leader: SharedFailures::new(1),
        }
    }

    /// Each node tells, and hears, until there is no more to say.
    fn tell(&mut self, now: Duration) {
        for _ in 0..3 {
            for node in &mut self.nodes {
                let told = node.to_tell(now);
                let heard = self.leader.tell(told.clone(), now);
                node.was_told(&told, heard, now);
            }
        }
        assert!(self.nodes.iter().all(|node| !node.is_untold()));
    }
}

#[test]
fn nodes_count_together_and_know_where_users_are_at_home() {
    let mut cluster = Cluster::new(3);
    assert!(comes_in(&mut cluster.nodes[0], "ann", client(1), s(0)));
    // Four guesses of each client at each node lock nobody out there.
    for node in 0..3 {
        for from in 10..13 {
            for _ in 0..4 {
                assert!(guess(&mut cluster.nodes[node], "ann", client(from), s(1)).is_some());
            }
        }
    }
    cluster.tell(s(2));
    for node in &mut cluster.nodes {
        assert_eq!(
            guess(node, "bob", client(10), s(3)),
            None,
            "the client is locked"
        );
        assert_eq!(guess(node, "ann", client(99), s(3)), None, "the account is");
        assert!(comes_in(node, "ann", client(1), s(3)), "at home it is open");
    }
    // A node that is new knows it as well, and so does a leader that is.
    cluster.nodes[1] = Guesses::default();
    cluster.leader = SharedFailures::new(2);
    cluster.tell(s(4));
    for node in &mut cluster.nodes {
        assert_eq!(guess(node, "ann", client(99), s(5)), None);
        assert!(comes_in(node, "ann", client(1), s(5)));
    }
    assert!(cluster.leader.unlock("ann", s(6)) > 0);
    cluster.tell(s(7));
    for node in &mut cluster.nodes {
        assert!(
            comes_in(node, "ann", client(98), s(8)),
            "an operator's word"
        );
    }
    let locked = guess(&mut cluster.nodes[0], "ann", client(10), s(8) + LOCK);
    assert!(locked.is_some(), "locks end");
}

#[test]
fn what_is_not_heard_is_told_again_and_counts_once() {
    let (mut node, mut leader) = (Guesses::default(), SharedFailures::new(1));
    for _ in 0..2 {
        guess(&mut node, "ann", client(1), s(0));
        // The answer is lost, or the leader was not there.
        node.to_tell(s(0));
    }
    let told = node.to_tell(s(0));
    let heard = leader.tell(told.clone(), s(0));
    guess(&mut node, "ann", client(1), s(0));
    node.was_told(&told, heard, s(0));
    // It is new to the node, which tells what counts there.
    let told = node.to_tell(s(0));
    let heard = leader.tell(told.clone(), s(0));
    node.was_told(&told, heard, s(0));
    let counts: Vec<u32> = leader.all(s(0)).iter().map(|one| one.failures).collect();
    assert_eq!(counts, [3, 3]);
    assert!(!node.is_untold());
}

/// What a node tells and hears in one call.
fn exchange(node: &mut Guesses, leader: &mut SharedFailures, now: Duration) -> Vec<(IpNet, Lock)> {
    let told = node.to_tell(now);
    let heard = leader.tell(told.clone(), now);
    node.was_told(&told, heard, now)
}

#[test]
fn attempts_that_are_pending_count_once_in_the_cluster() {
    let (mut node, mut leader) = (Guesses::default(), SharedFailures::new(1));
    let begun = (0..8).filter_map(|_| match node.login("ann", client(1), s(0)) {
        Decision::Try(login, _) => Some(login),
        Decision::Locked(_) => None,
    });
    let begun: Vec<Login> = begun.collect();
    assert_eq!(begun.len(), 8);
    // A leader that is new hears all there is.
    for _ in 0..2 {
        assert_eq!(exchange(&mut node, &mut leader, s(0)), []);
    }
    assert_eq!(leader.all(s(0)), []);
    begun.iter().for_each(|login| {
        assert_eq!(node.failed(login, s(1)).1, []);
    });
    assert_eq!(exchange(&mut node, &mut leader, s(1)), []);
    let counts: Vec<u32> = leader.all(s(1)).iter().map(|one| one.failures).collect();
    assert_eq!(counts, [8, 8]);
}

#[test]
fn a_lock_that_nodes_make_together_is_told_where_it_came_about() {
    let mut leader = SharedFailures::new(1);
    let (mut one, mut other) = (Guesses::default(), Guesses::default());
    for node in [&mut one, &mut other] {
        for _ in 0..2 {
            exchange(node, &mut leader, s(0));
        }
        for _ in 0..6 {
            assert!(guess(node, "ann", client(1), s(1)).is_some());
        }
    }
    assert_eq!(exchange(&mut one, &mut leader, s(1)), []);
    let locks = exchange(&mut other, &mut leader, s(1));
    let [(at, lock)] = &locks[..] else {
        panic!("{locks:?}");
    };
    assert_eq!((*at, lock.failures), (client(1), 12));
    assert_eq!(lock.locked, Locked::Client(client(1)));
    // The other hears of it, and has nothing to tell.
    assert_eq!(exchange(&mut one, &mut leader, s(2)), []);
    assert_eq!(guess(&mut one, "bob", client(1), s(2)), None);
}

#[test]
fn strangers_who_could_not_come_in_anyway_lock_no_user() {
    let mut guesses = Guesses::default();
    for n in 0..100 {
        if let Decision::Try(login, _) = guesses.login("ann", client(n), s(0)) {
            guesses.failed_elsewhere(&login, s(0));
        }
    }
    assert!(comes_in(&mut guesses, "ann", client(200), s(0)));
    for _ in 0..100 {
        if let Decision::Try(login, _) = guesses.login("ann", client(1), s(0)) {
            guesses.failed_elsewhere(&login, s(0));
        }
    }
    assert_eq!(guess(&mut guesses, "bob", client(1), s(0)), None);
}

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::cluster_sides::Leader;
use super::cluster_sim::{Cluster, Rule};
use super::*;
use crate::time::DurationMs;

fn ledger(count: u64, per: u64, burst: Option<u64>) -> Leader {
    let rate = Rate::new(count, DurationMs(per), burst).unwrap();
    Leader::Ledger(Ledger::new(rate))
}

fn shares(count: u64, per: u64) -> Leader {
    Leader::Shares(Shares::new(count, DurationMs(per)))
}

fn stormy(seed: u64, per: u64) -> Rule {
    Rule {
        is_calm: false,
        is_connections: per == 0,
        per: DurationMs(per),
        seed,
        latency: 400,
    }
}

/// Runs through a storm and the calm after it, in which the limit is used again.
fn weather(cluster: &mut Cluster) {
    cluster.run(150_000);
    cluster.calm_down();
    cluster.run(80_000);
    let before = cluster.events.len();
    cluster.run(40_000);
    assert!(
        cluster.events.len() > before,
        "nothing is sent after the storm"
    );
}

/// Panics unless every half-open window of length `per` has at most `count` of the events.
fn check_never_more(events: &mut [u64], count: u64, per: u64) {
    events.sort_unstable();
    for (first, more) in events.iter().zip(events.iter().skip(count as usize)) {
        assert!(
            more - first >= per,
            "more than {count} from {first} to {more}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn granted_tokens_never_exceed_the_limit(count in 1u64..60, per in 11_000u64..25_000, burst in prop::option::of(1u64..9), senders in 1usize..7, seed: u64) {
        let mut cluster = Cluster::new(stormy(seed, per), ledger(count, per, burst), senders);
        weather(&mut cluster);
        check_never_more(&mut cluster.events, count, per);
    }

    #[test]
    fn shares_of_a_rate_never_exceed_it(count in 1u64..60, per in 1000u64..=10_000, senders in 1usize..7, seed: u64) {
        let mut cluster = Cluster::new(stormy(seed, per), shares(count, per), senders);
        weather(&mut cluster);
        check_never_more(&mut cluster.events, count, per);
    }

    #[test]
    fn shares_of_connections_never_exceed_them(count in 1u64..20, senders in 1usize..7, seed: u64) {
        let mut cluster = Cluster::new(stormy(seed, 0), shares(count, 0), senders);
        weather(&mut cluster);
        prop_assert!(cluster.open_max <= count, "{} of {count}", cluster.open_max);
    }
}

/// In a calm run, with backlog, 85 % of the limit is used.
fn check_used(leader: Leader, count: u64, per: u64, senders: usize) {
    let rule = Rule {
        is_calm: true,
        is_connections: false,
        per: DurationMs(per),
        seed: 7,
        latency: 50,
    };
    let mut cluster = Cluster::new(rule, leader, senders);
    let warm = 2 * per + 10_000;
    let lasts = (20 * per).clamp(120_000, 8 * 600_000);
    cluster.run(warm + lasts);
    let used = cluster
        .events
        .iter()
        .filter(|event| **event >= warm)
        .count() as u64;
    let percent = used * 100 * per / (count * lasts);
    check_never_more(&mut cluster.events, count, per);
    assert!(
        percent >= 85,
        "{percent} % of {count} per {per} ms, {senders} senders"
    );
}

#[test]
fn most_of_what_is_granted_is_used() {
    for senders in [1, 3, 6] {
        for (count, per) in [
            (1, 11_000),
            (5, 11_000),
            (1000, 11_000),
            (1, 60_000),
            (10, 60_000),
            (1000, 60_000),
            (100, 600_000),
        ] {
            for burst in [None, Some(1), Some(20)] {
                check_used(ledger(count, per, burst), count, per, senders);
            }
        }
    }
}

#[test]
fn most_of_what_is_shared_is_used() {
    for senders in [1, 3, 6] {
        for (count, per) in [
            (2, 1000),
            (100, 1000),
            (1000, 1000),
            (2, 10_000),
            (7, 10_000),
            (300, 10_000),
        ] {
            check_used(shares(count, per), count, per, senders);
        }
    }
}

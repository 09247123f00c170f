use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::id::{GroupId, MessageId, SessionId, Slot};
use crate::rows::MemoryRows;
use crate::time::UnixMs;

const SITE: &str = "big.test";
const HOUR: u64 = 3_600_000;

fn owners(senders: u64) -> BTreeMap<Slot, SessionId> {
    let sessions: Vec<SessionId> = (1..=senders).map(SessionId).collect();
    assign(&BTreeMap::new(), &sessions)
}

fn backlog(tasks: u64, of_site: u64) -> Backlog {
    let mut backlog = Backlog::default();
    backlog.add(SITE, "default", of_site);
    // Of many sites that have little each.
    for n in 0..(tasks - of_site) / 5 {
        backlog.add(&format!("small{n}.test"), "default", 5);
    }
    backlog
}

fn automatic(slots: u16) -> Spread {
    let is_policy = false;
    Spread { slots, is_policy }
}

fn by_policy(slots: u16) -> Spread {
    let is_policy = true;
    Spread { slots, is_policy }
}

#[test]
fn a_hot_site_is_spread_over_all_senders() {
    let mut control = SpreadControl::default();
    // The site's first slots are those of several senders by chance, so the numbers are of this name.
    for (senders, tasks, of_site, known, expected) in [
        (3, 10_000, 9_000, None, true),
        (3, 10_000, 4_999, None, false),
        (3, 100_000, 9_000, None, false),
        (1, 10_000, 9_000, None, false),
        (3, 10_000, 9_000, Some(automatic(64)), false),
        (3, 10_000, 9_000, Some(automatic(1)), true),
        (3, 10_000, 9_000, Some(by_policy(1)), false),
    ] {
        let known: BTreeMap<String, Spread> = known
            .into_iter()
            .map(|spread| (SITE.into(), spread))
            .collect();
        let owners = owners(senders);
        let changes = control.decide(
            UnixMs(0),
            &backlog(tasks, of_site),
            &known,
            &owners,
            unlimited,
        );
        assert_eq!(
            !changes.is_empty(),
            expected,
            "{senders} {tasks} {of_site} {known:?}"
        );
        for (site, spread) in changes {
            assert_eq!((site.as_str(), spread.is_policy), (SITE, false));
            let taking = (0..spread.slots).map(|nth| owners[&Slot::of(SITE, nth)]);
            assert_eq!(taking.collect::<BTreeSet<_>>().len() as u64, senders);
        }
    }
}

fn unlimited(_: &str, _: &BTreeSet<String>) -> Allowed {
    Allowed::default()
}

#[test]
fn a_site_is_spread_only_as_far_as_its_limits_can_use() {
    let allowed = |connections, messages_per_hour| Allowed {
        connections,
        messages_per_hour,
    };
    let owners = owners(6);
    for (limits, senders) in [
        (allowed(Some(1), None), 1),
        (allowed(Some(20), None), 1),
        (allowed(Some(21), None), 2),
        (allowed(Some(100), None), 5),
        (allowed(Some(1000), None), 6),
        (allowed(None, Some(1)), 1),
        // 200 a second are what one sender does, 600 what three do.
        (allowed(None, Some(720_000)), 1),
        (allowed(None, Some(2_160_000)), 3),
        (allowed(Some(1000), Some(720_000)), 1),
        (allowed(Some(10), Some(u64::MAX)), 1),
        (Allowed::NOTHING, 1),
        (Allowed::default(), 6),
    ] {
        let mut control = SpreadControl::default();
        let hot = backlog(100_000, 100_000);
        let changes = control.decide(UnixMs(0), &hot, &BTreeMap::new(), &owners, |site, pools| {
            assert_eq!((site, pools.len()), (SITE, 1));
            limits
        });
        let slots = changes.first().map_or(1, |(_, spread)| spread.slots);
        let taking = (0..slots).map(|nth| owners[&Slot::of(SITE, nth)]);
        let taking = taking.collect::<BTreeSet<_>>().len();
        // Slots fall to owners by chance, so the step to the next power of two may be too far.
        assert!((1..=senders).contains(&taking), "{limits:?}: {taking}");
        assert_eq!(taking == 1, senders == 1, "{limits:?}: {taking}");
        assert!(senders < 6 || taking == 6, "{limits:?}: {taking}");
    }
}

#[test]
fn a_limit_that_is_lowered_makes_its_site_narrower_after_a_minute() {
    let owners = owners(6);
    let known = BTreeMap::from([(SITE.to_owned(), automatic(64))]);
    let mut control = SpreadControl::default();
    let hot = backlog(100_000, 100_000);
    let few = |_: &str, _: &BTreeSet<String>| Allowed {
        connections: Some(3),
        ..Allowed::default()
    };
    let mut at = |seconds: u64, is_limited: bool| {
        let now = UnixMs(seconds * 1000);
        match is_limited {
            true => control.decide(now, &hot, &known, &owners, few),
            false => control.decide(now, &hot, &known, &owners, unlimited),
        }
    };
    assert_eq!(at(0, true), []);
    assert_eq!(at(59, true), []);
    assert_eq!(at(60, false), [], "it was raised again");
    assert_eq!(at(70, true), []);
    assert_eq!(at(129, true), []);
    assert_eq!(at(130, true), [(SITE.to_owned(), Spread::ONE)]);
}

#[test]
fn a_site_with_mail_of_many_pools_is_as_good_as_unlimited() {
    let mut hot = Backlog::default();
    for pool in 0..=site_spread::POOLS_MAX {
        hot.add(SITE, &format!("pool{pool}"), 10_000);
    }
    let few = |_: &str, _: &BTreeSet<String>| Allowed::NOTHING;
    let changes =
        SpreadControl::default().decide(UnixMs(0), &hot, &BTreeMap::new(), &owners(3), few);
    assert_eq!(changes.len(), 1);
}

#[test]
fn a_spread_ends_after_a_long_calm_and_not_before() {
    let known = BTreeMap::from([
        (SITE.to_owned(), automatic(64)),
        ("policy.test".to_owned(), by_policy(4)),
    ]);
    let owners = owners(3);
    let mut control = SpreadControl::default();
    for (at, tasks, ends) in [
        (0, 9_000, false),
        (1, 100, false),
        (HOUR, 100, false),
        // Warm, not hot: the calm begins anew.
        (HOUR + 1, 4_000, false),
        (HOUR + 2, 0, false),
        (2 * HOUR, 0, false),
        (2 * HOUR + 2, 0, true),
    ] {
        let changes = control.decide(
            UnixMs(at),
            &backlog(tasks, tasks),
            &known,
            &owners,
            unlimited,
        );
        let expected = ends.then(|| (SITE.to_owned(), Spread::ONE));
        assert_eq!(changes, expected.into_iter().collect::<Vec<_>>(), "at {at}");
    }
}

#[test]
fn an_operators_word_stays() {
    let mut rows = MemoryRows::default();
    let mut set = |site: &str, spread: Option<Spread>| {
        let site = site.to_owned();
        let response = apply(&mut rows, UnixMs(1), &Command::SetSpread { site, spread });
        (response, spreads(&rows).remove(SITE))
    };
    let done = Response::Done;
    for (spread, expected) in [
        (Some(automatic(4)), Some(automatic(4))),
        (Some(by_policy(8)), Some(by_policy(8))),
        (Some(automatic(2)), Some(by_policy(8))),
        (Some(by_policy(1)), Some(by_policy(1))),
        (Some(Spread::ONE), Some(by_policy(1))),
        (None, None),
        (Some(automatic(4)), Some(automatic(4))),
        (Some(Spread::ONE), None),
    ] {
        assert_eq!(set(SITE, spread), (done.clone(), expected), "{spread:?}");
    }
    let refused = Response::Refused(Refusal::BadSpread);
    for (site, spread) in [
        (SITE, by_policy(0)),
        (SITE, by_policy(65)),
        ("", by_policy(2)),
    ] {
        assert_eq!(set(site, Some(spread)).0, refused, "{site:?} {spread:?}");
    }
}

#[test]
fn weights_are_kept_and_set_back() {
    let mut rows = MemoryRows::default();
    let mut set = |tenant: &str, weight| {
        let tenant = tenant.to_owned();
        let response = apply(&mut rows, UnixMs(1), &Command::SetWeight { tenant, weight });
        let weights: Vec<_> = weights(&rows).into_iter().collect();
        (response == Response::Done, weights, weights_version(&rows))
    };
    let of = |name: &str, weight| vec![(name.to_owned(), weight)];
    assert_eq!(set("a", 5), (true, of("a", 5), 1));
    assert_eq!(set("a", 5), (true, of("a", 5), 1));
    assert_eq!(set("a", 0), (false, of("a", 5), 1));
    assert_eq!(set("a", 101), (false, of("a", 5), 1));
    assert_eq!(set("a b", 2), (false, of("a", 5), 1));
    assert_eq!(set("a", 1), (true, Vec::new(), 2));
}

proptest! {
    #[test]
    fn a_spread_covers_its_slots_and_no_other(spread in 1..=SPREAD_MAX, seed in any::<u64>()) {
        let spreads: Spreads = [(SITE.to_owned(), spread)].into_iter().collect();
        let own: BTreeSet<Slot> = (0..spread).map(|nth| Slot::of(SITE, nth)).collect();
        let mut used = BTreeSet::new();
        for n in 0..u64::from(spread) * 40 {
            let message = MessageId::new(UnixMs(n), GroupId(1), seed.wrapping_add(n));
            let slot = spreads.slot(SITE, message);
            prop_assert_eq!(slot, spreads.slot(SITE, message));
            prop_assert_eq!(spreads.slot("other.test", message), Slot::of("other.test", 0));
            used.insert(slot);
        }
        prop_assert_eq!(used, own);
    }
}

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
    backlog.add(SITE, of_site);
    // Of many sites that have little each.
    for n in 0..(tasks - of_site) / 5 {
        backlog.add(&format!("small{n}.test"), 5);
    }
    backlog
}

fn automatic(slots: u16) -> Fan {
    let is_policy = false;
    Fan { slots, is_policy }
}

fn by_policy(slots: u16) -> Fan {
    let is_policy = true;
    Fan { slots, is_policy }
}

#[test]
fn a_hot_site_is_spread_over_all_senders() {
    let mut control = FanControl::default();
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
        let known: BTreeMap<String, Fan> =
            known.into_iter().map(|fan| (SITE.into(), fan)).collect();
        let owners = owners(senders);
        let changes = control.decide(UnixMs(0), &backlog(tasks, of_site), &known, &owners);
        assert_eq!(
            !changes.is_empty(),
            expected,
            "{senders} {tasks} {of_site} {known:?}"
        );
        for (site, fan) in changes {
            assert_eq!((site.as_str(), fan.is_policy), (SITE, false));
            let taking = (0..fan.slots).map(|nth| owners[&Slot::of(SITE, nth)]);
            assert_eq!(taking.collect::<BTreeSet<_>>().len() as u64, senders);
        }
    }
}

#[test]
fn a_fan_ends_after_a_long_calm_and_not_before() {
    let known = BTreeMap::from([
        (SITE.to_owned(), automatic(64)),
        ("policy.test".to_owned(), by_policy(4)),
    ]);
    let owners = owners(3);
    let mut control = FanControl::default();
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
        let changes = control.decide(UnixMs(at), &backlog(tasks, tasks), &known, &owners);
        let expected = ends.then(|| (SITE.to_owned(), Fan::ONE));
        assert_eq!(changes, expected.into_iter().collect::<Vec<_>>(), "at {at}");
    }
}

#[test]
fn an_operators_word_stays() {
    let mut rows = MemoryRows::default();
    let mut set = |site: &str, fan: Option<Fan>| {
        let site = site.to_owned();
        let response = apply(&mut rows, UnixMs(1), &Command::SetFan { site, fan });
        (response, fans(&rows).remove(SITE))
    };
    let done = Response::Done;
    for (fan, expected) in [
        (Some(automatic(4)), Some(automatic(4))),
        (Some(by_policy(8)), Some(by_policy(8))),
        (Some(automatic(2)), Some(by_policy(8))),
        (Some(by_policy(1)), Some(by_policy(1))),
        (Some(Fan::ONE), Some(by_policy(1))),
        (None, None),
        (Some(automatic(4)), Some(automatic(4))),
        (Some(Fan::ONE), None),
    ] {
        assert_eq!(set(SITE, fan), (done.clone(), expected), "{fan:?}");
    }
    let refused = Response::Refused(Refusal::BadFan);
    for (site, fan) in [
        (SITE, by_policy(0)),
        (SITE, by_policy(65)),
        ("", by_policy(2)),
    ] {
        assert_eq!(set(site, Some(fan)).0, refused, "{site:?} {fan:?}");
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
    fn a_fan_covers_its_slots_and_no_other(fan in 1..=FAN_MAX, seed in any::<u64>()) {
        let fans: Fans = [(SITE.to_owned(), fan)].into_iter().collect();
        let own: BTreeSet<Slot> = (0..fan).map(|nth| Slot::of(SITE, nth)).collect();
        let mut used = BTreeSet::new();
        for n in 0..u64::from(fan) * 40 {
            let message = MessageId::new(UnixMs(n), GroupId(1), seed.wrapping_add(n));
            let slot = fans.slot(SITE, message);
            prop_assert_eq!(slot, fans.slot(SITE, message));
            prop_assert_eq!(fans.slot("other.test", message), Slot::of("other.test", 0));
            used.insert(slot);
        }
        prop_assert_eq!(used, own);
    }
}

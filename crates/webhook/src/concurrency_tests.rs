use proptest::prelude::*;

use super::*;

const MAIN: (GroupId, LaneId) = (GroupId(1), LaneId::Main);

#[test]
fn a_lane_has_one_request_in_flight() {
    let mut places = Concurrency::new(Limits::default());
    assert_eq!(places.start("a", MAIN, false, UnixMs(0)), Ok(()));
    assert_eq!(places.start("a", MAIN, false, UnixMs(0)), Err(Busy::Lane));
    let replay = (GroupId(1), LaneId::Replay(1));
    assert_eq!(places.start("a", replay, false, UnixMs(0)), Ok(()));
    assert_eq!(places.start("b", MAIN, false, UnixMs(0)), Ok(()));
    places.end("a", MAIN);
    places.end("a", MAIN);
    assert_eq!(places.start("a", MAIN, false, UnixMs(0)), Ok(()));
    assert_eq!(places.total(), 3);
}

#[test]
fn an_endpoint_and_those_that_fail_leave_room_for_others() {
    let mut places = Concurrency::new(Limits {
        total: 4,
        per_endpoint: 2,
        failing: 1,
    });
    let lane = |group| (GroupId(group), LaneId::Main);
    assert_eq!(places.start("a", lane(1), true, UnixMs(0)), Ok(()));
    assert_eq!(
        places.start("b", lane(1), true, UnixMs(0)),
        Err(Busy::Failing)
    );
    assert_eq!(places.start("c", lane(1), false, UnixMs(0)), Ok(()));
    assert_eq!(places.start("c", lane(2), false, UnixMs(0)), Ok(()));
    assert_eq!(
        places.start("c", lane(3), false, UnixMs(0)),
        Err(Busy::Endpoint)
    );
    assert_eq!(places.start("d", lane(1), false, UnixMs(0)), Ok(()));
    assert_eq!(
        places.start("e", lane(1), false, UnixMs(0)),
        Err(Busy::Total)
    );
    places.end("a", lane(1));
    assert_eq!(places.start("b", lane(1), true, UnixMs(0)), Ok(()));
}

#[test]
fn a_throttled_endpoint_is_left_alone() {
    let mut places = Concurrency::new(Limits::default());
    places.hold("a", UnixMs(10));
    places.hold("a", UnixMs(5));
    assert_eq!(
        places.start("a", MAIN, false, UnixMs(9)),
        Err(Busy::Until(UnixMs(10)))
    );
    assert_eq!(places.start("b", MAIN, false, UnixMs(9)), Ok(()));
    assert_eq!(places.start("a", MAIN, false, UnixMs(10)), Ok(()));
}

proptest! {
    #[test]
    fn places_are_counted(steps in prop::collection::vec((0..6u8, 0..4u16, 0..3u32, any::<bool>()), 0..200)) {
        let limits = Limits { total: 6, per_endpoint: 3, failing: 2 };
        let mut places = Concurrency::new(limits);
        for (now, (endpoint, group, replay, flag)) in (0..).zip(steps) {
            let name = format!("e{}", endpoint / 2);
            let lane = (GroupId(group), LaneId::Replay(replay));
            match endpoint % 2 {
                0 => drop(places.start(&name, lane, flag, UnixMs(now))),
                _ if flag => places.hold(&name, UnixMs(now + 3)),
                _ => places.end(&name, lane),
            }
            let held = places.endpoints.values().map(|own| own.lanes.len());
            prop_assert_eq!(held.clone().sum::<usize>(), places.total());
            prop_assert!(held.max().unwrap_or(0) <= limits.per_endpoint && places.total() <= limits.total);
            prop_assert!(places.failing <= limits.failing);
        }
        let lanes: Vec<_> = places.endpoints.iter().map(|(name, own)| (name.clone(), own.lanes.clone())).collect();
        for (name, own) in lanes {
            own.into_keys().for_each(|lane| places.end(&name, lane));
        }
        places.sweep(UnixMs(u64::MAX));
        prop_assert!(places.endpoints.is_empty() && places.total() == 0 && places.failing == 0);
    }
}

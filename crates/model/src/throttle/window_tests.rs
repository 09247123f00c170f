#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::window_counter::SPANS_MAX;
use super::*;
use crate::id::mix;
use crate::time::DurationMs;

fn at(ms: u64) -> DurationMs {
    DurationMs(ms)
}

fn rate(count: u64, per: u64, burst: Option<u64>) -> Rate {
    Rate::new(count, at(per), burst).unwrap()
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

/// Takes whenever it can, for so long. Returns how many were taken.
fn use_up(mut window: Window, from: u64, lasts: u64) -> Vec<u64> {
    let mut events = Vec::new();
    let mut now = from;
    while now < from + lasts {
        while window.take(at(now)) {
            window.ended(at(now));
            events.push(now);
        }
        now = window.next_at(at(now)).unwrap().0;
        assert!(window.spans() <= SPANS_MAX);
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Without latency, 95 % of the limit is used from the first window on.
    #[test]
    fn a_limit_is_used(
        count in 1u64..=1000,
        per in prop_oneof![Just(1000u64), 1000u64..20_000, Just(60_000), Just(3_600_000)],
        burst in prop_oneof![Just(None), Just(Some(1)), (2u64..50).prop_map(Some), Just(Some(1000))],
        from in 0u64..10_000_000,
    ) {
        let rate = rate(count, per, burst);
        let windows = 12;
        let mut events = use_up(Window::new(rate), from, windows * per);
        let expected = (count * windows * 95).div_ceil(100);
        prop_assert!(events.len() as u64 >= expected.min(count * windows - 1), "{} of {}", events.len(), count * windows);
        check_never_more(&mut events, count, per);
    }

    /// Whatever the latencies, wherever within them the destination sees an event, whatever is cancelled or changed.
    #[test]
    fn a_limit_is_never_exceeded(
        count in 1u64..40,
        per in 1000u64..5000,
        burst in prop_oneof![Just(None), (1u64..10).prop_map(Some)],
        latency in prop_oneof![Just(1u64), Just(50), Just(500), Just(8000)],
        seed: u64,
    ) {
        let mut window = Window::new(rate(count, per, burst));
        let mut draws = (0u64..).map(|n| mix(seed ^ mix(n)));
        let mut draw = |below: u64| draws.next().unwrap() % below;
        let mut ends: BinaryHeap<std::cmp::Reverse<u64>> = BinaryHeap::new();
        let mut events = Vec::new();
        for now in (0..40_000).step_by(7) {
            while ends.peek().is_some_and(|end| end.0 <= now) {
                ends.pop();
                window.ended(at(now));
            }
            // Lowered at times, and never above what is checked.
            if draw(100) == 0 {
                window.set(at(now), rate(draw(count) + 1, per, burst));
            }
            while window.take(at(now)) {
                prop_assert!(window.counted(at(now)) <= count);
                if draw(10) == 0 {
                    window.cancel();
                    break;
                }
                let lasts = draw(latency);
                events.push(now + draw(lasts + 1));
                ends.push(std::cmp::Reverse(now + lasts));
            }
            let opens = window.next_at(at(now));
            prop_assert!(opens.is_none_or(|opens| opens.0 >= now));
        }
        check_never_more(&mut events, count, per);
    }

    /// When it says when it opens, it does not open earlier, and does open then.
    #[test]
    fn the_time_to_try_again_is_exact(count in 1u64..20, burst in prop_oneof![Just(None), (1u64..5).prop_map(Some)], seed: u64) {
        let mut window = Window::new(rate(count, 1000, burst));
        let mut now = 1_000_000;
        for n in 0..200 {
            while window.take(at(now)) {
                window.ended(at(now));
            }
            let opens = window.next_at(at(now)).unwrap();
            prop_assert!(opens > at(now));
            prop_assert!(!window.clone().take(at(opens.0 - 1)));
            prop_assert!(window.clone().take(opens));
            now = opens.0 + mix(seed ^ n) % 300;
        }
    }
}

#[test]
fn tokens_that_are_out_count_until_a_window_after_their_end() {
    let mut window = Window::new(rate(2, 1000, None));
    assert!(window.take(at(0)) && window.take(at(0)));
    assert_eq!(window.next_at(at(5000)), None, "nothing has ended");
    window.ended(at(5000));
    assert_eq!(window.next_at(at(5000)), Some(at(6001)));
    window.cancel();
    assert_eq!(window.next_at(at(5000)), Some(at(5000)), "given back");
    assert!(!window.is_idle(at(6000)));
    assert!(window.is_idle(at(6001)));
}

fn after_predecessor(rate: Rate, now: DurationMs, gone_since: DurationMs) -> Window {
    let mut window = Window::new(rate);
    window.predecessor_gone(now, rate.count, gone_since);
    window
}

#[test]
fn a_new_owner_waits_for_what_its_predecessor_may_have_sent() {
    let limit = rate(5, 10_000, None);
    let window = after_predecessor(limit, at(100_000), at(95_000));
    assert_eq!(window.next_at(at(100_000)), Some(at(105_001)));
    assert!(!window.is_idle(at(105_000)));
    let long_gone = after_predecessor(limit, at(100_000), at(80_000));
    assert!(long_gone.is_idle(at(100_000)));
}

#[test]
fn a_limit_of_none_never_opens() {
    let mut window = Window::new(rate(0, 1000, Some(1)));
    assert!(!window.take(at(0)));
    assert_eq!(window.next_at(at(0)), None);
    window.set(at(0), rate(1, 1000, Some(1)));
    assert!(window.take(at(0)));
}

#[test]
fn a_lower_limit_holds_at_once_and_a_faster_pace_too() {
    let mut window = Window::new(rate(10, 60_000, None));
    for _ in 0..10 {
        assert!(window.take(at(0)));
        window.ended(at(0));
    }
    window.set(at(1), rate(3, 60_000, None));
    assert_eq!(window.next_at(at(1)), Some(at(60_001)));
    let mut window = Window::new(rate(1, 86_400_000, Some(1)));
    assert!(window.take(at(0)));
    window.cancel();
    assert!(window.take(at(0)));
    window.set(at(1), rate(1000, 1000, Some(1)));
    assert_eq!(
        window.next_at(at(1)),
        Some(at(1)),
        "a day is not waited for"
    );
}

#[test]
#[should_panic(expected = "a token comes back once")]
fn a_token_does_not_end_twice() {
    Window::new(rate(1, 1000, None)).ended(at(0));
}

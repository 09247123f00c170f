#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::atomic::{AtomicUsize, Ordering};

use skein_model::throttle::{Counted, Limit, Rate, Want};

use super::*;

fn want(key: &str, counts: Counted, limit: Limit) -> Want {
    Want {
        id: LimitId {
            scope: Scope::Site,
            key: key.into(),
            counts,
            nth: 0,
        },
        limit,
        gone_since: DurationMs(0),
    }
}

fn connections(key: &str, limit: u64) -> Want {
    want(key, Counted::Connections, Limit::Concurrency(limit))
}

fn messages(count: u64, seconds: u64) -> Want {
    let rate = Rate::new(count, DurationMs::from_secs(seconds), None).unwrap();
    want("a.test", Counted::Messages, Limit::Rate(rate))
}

fn take(
    gates: &Arc<LocalGates>,
    wants: &[Want],
    waiter: impl FnOnce() -> Option<Waiter>,
) -> Result<Token, Closed> {
    let wants = Wants::exactly(wants);
    let ask = Ask {
        wants: &wants,
        site: "a.test",
        is_elsewhere: false,
        gone_since: None,
        demand: 1,
    };
    gates.take(&ask, waiter)
}

/// Somebody who counts how often they are woken.
fn waiter(number: u64, woken: &Arc<AtomicUsize>, is_of_use: bool) -> Waiter {
    let woken = woken.clone();
    Waiter {
        number,
        wake: Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
            is_of_use
        }),
    }
}

#[test]
fn a_token_that_comes_back_wakes_the_one_that_has_waited_longest() {
    let gates = LocalGates::new();
    let one = [connections("a.test", 1)];
    let token = take(&gates, &one, || None).unwrap();
    let woken: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
    for (number, woken) in (0..).zip(&woken) {
        // Asking again does not make two places in the queue.
        for _ in 0..2 {
            let waits = || Some(waiter(number, woken, true));
            let closed = take(&gates, &one, waits).err().unwrap();
            assert_eq!(closed.scope, Scope::Site);
        }
    }
    let counts = || -> Vec<usize> {
        let counts = woken.iter().map(|woken| woken.load(Ordering::SeqCst));
        counts.collect()
    };
    token.ended();
    assert_eq!(counts(), [1, 0, 0]);
    take(&gates, &one, || None).unwrap().cancel();
    assert_eq!(counts(), [1, 1, 0]);
    drop(take(&gates, &one, || None).unwrap());
    assert_eq!(counts(), [1, 1, 1]);
    assert!(gates.state.lock().waiting.is_empty());
}

#[test]
fn who_has_no_use_for_a_token_passes_it_on() {
    let gates = LocalGates::new();
    let one = [connections("a.test", 1)];
    let token = take(&gates, &one, || None).unwrap();
    let (idle, busy) = (Arc::default(), Arc::default());
    for (number, woken, is_of_use) in [(1, &idle, false), (2, &busy, true)] {
        let waits = || Some(waiter(number, woken, is_of_use));
        assert!(take(&gates, &one, waits).is_err());
    }
    token.ended();
    let counts = [&idle, &busy].map(|woken: &Arc<AtomicUsize>| woken.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_limit_that_opens_by_itself_says_when_and_keeps_nobody_in_a_queue() {
    let gates = LocalGates::new();
    let one = [messages(1, 60)];
    take(&gates, &one, || None).unwrap().ended();
    let before = Instant::now();
    let closed = take(&gates, &one, || unreachable!()).err().unwrap();
    let wait = closed.until - before;
    assert!(
        wait > Duration::from_secs(58) && wait < Duration::from_secs(62),
        "{wait:?}"
    );
}

#[test]
fn an_attempt_to_connect_ends_when_the_connection_stands_and_the_connection_counts_on() {
    let gates = LocalGates::new();
    let attempts = Rate::new(5, DurationMs::from_secs(60), None).unwrap();
    let attempts = want("a.test", Counted::ConnectionAttempts, Limit::Rate(attempts));
    let both = [connections("a.test", 1), attempts.clone()];
    let mut token = take(&gates, &both, || None).unwrap();
    token.opened();
    assert_eq!(
        take(&gates, &both, || None).err().unwrap().scope,
        Scope::Site
    );
    token.ended();
    take(&gates, &both, || None).unwrap().cancel();
    let now = gates.now();
    let counted = |want: &Want| gates.state.lock().gates.counted(now, want);
    assert_eq!((counted(&both[0]), counted(&attempts)), (0, 1));
}

#[test]
fn a_window_is_closed_for_what_another_sender_may_have_used() {
    let gates = LocalGates::new();
    let mut site = messages(5, 60);
    site.gone_since = gates.at(Instant::now());
    assert!(site.gone_since > DurationMs(0));
    assert!(take(&gates, &[site], || None).is_err());
    let other = want("b.test", Counted::Messages, messages(5, 60).limit);
    take(&gates, &[other], || None).unwrap().ended();
}

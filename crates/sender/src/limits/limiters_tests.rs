#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::atomic::{AtomicUsize, Ordering};

use skein_client::LimitKeeper;
use skein_model::lease::{LEASE, Lease as ModelLease};
use skein_model::throttle::{
    Counted, Limit, LimitAnswer, LimitRequest, Rate, Said, ShareAnswer, SharedLimit,
};

use super::*;

fn want(key: &str, counts: Counted, limit: Limit) -> LimitRequest {
    LimitRequest {
        id: LimitId {
            scope: Scope::Site,
            key: key.into(),
            counts,
            nth: 0,
        },
        limit,
        is_inherited: true,
        gone_since: DurationMs(0),
    }
}

fn connections(key: &str, limit: u64) -> LimitRequest {
    want(key, Counted::Connections, Limit::Concurrency(limit))
}

fn messages(count: u64, seconds: u64) -> LimitRequest {
    let rate = Rate::new(count, DurationMs::from_secs(seconds), None).unwrap();
    want("a.test", Counted::Messages, Limit::Rate(rate))
}

fn take(
    limiters: &Arc<LocalLimiters>,
    wants: &[LimitRequest],
    waiter: impl FnOnce() -> Option<Waiter>,
) -> Result<Token, Closed> {
    let wants = LimitRequests::exactly(wants);
    let ask = Ask {
        wants: &wants,
        site: "a.test",
        is_elsewhere: false,
        gone_since: None,
        demand: 1,
    };
    limiters.take(&ask, waiter)
}

/// Somebody who counts how often they are woken.
fn waiter(number: u64, woken: &Arc<AtomicUsize>, is_of_use: bool) -> Waiter {
    let woken = woken.clone();
    Waiter {
        number,
        lives: Box::new(|| true),
        wake: Box::new(move || {
            woken.fetch_add(1, Ordering::SeqCst);
            is_of_use
        }),
    }
}

#[test]
fn a_token_that_comes_back_wakes_the_one_that_has_waited_longest() {
    let (limiters, _lease) = with_session();
    let one = [connections("a.test", 1)];
    let token = take(&limiters, &one, || None).unwrap();
    let woken: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
    for (number, woken) in (0..).zip(&woken) {
        // Asking again does not make two places in the queue.
        for _ in 0..2 {
            let waits = || Some(waiter(number, woken, true));
            let closed = take(&limiters, &one, waits).err().unwrap();
            assert_eq!(closed.scope, Scope::Site);
        }
    }
    let counts = || -> Vec<usize> {
        let counts = woken.iter().map(|woken| woken.load(Ordering::SeqCst));
        counts.collect()
    };
    token.ended();
    assert_eq!(counts(), [1, 0, 0]);
    take(&limiters, &one, || None).unwrap().cancel();
    assert_eq!(counts(), [1, 1, 0]);
    drop(take(&limiters, &one, || None).unwrap());
    assert_eq!(counts(), [1, 1, 1]);
    assert!(limiters.state.lock().waiters.is_empty());
}

#[test]
fn who_has_no_use_for_a_token_passes_it_on() {
    let (limiters, _lease) = with_session();
    let one = [connections("a.test", 1)];
    let token = take(&limiters, &one, || None).unwrap();
    let (idle, busy) = (Arc::default(), Arc::default());
    for (number, woken, is_of_use) in [(1, &idle, false), (2, &busy, true)] {
        let waits = || Some(waiter(number, woken, is_of_use));
        assert!(take(&limiters, &one, waits).is_err());
    }
    token.ended();
    let counts = [&idle, &busy].map(|woken: &Arc<AtomicUsize>| woken.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_limit_that_opens_by_itself_says_when_and_keeps_nobody_in_a_queue() {
    let (limiters, _lease) = with_session();
    let one = [messages(1, 60)];
    take(&limiters, &one, || None).unwrap().ended();
    let before = Instant::now();
    let closed = take(&limiters, &one, || unreachable!()).err().unwrap();
    let wait = closed.until - before;
    assert!(
        wait > Duration::from_secs(58) && wait < Duration::from_secs(62),
        "{wait:?}"
    );
}

#[test]
fn an_attempt_to_connect_ends_when_the_connection_stands_and_the_connection_counts_on() {
    let (limiters, _lease) = with_session();
    let attempts = Rate::new(5, DurationMs::from_secs(60), None).unwrap();
    let attempts = want("a.test", Counted::ConnectionAttempts, Limit::Rate(attempts));
    let both = [connections("a.test", 1), attempts.clone()];
    let mut token = take(&limiters, &both, || None).unwrap();
    token.opened();
    assert_eq!(
        take(&limiters, &both, || None).err().unwrap().scope,
        Scope::Site
    );
    token.ended();
    take(&limiters, &both, || None).unwrap().cancel();
    let now = limiters.now();
    let counted = |want: &LimitRequest| limiters.state.lock().limiters.counted(now, want);
    assert_eq!((counted(&both[0]), counted(&attempts)), (0, 1));
}

#[test]
fn a_window_is_closed_for_what_another_sender_may_have_used() {
    let (limiters, _lease) = with_session();
    let mut site = messages(5, 60);
    site.gone_since = limiters.at(Instant::now());
    assert!(site.gone_since > DurationMs(0));
    assert!(take(&limiters, &[site], || None).is_err());
    let other = want("b.test", Counted::Messages, messages(5, 60).limit);
    take(&limiters, &[other], || None).unwrap().ended();
}

const SESSION: SessionId = SessionId(7);

/// The limiters of a sender whose session has just begun, and its lease.
fn with_session() -> (Arc<LocalLimiters>, Lease) {
    let (limiters, lease) = (LocalLimiters::new(), Lease::default());
    limiters.set_lease(lease.clone());
    limiters.begin_session(SESSION);
    lease.begin(SESSION, ModelLease::granted(since_boot(), LEASE));
    (limiters, lease)
}

fn shared(count: u64) -> LimitRequest {
    let limit = Limit::Shared {
        limit: SharedLimit::Connections(count),
        is_by_owner: true,
    };
    want("a.test", Counted::Connections, limit)
}

/// Reports, and is answered this.
fn tell(limiters: &LocalLimiters, may: u64, version: u64) -> Option<(u64, u64)> {
    let told = limiters.reports()?;
    let answers = [LimitAnswer::Share(ShareAnswer { may, version })];
    limiters.answered(&told, &answers[..told.reports.len()]);
    let Said::Share(said) = told.reports.first()?.said else {
        panic!("it is a share");
    };
    Some((said.counted, said.wants))
}

#[test]
fn a_shared_limit_is_asked_for_at_once_and_an_answer_wakes_who_waits() {
    let (limiters, lease) = with_session();
    let one = [shared(2)];
    let woken = Arc::default();
    let waits = || Some(waiter(1, &woken, true));
    assert!(take(&limiters, &one, waits).is_err());
    assert_eq!(limiters.due_in(), Some(Duration::ZERO));
    assert_eq!(tell(&limiters, 1, 1), Some((0, 1)));
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    let token = take(&limiters, &one, || None).unwrap();
    assert!(
        take(&limiters, &one, || None).is_err(),
        "the rest is others'"
    );
    assert!(!token.must_leave());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(tell(&limiters, 0, 2), Some((1, 1)));
    assert!(token.must_leave());
    token.ended();

    std::thread::sleep(Duration::from_millis(20));
    assert!(tell(&limiters, 2, 3).is_some());
    take(&limiters, &one, || None).unwrap().ended();
    let later = ModelLease::granted(since_boot(), LEASE);
    lease.begin(SessionId(8), later);
    assert!(
        take(&limiters, &one, || None).is_err(),
        "said to another session"
    );
}

#[test]
fn who_is_gone_asks_for_no_part() {
    let (limiters, _lease) = with_session();
    let (one, woken) = ([shared(2)], Arc::default());
    let somebody = Arc::new(());
    let there = Arc::downgrade(&somebody);
    let waits = || {
        let lives = Box::new(move || there.strong_count() > 0);
        let waiter = waiter(1, &woken, true);
        Some(Waiter { lives, ..waiter })
    };
    assert!(take(&limiters, &one, waits).is_err());
    assert_eq!(tell(&limiters, 0, 1), Some((0, 1)));
    drop(somebody);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(tell(&limiters, 0, 2), Some((0, 0)));
}

#[test]
fn what_was_used_alone_is_told_when_a_site_becomes_wide() {
    let (limiters, _lease) = with_session();
    let wants = LimitRequests::of_owner(&[connections("a.test", 2)], &[shared(2)]);
    let ask = Ask {
        wants: &wants,
        site: "a.test",
        is_elsewhere: false,
        gone_since: None,
        demand: 1,
    };
    let alone = limiters.take(&ask, || None).unwrap();
    assert!(limiters.reports().is_none(), "nobody is asked");
    limiters.set_shared_sites(3, BTreeSet::from(["a.test".to_owned()]));
    assert!(
        limiters.take(&ask, || None).is_err(),
        "others may have a part now"
    );
    let told = limiters.reports().unwrap();
    assert_eq!((told.shared_version, told.reports.len()), (3, 1));
    // The request was lost: it is told again, and with it what counts.
    assert_eq!(tell(&limiters, 2, 1), Some((1, 1)));
    assert!(!alone.must_leave());
    drop(limiters.take(&ask, || None).unwrap());
    drop(alone);
}

#[test]
fn a_connection_leaves_with_the_lease_and_none_is_opened_without() {
    let (limiters, lease) = with_session();
    let one = [connections("a.test", 2)];
    let token = take(&limiters, &one, || None).unwrap();
    assert!(!token.must_leave());
    lease.begin(SESSION, ModelLease::ENDED);
    assert!(token.must_leave(), "the site is about to be another's");
    assert!(take(&limiters, &one, || None).is_err());
    let later = ModelLease::granted(since_boot(), LEASE);
    lease.begin(SESSION, later);
    take(&limiters, &one, || None).unwrap().ended();
}

#[test]
fn a_connection_is_not_wanted_by_who_has_it() {
    let (limiters, _lease) = with_session();
    let one = [connections("a.test", 1)];
    let token = take(&limiters, &one, || None).unwrap();
    let woken = Arc::default();
    assert!(take(&limiters, &one, || Some(waiter(1, &woken, true))).is_err());
    assert!(!token.is_wanted(1) && token.is_wanted(2));
    assert!(take(&limiters, &one, || Some(waiter(2, &woken, true))).is_err());
    assert!(token.is_wanted(1));
}

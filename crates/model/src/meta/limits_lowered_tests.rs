//! A limit becomes lower: nobody uses more than the new one allows, whatever was given of the old one.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::limits::SessionReports;
use super::{Command, Response, apply};
use crate::id::SessionId;
use crate::lease::{LEASE, Lease};
use crate::rows::MemoryRows;
use crate::throttle::{
    Counted, Limit, LimitId, LimitRequest, LimiterSet, Rate, Scope, SharedLimit,
};
use crate::time::{DurationMs, LimitMs, UnixMs};

/// Tasks that wait in each sender's queues.
const WAITING: u64 = 40;

struct Cluster {
    rows: MemoryRows,
    senders: Vec<LimiterSet>,
    number: u64,
    now: DurationMs,
}

fn request(count: u64, seconds: u64) -> LimitRequest {
    let rate = Rate::new(count, DurationMs::from_secs(seconds), None).unwrap();
    LimitRequest {
        id: LimitId {
            scope: Scope::Tenant,
            key: "acme".into(),
            counts: Counted::Messages,
            nth: 0,
        },
        limit: Limit::Shared {
            limit: SharedLimit::Rate(rate),
            is_by_owner: false,
        },
        is_inherited: false,
        gone_since: DurationMs(0),
    }
}

impl Cluster {
    fn new(senders: u64) -> Self {
        let mut rows = MemoryRows::default();
        for id in 1..=senders {
            let open = Command::OpenSession {
                session: SessionId(id),
                sender: format!("s{id}"),
                order: 1,
            };
            assert_eq!(apply(&mut rows, UnixMs(1), &open), Response::Done);
        }
        let sender = |_| {
            let mut limiters = LimiterSet::new(100);
            limiters.renew(Lease::granted(DurationMs(0), LEASE));
            limiters.set_policy(1);
            limiters
        };
        Self {
            rows,
            senders: (0..senders).map(sender).collect(),
            number: 0,
            now: DurationMs(1000),
        }
    }

    /// Takes as many as it can; they end at once.
    fn take(&mut self, nth: usize, request: &LimitRequest, most: u64) -> u64 {
        let sender = &mut self.senders[nth];
        for taken in 0..most {
            match sender.try_take(self.now, std::slice::from_ref(request)) {
                Ok(permit) => sender.ended(self.now, permit),
                Err(throttled) => {
                    let wants = std::slice::from_ref(request);
                    let _ = sender.refused(self.now, wants, &throttled, most - taken);
                    return taken;
                }
            }
        }
        most
    }

    /// Reports whatever is due. The answer may be lost.
    fn report(&mut self, nth: usize, is_lost: bool) {
        let reports = self.senders[nth].reports(self.now, |_| WAITING);
        self.number += 1;
        let told = SessionReports {
            session: SessionId(nth as u64 + 1),
            number: self.number,
            shared: 0,
            reports: reports.clone(),
            alone: Vec::new(),
        };
        let command = Command::ReportLimits {
            at: LimitMs(self.now.0),
            told: vec![told],
        };
        let Response::Limits(answers) = apply(&mut self.rows, UnixMs(1), &command) else {
            panic!("limits are answered");
        };
        if !is_lost {
            let _ = self.senders[nth].answered(self.now, &reports, &answers[0].answers);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.0 += ms;
        for sender in &mut self.senders {
            sender.renew(Lease::granted(self.now, LEASE));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever senders have of a limit when each of them goes by a lower one, they do no more from then on than that allows.
    #[test]
    fn nobody_uses_what_was_given_of_a_higher_limit(
        seconds in prop::sample::select(vec![1u64, 5, 60, 3600]),
        high in 50u64..5000,
        low in 1u64..50,
        steps in proptest::collection::vec((0usize..3, 0u64..40, any::<bool>(), 0u64..200), 1..40),
        after in proptest::collection::vec((0usize..3, 1u64..40, any::<bool>(), 0u64..20), 1..60),
    ) {
        let mut cluster = Cluster::new(3);
        let (before, lower) = (request(high, seconds), request(low, seconds));
        for (nth, most, is_lost, ms) in steps {
            cluster.take(nth, &before, most);
            cluster.report(nth, is_lost);
            cluster.pass(ms);
        }
        for sender in &mut cluster.senders {
            sender.set_policy(2);
        }
        let began = cluster.now.0;
        let mut taken = 0;
        for (nth, most, is_lost, ms) in after {
            taken += cluster.take(nth, &lower, most);
            cluster.report(nth, is_lost);
            cluster.pass(ms);
        }
        let windows = (cluster.now.0 - began) / (seconds * 1000) + 1;
        prop_assert!(taken <= low * windows, "{} of {} in {} windows", taken, low, windows);
    }
}

#[test]
fn a_lower_limit_is_used_soon() {
    for seconds in [1, 5, 60, 3600] {
        let mut cluster = Cluster::new(3);
        let (before, lower) = (request(900, seconds), request(30, seconds));
        for _ in 0..3 {
            for nth in 0..3 {
                cluster.take(nth, &before, 1);
                cluster.report(nth, false);
            }
            cluster.pass(300);
        }
        cluster.pass(seconds * 1000);
        for sender in &mut cluster.senders {
            sender.set_policy(2);
        }
        let mut takers = BTreeSet::new();
        for _ in 0..20 {
            for nth in 0..3 {
                if cluster.take(nth, &lower, 1) > 0 {
                    takers.insert(nth);
                }
                cluster.report(nth, false);
            }
            cluster.pass(50);
        }
        // What is granted keeps the pace of the limit: one token in the second that this takes.
        let least = if seconds <= 5 { 3 } else { 1 };
        assert!(
            takers.len() >= least,
            "{takers:?} in a window of {seconds} s"
        );
    }
}

//! What is remembered of the name servers, so that one that only errs is passed over for a while. Pure.

use std::time::{Duration, Instant};

/// Failures in a row, at questions that another server answered, after which a server is passed over. A single broken
/// zone makes one or two.
const FAILURES_MAX: u32 = 3;
/// A server that was restarted is back soon.
const REST_MIN: Duration = Duration::from_secs(10);
/// One that was away for hours is found again within this time.
const REST_MAX: Duration = Duration::from_secs(300);
/// One question finds out whether a server is back; the others do not wait for it meanwhile.
const PROBE: Duration = Duration::from_secs(5);

/// One small entry for each configured server, so it is bounded by the configuration.
#[derive(Debug)]
pub(crate) struct Servers {
    standing: Vec<Standing>,
}

#[derive(Debug, Clone, Default)]
struct Standing {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Servers {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            standing: vec![Standing::default(); count],
        }
    }

    /// In the order of the configuration, those that rest last: when no other answers, they are asked too.
    pub(crate) fn order(&mut self, now: Instant) -> Vec<usize> {
        let mut resting = Vec::new();
        let mut order = Vec::with_capacity(self.standing.len());
        for (server, standing) in self.standing.iter_mut().enumerate() {
            match standing.rests_until {
                Some(until) if now < until => resting.push(server),
                Some(_) => {
                    standing.rests_until = Some(now + PROBE);
                    order.push(server);
                }
                None => order.push(server),
            }
        }
        order.append(&mut resting);
        order
    }

    pub(crate) fn answered(&mut self, server: usize) {
        if let Some(standing) = self.standing.get_mut(server) {
            *standing = Standing::default();
        }
    }

    /// A server failed at a question that another one answered. Where none has an answer, the zone may be broken, or
    /// the network: nothing is learnt about servers.
    pub(crate) fn failed(&mut self, server: usize, now: Instant) {
        let Some(standing) = self.standing.get_mut(server) else {
            return;
        };
        // Questions of one moment fail together, and say no more than one of them.
        if standing
            .rests_until
            .is_some_and(|until| now + PROBE < until)
        {
            return;
        }
        standing.failures = standing.failures.saturating_add(1);
        if let Some(beyond) = standing.failures.checked_sub(FAILURES_MAX) {
            let rest = REST_MIN.saturating_mul(1 << beyond.min(16)).min(REST_MAX);
            standing.rests_until = Some(now + rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps in order, each a second after the one before: what happened to server 0, and the order after it.
    #[test]
    fn a_server_that_only_errs_is_passed_over_and_tried_again() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut servers = Servers::new(3);
        for second in 0..2 {
            servers.failed(0, at(second));
            assert_eq!(servers.order(at(second)), [0, 1, 2], "two failures");
        }
        servers.answered(0);
        for second in 2..5 {
            assert_eq!(servers.order(at(second)), [0, 1, 2], "an answer forgives");
            servers.failed(0, at(second));
        }
        assert_eq!(servers.order(at(4)), [1, 2, 0]);
        assert_eq!(servers.order(at(13)), [1, 2, 0]);
        assert_eq!(servers.order(at(14)), [0, 1, 2], "one question tries it");
        assert_eq!(servers.order(at(14)), [1, 2, 0], "and only one");
        servers.failed(0, at(14));
        assert_eq!(servers.order(at(33)), [1, 2, 0], "the rest has doubled");
        assert_eq!(servers.order(at(34)), [0, 1, 2]);
        servers.answered(0);
        assert_eq!(servers.order(at(34)), [0, 1, 2]);
    }

    #[test]
    fn failures_of_one_moment_are_one_rest_and_rests_are_bounded() {
        let start = Instant::now();
        let mut servers = Servers::new(2);
        for _ in 0..1000 {
            servers.failed(0, start);
        }
        assert_eq!(servers.order(start + REST_MIN), [0, 1]);
        let mut now = start;
        for _ in 0..100 {
            now += REST_MAX;
            assert_eq!(
                servers.order(now),
                [0, 1],
                "never longer than the longest rest"
            );
            servers.failed(0, now);
        }
    }
}

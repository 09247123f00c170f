//! How long a session waits for its client. Pure.

use std::time::Duration;

use skein_smtp::server::Limits;

use crate::min_rate::MinRate;

/// A whole envelope, from MAIL to the body: a thousand recipients, each answered after half a second.
const ENVELOPE_MAX: Duration = Duration::from_secs(600);
/// A whole body. The largest that is usual, 64 MiB, comes at 18 kB in a second.
const BODY_MAX: Duration = Duration::from_secs(3600);

/// What the client is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Commands,
    Envelope,
    Body,
}

#[derive(Debug)]
pub struct Waits {
    command_timeout: Duration,
    body_timeout: Duration,
    body_rate_min: u64,
    /// Since when, and how fast a body comes.
    envelope: Option<Duration>,
    body: Option<(Duration, MinRate)>,
}

impl Waits {
    pub fn new(limits: &Limits, body_rate_min: u64) -> Self {
        Self {
            command_timeout: limits.command_timeout,
            body_timeout: limits.body_timeout,
            body_rate_min,
            envelope: None,
            body: None,
        }
    }

    /// For how long the next octets are waited for. Zero: the client has had its time.
    pub fn next(&mut self, doing: Doing, now: Duration) -> Duration {
        match doing {
            Doing::Commands => {
                (self.envelope, self.body) = (None, None);
                self.command_timeout
            }
            Doing::Envelope => {
                self.body = None;
                let since = *self.envelope.get_or_insert(now);
                let left = ENVELOPE_MAX.saturating_sub(now.saturating_sub(since));
                left.min(self.command_timeout)
            }
            Doing::Body => {
                self.envelope = None;
                let min_rate = MinRate::new(self.body_timeout, self.body_rate_min);
                let (since, min_rate) = self.body.get_or_insert((now, min_rate));
                let left = BODY_MAX.saturating_sub(now.saturating_sub(*since));
                left.min(min_rate.wait())
            }
        }
    }

    /// So many octets came after this wait.
    pub fn received(&mut self, bytes: usize, waited: Duration) {
        if let Some((_, min_rate)) = &mut self.body {
            min_rate.received(bytes, waited);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn an_envelope_and_a_body_end_however_busy_the_client_is() {
        let limits = Limits::default();
        for (doing, first, whole) in [
            (Doing::Envelope, s(300), Some(s(600))),
            (Doing::Body, s(180), Some(s(3600))),
            (Doing::Commands, s(300), None),
        ] {
            let mut waits = Waits::new(&limits, 100);
            assert_eq!(waits.next(doing, s(1000)), first, "{doing:?}");
            let mut over = None;
            for second in 0..10_000 {
                waits.received(1000, s(1));
                if waits.next(doing, s(1000 + second)).is_zero() {
                    over = Some(s(second));
                    break;
                }
            }
            assert_eq!(over, whole, "{doing:?}");
        }
    }

    #[test]
    fn each_transaction_has_its_own_time() {
        let mut waits = Waits::new(&Limits::default(), 100);
        assert_eq!(waits.next(Doing::Envelope, s(0)), s(300));
        assert_eq!(waits.next(Doing::Envelope, s(590)), s(10));
        assert_eq!(waits.next(Doing::Body, s(590)), s(180));
        waits.received(1, s(170));
        assert!(waits.next(Doing::Body, s(760)) < s(11));
        assert_eq!(waits.next(Doing::Envelope, s(760)), s(300));
        assert_eq!(waits.next(Doing::Commands, s(1500)), s(300));
        assert_eq!(waits.next(Doing::Envelope, s(1500)), s(300));
    }
}

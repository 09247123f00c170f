//! Bounces that suppress a recipient only when they come again and again, counted for one address and tenant.

use minicbor::{Decode, Encode};

use crate::time::{DurationMs, UnixMs};

/// No rule asks for more bounces; those of a class that are kept are fewer.
pub const TIMES_MAX: usize = 16;

/// The classes whose bounces are counted. One that suppresses at once has a rule of one time, and one that never does has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    MailboxFull,
    InvalidDomain,
    Policy,
}

impl Counted {
    pub const ALL: [Self; 3] = [Self::MailboxFull, Self::InvalidDomain, Self::Policy];
}

/// How many bounces within which time suppress, and for how long; such as 5 in 14 days, for 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// 0 is as good as 1, and more than [`TIMES_MAX`] as good as that.
    pub times: u8,
    pub within: DurationMs,
    /// None: for good.
    pub lasting: Option<DurationMs>,
}

/// What a bounce led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There were so many within the rule's time, this one included.
    Counted(u8),
    /// There were enough: the recipient is suppressed until then, or for good. They are forgotten.
    Suppress { expires: Option<UnixMs> },
}

/// When the latest bounces of each class came, the latest last. At most [`TIMES_MAX`] less one of each: some 400 octets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct BounceCounts {
    #[n(0)]
    mailbox_full: Vec<UnixMs>,
    #[n(1)]
    invalid_domain: Vec<UnixMs>,
    #[n(2)]
    policy: Vec<UnixMs>,
}

impl Rule {
    fn times(&self) -> usize {
        usize::from(self.times).clamp(1, TIMES_MAX)
    }
}

impl BounceCounts {
    /// Counts a bounce. A time before that of an earlier one counts as the same: a clock that was set back makes no bounce young.
    pub fn record(&mut self, class: Counted, rule: &Rule, at: UnixMs) -> Outcome {
        let times = self.of(class);
        let at = times.last().map_or(at, |last| at.max(*last));
        times.retain(|earlier| at.since(*earlier) < rule.within);
        times.push(at);
        if times.len() >= rule.times() {
            times.clear();
            let expires = rule.lasting.map(|lasting| at + lasting);
            return Outcome::Suppress { expires };
        }
        // Below `TIMES_MAX`, or the rule would have been met.
        Outcome::Counted(u8::try_from(times.len()).unwrap_or(u8::MAX))
    }

    /// A message has arrived: the mailbox has room. The domain and its policy may be as they were.
    pub fn delivered(&mut self) {
        self.mailbox_full.clear();
    }

    /// Forgets what no bounce from now on is counted with, for the rule of a class.
    pub fn forget(&mut self, class: Counted, rule: &Rule, now: UnixMs) {
        self.of(class)
            .retain(|earlier| now.since(*earlier) < rule.within);
    }

    /// Nothing is counted, so there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.mailbox_full.is_empty() && self.invalid_domain.is_empty() && self.policy.is_empty()
    }

    fn of(&mut self, class: Counted) -> &mut Vec<UnixMs> {
        match class {
            Counted::MailboxFull => &mut self.mailbox_full,
            Counted::InvalidDomain => &mut self.invalid_domain,
            Counted::Policy => &mut self.policy,
        }
    }
}

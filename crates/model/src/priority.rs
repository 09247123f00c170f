//! What goes first.

use std::str::FromStr;

use minicbor::{Decode, Encode};

/// How urgent a message is, as its client said.
///
/// Two suffice: a person waits for it, or none does. Mail of which nothing is said is bulk, because only then does
/// marking the few urgent messages help them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Priority {
    /// A person waits for it: a password reset, a receipt.
    #[n(0)]
    Transactional,
    #[default]
    #[n(1)]
    Bulk,
}

/// A text that names no priority.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a priority is transactional or bulk")]
pub struct NotAPriority;

impl Priority {
    pub const COUNT: usize = 2;
    pub const ALL: [Self; Self::COUNT] = [Self::Transactional, Self::Bulk];

    pub fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Bulk => "bulk",
        }
    }

    /// What MT-PRIORITY says (RFC 6710): 0 is normal, and more is urgent.
    pub fn of_mt_priority(level: i8) -> Self {
        if level > 0 {
            Self::Transactional
        } else {
            Self::Bulk
        }
    }
}

impl FromStr for Priority {
    type Err = NotAPriority;

    fn from_str(text: &str) -> Result<Self, NotAPriority> {
        [Self::Transactional, Self::Bulk]
            .into_iter()
            .find(|priority| text.eq_ignore_ascii_case(priority.name()))
            .ok_or(NotAPriority)
    }
}

/// Bulk gets one of so many places even while transactional mail waits, so that it never starves.
const BULK_ONE_IN: i32 = 5;

/// The priority that goes first where mail of both waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Precedence {
    /// Places that transactional mail had, less those that bulk mail had in return.
    ahead: i32,
}

impl Precedence {
    pub fn next(&self, transactional_waits: bool, bulk_waits: bool) -> Option<Priority> {
        match (transactional_waits, bulk_waits) {
            (false, false) => None,
            (true, false) => Some(Priority::Transactional),
            (false, true) => Some(Priority::Bulk),
            (true, true) if self.ahead >= BULK_ONE_IN - 1 => Some(Priority::Bulk),
            (true, true) => Some(Priority::Transactional),
        }
    }

    /// So many of one priority went while the other waited too.
    pub fn passed(&mut self, priority: Priority, count: usize) {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        self.ahead = match priority {
            Priority::Transactional => self.ahead.saturating_add(count),
            Priority::Bulk => self
                .ahead
                .saturating_sub(count.saturating_mul(BULK_ONE_IN - 1)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_five_is_bulk_while_both_wait() {
        let mut precedence = Precedence::default();
        let mut went = Vec::new();
        for _ in 0..10 {
            let next = precedence.next(true, true);
            went.extend(next);
            precedence.passed(next.unwrap_or_default(), 1);
        }
        let bulk: Vec<usize> = (0..10).filter(|n| went[*n] == Priority::Bulk).collect();
        assert_eq!(bulk, [4, 9]);
        assert_eq!(precedence.next(false, true), Some(Priority::Bulk));
        assert_eq!(precedence.next(true, false), Some(Priority::Transactional));
        assert_eq!(precedence.next(false, false), None);
    }

    #[test]
    fn priorities_are_read() {
        for (text, expected) in [
            ("transactional", Ok(Priority::Transactional)),
            ("Bulk", Ok(Priority::Bulk)),
            ("urgent", Err(NotAPriority)),
            ("", Err(NotAPriority)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for (level, expected) in [(-9, Priority::Bulk), (0, Priority::Bulk)] {
            assert_eq!(Priority::of_mt_priority(level), expected);
        }
        assert_eq!(Priority::of_mt_priority(1), Priority::Transactional);
    }
}

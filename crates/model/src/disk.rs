//! How much of a node's disk may be filled: two marks, and a ballast file that is given up for what must still be written.
//!
//! Beyond the soft mark a node takes no new mail; beyond the hard mark it takes nothing but what makes it emptier:
//! results, deletions, elections. The ballast is space that no other file can have, for exactly that.

/// The file system that holds the data directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All that this process could have on an empty disk.
    pub capacity: u64,
    pub available: u64,
}

/// What the operator says. Sizes that are not given follow from the disk's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Percent of the capacity.
    pub soft_mark: u8,
    pub hard_mark: u8,
    pub ballast_bytes: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            // DESIGN section 7.
            soft_mark: 80,
            // Leaves what is on its way in at the soft mark an eighth of the disk, and results the rest.
            hard_mark: 92,
            ballast_bytes: None,
        }
    }
}

/// A bigger ballast would only cost room: with it RocksDB can write all that it holds in memory, twice.
const BALLAST_BYTES_MAX: u64 = 256 << 20;
/// A smaller one would not hold RocksDB's smallest buffers.
const BALLAST_BYTES_MIN: u64 = 8 << 20;
/// A mark that was passed counts until the disk is this part of its capacity below it, so that one message which ends does
/// not let in one that begins.
const MARGIN: u64 = 32;

impl Policy {
    pub fn ballast(&self, capacity: u64) -> u64 {
        let derived = (capacity / 20).clamp(BALLAST_BYTES_MIN, BALLAST_BYTES_MAX);
        self.ballast_bytes.unwrap_or(derived)
    }

    fn mark(percent: u8, capacity: u64) -> u64 {
        (u128::from(capacity) * u128::from(percent) / 100) as u64
    }

    /// What counts as used: the ballast does, whether it is held or given up, so that it moves no mark.
    fn used(&self, usage: Usage, held: u64) -> u64 {
        let used = usage.capacity.saturating_sub(usage.available);
        used.saturating_sub(held) + self.ballast(usage.capacity)
    }

    pub fn used_percent(&self, usage: Usage, held: u64) -> u8 {
        let percent = u128::from(self.used(usage, held)) * 100 / u128::from(usage.capacity.max(1));
        percent.min(100) as u8
    }

    /// Whether bodies may claim so much more without passing the hard mark.
    pub fn has_room(&self, usage: Usage, held: u64, bytes: u64) -> bool {
        self.used(usage, held) + bytes <= Self::mark(self.hard_mark, usage.capacity)
    }

    /// The largest of the marks that are passed, given the one that was passed before.
    fn room(&self, before: Room, usage: Usage, held: u64) -> Room {
        let used = self.used(usage, held);
        let passes = |percent: u8, room: Room| {
            let margin = if before >= room {
                usage.capacity / MARGIN
            } else {
                0
            };
            used + margin > Self::mark(percent, usage.capacity)
        };
        if passes(self.hard_mark, Room::Hard) {
            Room::Hard
        } else if passes(self.soft_mark, Room::Soft) {
            Room::Soft
        } else {
            Room::Enough
        }
    }
}

/// What a disk has room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    #[default]
    Enough,
    /// The soft mark is passed: for what has begun, for results and their DSNs.
    Soft,
    /// The hard mark is passed: for results alone.
    Hard,
}

impl Room {
    pub fn name(self) -> &'static str {
        match self {
            Self::Enough => "ok",
            Self::Soft => "soft",
            Self::Hard => "hard",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ballast {
    Keep,
    /// Delete the file: the disk is nearly full.
    GiveUp,
    /// There is room for the file again.
    Make,
}

/// What follows from a look at the disk. `held` is the size of the ballast file, 0 without one.
pub fn decide(policy: &Policy, before: Room, usage: Usage, held: u64) -> (Room, Ballast) {
    let wanted = policy.ballast(usage.capacity);
    let room = policy.room(before, usage, held);
    if held > 0 && usage.available < wanted / 4 {
        return (Room::Hard, Ballast::GiveUp);
    }
    // With as much again left, the ballast that was made is not given up at once.
    if held < wanted && usage.available + held >= wanted * 2 {
        return (room, Ballast::Make);
    }
    (room, Ballast::Keep)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1 << 20;

    fn policy() -> Policy {
        Policy {
            ballast_bytes: Some(50 * MB),
            ..Policy::default()
        }
    }

    fn check(before: Room, available: u64, held: u64, expected: (Room, Ballast)) {
        let usage = Usage {
            capacity: 1000 * MB,
            available: available * MB,
        };
        let decided = decide(&policy(), before, usage, held * MB);
        assert_eq!(
            decided, expected,
            "{before:?}, {available} MB free, ballast {held} MB"
        );
    }

    #[test]
    fn marks_have_hysteresis_and_the_ballast_does_not_move_them() {
        use Ballast::{GiveUp, Keep, Make};
        use Room::{Enough, Hard, Soft};
        for (before, available, held, expected) in [
            (Enough, 900, 50, (Enough, Keep)),
            (Enough, 900, 0, (Enough, Make)),
            // The ballast of a larger disk is cut to size, and one of a smaller grows.
            (Enough, 900, 20, (Enough, Make)),
            (Enough, 200, 50, (Enough, Keep)),
            (Enough, 199, 50, (Soft, Keep)),
            (Enough, 249, 0, (Soft, Make)),
            (Soft, 220, 50, (Soft, Keep)),
            (Soft, 232, 50, (Enough, Keep)),
            (Soft, 80, 50, (Soft, Keep)),
            (Soft, 79, 50, (Hard, Keep)),
            (Hard, 100, 50, (Hard, Keep)),
            (Hard, 112, 50, (Soft, Keep)),
            (Hard, 13, 50, (Hard, Keep)),
            (Hard, 12, 50, (Hard, GiveUp)),
            (Enough, 0, 50, (Hard, GiveUp)),
            (Hard, 62, 0, (Hard, Keep)),
            (Hard, 99, 0, (Hard, Keep)),
            (Hard, 100, 0, (Hard, Make)),
            (Hard, 300, 0, (Enough, Make)),
        ] {
            check(before, available, held, expected);
        }
    }

    #[test]
    fn sizes_follow_from_the_disk() {
        let policy = Policy::default();
        for (capacity, ballast) in [
            (64 * MB, 8 * MB),
            (256 * MB, 256 * MB / 20),
            (10_000 * MB, 256 * MB),
            (1_000_000 * MB, 256 * MB),
        ] {
            assert_eq!(policy.ballast(capacity), ballast, "{capacity}");
        }
    }

    proptest! {
        /// Whatever is free: doing what was decided and looking again changes nothing more.
        #[test]
        fn a_decision_is_stable(available in 0u64..1000, is_held: bool, before in 0u8..3) {
            let held = if is_held { 50 * MB } else { 0 };
            prop_assume!(available * MB + held <= 1000 * MB);
            let before = [Room::Enough, Room::Soft, Room::Hard][usize::from(before)];
            let usage = Usage { capacity: 1000 * MB, available: available * MB };
            let (room, step) = decide(&policy(), before, usage, held);
            let (after, held) = match step {
                Ballast::Keep => (usage.available, held),
                Ballast::GiveUp => (usage.available + held, 0),
                Ballast::Make => (usage.available + held - 50 * MB, 50 * MB),
            };
            let again = decide(&policy(), room, Usage { available: after, ..usage }, held);
            prop_assert_eq!(again, (room, Ballast::Keep));
        }
    }
}

//! What a day is: 24 hours from midnight at a fixed offset from UTC.
//!
//! Neither summer time nor a time zone's history moves a midnight, and the Unix clock has no leap seconds. Each day has
//! a number of its own, and numbers only grow with the group's time.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::time::UnixMs;

const DAY_MS: u64 = 86_400_000;
/// The offsets that are in use on earth.
const OFFSET_MINUTES: std::ops::RangeInclusive<i16> = -12 * 60..=14 * 60;

/// Days since 1970-01-01 by the calendar's offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Day(#[n(0)] pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    pub const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];

    pub fn name(self) -> &'static str {
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][self as usize]
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no day of the week.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a day of the week is one of mon, tue, wed, thu, fri, sat and sun")]
pub struct NotAWeekday;

impl FromStr for Weekday {
    type Err = NotAWeekday;

    fn from_str(text: &str) -> Result<Self, NotAWeekday> {
        let mut all = Self::ALL.into_iter();
        all.find(|day| text.eq_ignore_ascii_case(day.name()))
            .ok_or(NotAWeekday)
    }
}

impl Day {
    pub fn weekday(self) -> Weekday {
        // Day 0 was a Thursday.
        Weekday::ALL[(self.0 % 7 + Weekday::Thu as u64) as usize % 7]
    }
}

/// A set of days of the week; Monday is the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Weekdays(#[n(0)] u8);

impl Weekdays {
    pub const ALL: Self = Self(0x7f);

    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day as u8) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 & Self::ALL.0 == 0
    }
}

impl FromIterator<Weekday> for Weekdays {
    fn from_iter<I: IntoIterator<Item = Weekday>>(days: I) -> Self {
        Self(days.into_iter().fold(0, |bits, day| bits | 1 << day as u8))
    }
}

/// On which days a warm-up sends, and when they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Calendar {
    #[n(0)]
    pub days: Weekdays,
    /// Minutes east of UTC.
    #[n(1)]
    pub offset_minutes: i16,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            days: Weekdays::ALL,
            offset_minutes: 0,
        }
    }
}

impl Calendar {
    pub fn is_valid(&self) -> bool {
        !self.days.is_empty() && OFFSET_MINUTES.contains(&self.offset_minutes)
    }

    fn offset_ms(&self) -> i64 {
        i64::from(self.offset_minutes) * 60_000
    }

    pub fn day(&self, at: UnixMs) -> Day {
        Day(at.0.saturating_add_signed(self.offset_ms()) / DAY_MS)
    }

    pub fn starts(&self, day: Day) -> UnixMs {
        let midnight = day.0.saturating_mul(DAY_MS);
        UnixMs(midnight.saturating_add_signed(-self.offset_ms()))
    }

    pub fn ends(&self, day: Day) -> UnixMs {
        self.starts(Day(day.0.saturating_add(1)))
    }

    pub fn is_sending(&self, day: Day) -> bool {
        self.days.contains(day.weekday())
    }

    /// The first sending day after this one.
    pub fn next_sending(&self, day: Day) -> Day {
        let mut days = (1..=7).map(|n| Day(day.0.saturating_add(n)));
        let next = days.find(|day| self.is_sending(*day));
        next.unwrap_or(Day(day.0.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-28T00:00:00Z, a Wednesday.
    const FEB_28: u64 = 1_709_078_400_000;
    const HOUR: u64 = 3_600_000;

    fn at(offset_minutes: i16) -> Calendar {
        Calendar {
            offset_minutes,
            ..Calendar::default()
        }
    }

    #[test]
    fn days_are_counted_from_midnight_at_the_offset() {
        let first = FEB_28 / DAY_MS;
        for (offset, at_ms, expected) in [
            (0, FEB_28 - 1, first - 1),
            (0, FEB_28, first),
            // The leap day is a day like any other.
            (0, FEB_28 + 24 * HOUR, first + 1),
            (0, FEB_28 + 48 * HOUR, first + 2),
            (60, FEB_28 - HOUR, first),
            (60, FEB_28 - HOUR - 1, first - 1),
            (-720, FEB_28 + 12 * HOUR, first),
            (-720, FEB_28 + 12 * HOUR - 1, first - 1),
            (840, FEB_28 + 10 * HOUR, first + 1),
            (-720, 0, 0),
        ] {
            let calendar = at(offset);
            let day = calendar.day(UnixMs(at_ms));
            assert_eq!(day, Day(expected), "{offset} {at_ms}");
            let ends = calendar.ends(day);
            assert!(calendar.starts(day).0 <= at_ms || at_ms == 0, "{offset}");
            assert!(at_ms < ends.0, "{offset} {at_ms}");
        }
    }

    #[test]
    fn weekdays_have_names_and_an_order() {
        let calendar = Calendar::default();
        let day = calendar.day(UnixMs(FEB_28));
        assert_eq!(day.weekday(), Weekday::Wed);
        assert_eq!(Day(0).weekday(), Weekday::Thu);
        assert_eq!("Sun".parse(), Ok(Weekday::Sun));
        assert_eq!("sunday".parse::<Weekday>(), Err(NotAWeekday));
        for weekday in Weekday::ALL {
            assert_eq!(weekday.to_string().parse(), Ok(weekday));
        }
    }

    #[test]
    fn mail_goes_on_sending_days_only() {
        let calendar = Calendar {
            days: [Weekday::Mon, Weekday::Thu].into_iter().collect(),
            offset_minutes: 0,
        };
        let wednesday = calendar.day(UnixMs(FEB_28));
        assert!(!calendar.is_sending(wednesday));
        let thursday = calendar.next_sending(wednesday);
        assert_eq!(thursday, Day(wednesday.0 + 1));
        assert_eq!(calendar.next_sending(thursday), Day(thursday.0 + 4));
        let mut none = calendar;
        none.days = [].into_iter().collect();
        assert!(calendar.is_valid() && !none.is_valid());
        assert!(!at(841).is_valid() && !at(-721).is_valid());
        let last = calendar.day(UnixMs(u64::MAX));
        assert!(calendar.next_sending(last) > last);
    }
}

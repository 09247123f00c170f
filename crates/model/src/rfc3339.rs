//! Times as text (RFC 3339, UTC), to the millisecond.

use crate::time::UnixMs;

const DAY_MS: u64 = 86_400_000;
/// From 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;
/// Of 400 years, after which the calendar comes again.
const ERA_DAYS: u64 = 146_097;
/// The last millisecond of 9999, which RFC 3339 ends with.
const LAST: u64 = 253_402_300_799_999;

/// Such as `2026-01-31T12:00:00.000Z`. What is later than the year 9999 is its end.
#[must_use]
pub fn write(at: UnixMs) -> String {
    let at = at.0.min(LAST);
    let (year, month, day) = date(at / DAY_MS);
    let of_day = at % DAY_MS;
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// None of what is no time, or before 1970. A fraction is cut after the millisecond.
pub fn read(text: &str) -> Option<UnixMs> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    // A leap second has the number 60.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (ms, zone) = fraction(rest)?;
    let days = days(year, month, day)?;
    let local = days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1000 + ms;
    let at = i64::try_from(local).ok()? - offset_ms(zone)?;
    u64::try_from(at).ok().map(UnixMs)
}

/// Three numbers of so many digits, with a character between them.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut next = |digits: usize| number(parts.next()?, digits);
    let found = [next(digits[0])?, next(digits[1])?, next(digits[2])?];
    parts.next().is_none().then_some(found)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Milliseconds of `.25Z`, and the rest.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, zone) = text.split_at(end);
    let ms = digits.bytes().chain([b'0'; 3]).take(3);
    let ms = ms.fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    (!digits.is_empty()).then_some((ms, zone))
}

fn offset_ms(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (is_west, rest) = match zone.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, zone.strip_prefix('+')?),
    };
    let (hour, minute) = rest.split_once(':')?;
    let (hour, minute) = (number(hour, 2)?, number(minute, 2)?);
    if hour > 23 || minute > 59 {
        return None;
    }
    let ms = i64::try_from(hour * 3_600_000 + minute * 60_000).ok()?;
    Some(if is_west { -ms } else { ms })
}

/// Days since 1970-01-01, of dates from then on. A year is counted from March, so that the leap day is its last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) || year < 1970 {
        return None;
    }
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year = if month > 2 { year } else { year - 1 };
    let leap_days = year / 4 - year / 100 + year / 400;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    (365 * year + leap_days + of_year).checked_sub(EPOCH_DAYS)
}

/// Year, month and day of so many days since 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_667_507_170_344, "2022-11-03T20:26:10.344Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(write(UnixMs(ms)), text);
        }
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut last = date(0);
        for days in 1..150_000 {
            let (year, month, day) = date(days);
            let is_next = (year, month, day) == (last.0, last.1, last.2 + 1)
                || (year, month, day) == (last.0, last.1 + 1, 1) && last.2 >= 28
                || (year, month, day) == (last.0 + 1, 1, 1) && (last.1, last.2) == (12, 31);
            assert!(is_next, "{last:?} {year}-{month}-{day}");
            last = (year, month, day);
        }
    }
}

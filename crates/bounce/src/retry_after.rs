//! When a host says that it wants to be asked again.

use std::time::Duration;

/// A host that wants more is not taken at its word: a retry a day is what a queue makes anyway.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Words between the one that announces a time and its number.
const BETWEEN_MAX: usize = 6;
/// Words of a folded text that are looked at; a text of 2 KiB has hardly more.
const WORDS_MAX: usize = 400;

/// Beginnings of words that announce a time.
const CUES: [&str; 16] = [
    "retry", "again", "wait", "back", "later", "after", "resume", "seconds=", "erneut", "nochmal",
    "spater", "dans", "entre", "reessay", "riprova", "intent",
];

/// Units by the beginning of their word, in seconds.
const UNITS: [(&str, u64); 12] = [
    ("sec", 1),
    ("seg", 1),
    ("sek", 1),
    ("s", 1),
    ("min", 60),
    ("мин", 60),
    ("сек", 1),
    ("hour", 3600),
    ("hr", 3600),
    ("stunde", 3600),
    ("heure", 3600),
    ("h", 3600),
];

/// The span in a folded text such as `try again in 300 seconds` or `retry in 00:05:00`.
pub(crate) fn retry_after(folded: &str) -> Option<Duration> {
    let words: Vec<&str> = folded.split_whitespace().take(WORDS_MAX).collect();
    let spans = words.iter().enumerate().filter_map(|(at, word)| {
        let seconds = clock(word).or_else(|| with_unit(word, words.get(at + 1).copied()))?;
        let before = &words[at.saturating_sub(BETWEEN_MAX)..at];
        let behind = words.get(at + 1..(at + 4).min(words.len()));
        let cues = before.iter().chain(behind.unwrap_or_default());
        let is_announced = cues.copied().chain([*word]).any(is_cue);
        is_announced.then_some(seconds)
    });
    let seconds = spans.take(1).next().filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn is_cue(word: &str) -> bool {
    let bare = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    CUES.iter().any(|cue| bare.starts_with(cue))
}

/// `00:05:00`.
fn clock(word: &str) -> Option<u64> {
    let bare = word.trim_matches(|c: char| !c.is_ascii_digit());
    let parts: Vec<&str> = bare.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        return None;
    };
    Some(number(hours)? * 3600 + number(minutes)? * 60 + number(seconds)?)
}

fn number(digits: &str) -> Option<u64> {
    let fits = matches!(digits.len(), 1..=6) && digits.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}

/// `300 seconds`, `300s`, `retry=300 s`.
fn with_unit(word: &str, next: Option<&str>) -> Option<u64> {
    let bare = word.trim_start_matches(|c: char| !c.is_ascii_digit());
    let digits = bare.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = bare.split_at(digits.unwrap_or(bare.len()));
    let unit = unit.trim_matches(|c: char| !c.is_alphanumeric());
    let unit = match unit {
        "" => next?.trim_matches(|c: char| !c.is_alphanumeric()),
        _ => unit,
    };
    let seconds = UNITS.iter().find_map(|(name, seconds)| {
        // A single letter is the whole word.
        let is_it = if name.len() == 1 {
            unit == *name
        } else {
            unit.starts_with(name)
        };
        is_it.then_some(*seconds)
    })?;
    Some(number(digits)?.saturating_mul(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    #[test]
    fn spans_are_read() {
        for (text, seconds) in [
            ("Greylisted, please try again in 300 seconds", Some(300)),
            ("Greylisting in effect, please come back later", None),
            ("retry in 5 minutes.", Some(300)),
            ("Please retry after 00:04:59", Some(299)),
            ("try again in 1 hour", Some(3600)),
            ("wait 60s", Some(60)),
            ("Please wait at least (120) sec", Some(120)),
            ("Bitte in 10 Minuten erneut versuchen", Some(600)),
            ("Veuillez réessayer dans 15 minutes", Some(900)),
            ("try again in 99999 hours", Some(24 * 3600)),
            ("try again in 0 seconds", None),
            ("you sent 5 messages in 60 seconds", None),
            ("more than 10 connections from 192.0.2.1", None),
            ("try again in 18446744073709551615 hours", None),
        ] {
            let read = retry_after(&fold(text)).map(|span| span.as_secs());
            assert_eq!(read, seconds, "{text}");
        }
    }
}

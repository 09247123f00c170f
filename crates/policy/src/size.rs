//! Sizes as text: `50MB`, `64 MiB`, `1024`. The one grammar for configuration files and command lines.

use std::fmt;
use std::str::FromStr;

/// In lower case: letters of sizes mean the same in any.
const UNITS: [(&[&str], u64); 9] = [
    (&["", "b", "byte", "bytes"], 1),
    (&["kb"], 1000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
    (&["tb"], 1_000_000_000_000),
    (&["kib"], 1 << 10),
    (&["mib"], 1 << 20),
    (&["gib"], 1 << 30),
    (&["tib"], 1 << 40),
];
/// Units that a size is written in.
const WRITTEN: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
];

/// So many bytes, as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = || crate::shown::shown(text);
        let shape = || {
            format!(
                "\"{}\" is no size: write bytes, or a number and a unit, such as 50MB or 64MiB",
                shown()
            )
        };
        let digits = text
            .trim()
            .trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.trim()[digits.len()..].to_ascii_lowercase();
        let unit = UNITS
            .iter()
            .find(|(names, _)| names.contains(&unit.as_str()));
        let digits = digits.trim_end();
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let (_, unit) = unit.filter(|_| is_number).ok_or_else(shape)?;
        let bytes = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*unit));
        // Configuration files have no larger integers.
        let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
        let bytes = bytes.ok_or_else(|| format!("\"{}\" is more than there can be", shown()))?;
        Ok(Self(bytes))
    }
}

/// In the largest unit that leaves nothing over.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*unit);
        match WRITTEN.iter().find(fits) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_in_their_units() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("1024 bytes", Some(1024)),
            ("50MB", Some(50_000_000)),
            ("50 MB", Some(50_000_000)),
            ("50mb", Some(50_000_000)),
            ("50 MiB", Some(50 << 20)),
            ("64KiB", Some(64 << 10)),
            ("2 GB", Some(2_000_000_000)),
            ("1tib", Some(1 << 40)),
            ("50M", None),
            ("50 M B", None),
            ("MB", None),
            ("", None),
            ("-1", None),
            ("1.5MB", None),
            ("50é", None),
            ("9223372036854775808", None),
            ("99999999999999999999999", None),
            ("9999999999 TB", None),
        ] {
            let read = text.parse::<Size>();
            assert_eq!(read.clone().ok(), bytes.map(Size), "{text:?}");
            if let Err(error) = read {
                let says = ["such as 50MB or 64MiB", "more than there can be"];
                assert!(says.iter().any(|part| error.contains(part)), "{error}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(bytes in 0..=i64::MAX as u64, unit in 0usize..9) {
            for bytes in [bytes, bytes % 1000 * UNITS[unit].1] {
                prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}|[0-9]{0,25} ?[kmgtKMGT]?i?[bB]?") {
            if let Ok(size) = text.parse::<Size>() {
                prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
            }
        }
    }
}

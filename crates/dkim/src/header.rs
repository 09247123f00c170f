//! The fields of a complete header that signatures cover.

use thiserror::Error;

use crate::fields::{Coverage, Required, SIGNED_FIELDS};

/// So many octets of fields are signed at most: a whole header at the limit of `mail::header`, so that what is accepted
/// can be signed.
pub const SIGNED_BYTES_MAX: usize = 256 << 10;

/// So many names in h= at most. Eighteen names are listed and ten stand there once more; the rest is room for fields that
/// are there several times. Verifiers bound h= too, and long ones are refused as hostile.
pub const SIGNED_NAMES_MAX: usize = 100;

/// Why a header cannot be signed. The text suits a `554 5.6.0` reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    #[error("the header has no From field, which every DKIM signature covers (RFC 6376 5.4)")]
    NoFrom,
    #[error(
        "the header has more than {SIGNED_NAMES_MAX} fields that a DKIM signature covers; the one there most is {name}, {count} times"
    )]
    TooManyFields { name: &'static str, count: usize },
    #[error("the fields that a DKIM signature covers are longer than {SIGNED_BYTES_MAX} bytes")]
    TooLong,
}

/// Those fields of a header that are signed, with their octets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFields {
    /// As h= lists them: instances from the last to the first, then the one that is not there.
    names: Vec<&'static str>,
    /// Name and value, with the line end, of those that are there; in the order of `names`.
    fields: Vec<(&'static str, Vec<u8>)>,
    missing: Vec<Required>,
}

impl SignedFields {
    /// Reads a header. What follows an empty line, or is no field, is ignored.
    ///
    /// # Errors
    /// The header cannot be signed.
    pub fn of(header: &[u8]) -> Result<Self, HeaderError> {
        let mut found = vec![Vec::new(); SIGNED_FIELDS.len()];
        let mut bytes = 0;
        for (name, value) in Fields(header) {
            let listed = SIGNED_FIELDS
                .iter()
                .position(|(listed, _)| name.eq_ignore_ascii_case(listed.as_bytes()));
            if let Some(place) = listed {
                bytes += name.len() + value.len();
                found[place].push(value);
            }
        }
        if bytes > SIGNED_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        let count_of = |required: Required| {
            let listed = SIGNED_FIELDS.iter().zip(&found);
            let mut same = listed.filter(|((name, _), _)| *name == required.name());
            same.next().map_or(0, |(_, values)| values.len())
        };
        let missing: Vec<_> = Required::ALL
            .into_iter()
            .filter(|required| count_of(*required) == 0)
            .collect();
        if missing.contains(&Required::From) {
            return Err(HeaderError::NoFrom);
        }
        let (mut names, mut fields) = (Vec::new(), Vec::new());
        for ((name, coverage), values) in SIGNED_FIELDS.iter().zip(&found) {
            for value in values.iter().rev() {
                names.push(*name);
                fields.push((*name, value.to_vec()));
            }
            if *coverage == Coverage::Oversigned {
                names.push(*name);
            }
        }
        if names.len() > SIGNED_NAMES_MAX {
            let counts = SIGNED_FIELDS.iter().zip(&found);
            let most = counts.max_by_key(|(_, values)| values.len());
            let (name, count) = most.map_or(("", 0), |((name, _), values)| (*name, values.len()));
            return Err(HeaderError::TooManyFields { name, count });
        }
        Ok(Self {
            names,
            fields,
            missing,
        })
    }

    /// What the message lacks. The caller puts Date and Message-ID in front and reads the header again.
    #[must_use]
    pub fn missing(&self) -> &[Required] {
        &self.missing
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(|name| (*name).to_owned())
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (name.as_bytes(), value.as_slice()))
    }
}

/// Name, without blanks before the colon (RFC 5322 4.5.8), and value of each field of a header.
struct Fields<'h>(&'h [u8]);

impl<'h> Iterator for Fields<'h> {
    type Item = (&'h [u8], &'h [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut end = 0;
        loop {
            let rest = &self.0[end..];
            let line = rest.iter().position(|byte| *byte == b'\n');
            end += line.map_or(rest.len(), |at| at + 1);
            if line.is_none() || !matches!(self.0.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, rest) = self.0.split_at(end);
        let colon = field.iter().position(|byte| *byte == b':')?;
        let name = field[..colon].trim_ascii_end();
        if name.is_empty() || name.iter().any(|byte| !(33..127).contains(byte)) {
            return None;
        }
        self.0 = rest;
        Some((name, &field[colon + 1..]))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn names(header: &str) -> Vec<&'static str> {
        let fields = SignedFields::of(header.as_bytes()).unwrap();
        let all = "From From To Cc Subject Date Reply-To Message-ID MIME-Version Content-Type";
        assert!(all.split(' ').all(|name| fields.names.contains(&name)));
        fields.names
    }

    #[test]
    fn every_instance_is_signed_and_that_there_is_no_other() {
        let found =
            names("To: a\r\nFrom : b\r\nTo: c\r\n d\r\nReceived: x\r\nSENDER: s\r\n\r\nCc: no\r\n");
        let count = |name: &str| found.iter().filter(|other| **other == name).count();
        for (name, expected) in [
            ("From", 2),
            ("To", 3),
            ("Cc", 1),
            ("Sender", 1),
            ("Received", 0),
            ("List-Id", 0),
        ] {
            assert_eq!(count(name), expected, "{name}");
        }
        let fields = SignedFields::of(b"To: a\r\nFrom: b\r\nTo: c\r\n d\r\n").unwrap();
        let values: Vec<_> = fields.fields().map(|(_, value)| value).collect();
        assert_eq!(values, [&b" b\r\n"[..], b" c\r\n d\r\n", b" a\r\n"]);
        assert_eq!(fields.missing(), [Required::Date, Required::MessageId]);
    }

    #[test]
    fn what_cannot_be_signed_is_told() {
        let many = format!("From: a\r\n{}", "To: b\r\n".repeat(SIGNED_NAMES_MAX));
        let long = format!("From: a\r\nTo: {}\r\n", "b".repeat(SIGNED_BYTES_MAX));
        let at_most = SIGNED_NAMES_MAX - 11;
        let fits = format!("From: a\r\n{}", "To: b\r\n".repeat(at_most));
        for (header, expected) in [
            ("To: a\r\n\r\nFrom: b\r\n", Err(HeaderError::NoFrom)),
            ("no header at all\r\nFrom: b\r\n", Err(HeaderError::NoFrom)),
            ("", Err(HeaderError::NoFrom)),
            (
                &many,
                Err(HeaderError::TooManyFields {
                    name: "To",
                    count: SIGNED_NAMES_MAX,
                }),
            ),
            (&long, Err(HeaderError::TooLong)),
            (&fits, Ok(())),
        ] {
            let read = SignedFields::of(header.as_bytes()).map(|_| ());
            assert_eq!(read, expected, "{:.60}", header);
        }
    }
}

//! Transfer encodings of a part (RFC 2045 section 6), read strictly: what cannot be read is not written anew.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Writers differ on padding at the end; none of them means anything else by it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// None if it has what is neither base64 nor white space.
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64.decode(digits).ok()
}

/// None if it has a `=` that is no escape, or octets that are not ASCII.
pub fn from_quoted_printable(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (line, end, tail) = match memchr::memchr(b'\n', rest) {
            Some(at) => {
                let start = if at > 0 && rest[at - 1] == b'\r' {
                    at - 1
                } else {
                    at
                };
                (&rest[..start], &rest[start..=at], &rest[at + 1..])
            }
            None => (rest, &rest[..0], &rest[..0]),
        };
        rest = tail;
        // Blanks at the end of a line were put there on the way.
        let mut line = line.trim_ascii_end();
        let is_soft = line.last() == Some(&b'=');
        if is_soft {
            line = &line[..line.len() - 1];
        }
        line.is_ascii().then_some(())?;
        decode_line(line, &mut out)?;
        if !is_soft {
            out.extend_from_slice(end);
        }
    }
    Some(out)
}

fn decode_line(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut line = line;
    while let Some(at) = memchr::memchr(b'=', line) {
        out.extend_from_slice(&line[..at]);
        let digits = line.get(at + 1..at + 3)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let octet = digit(digits[0])? << 4 | digit(digits[1])?;
        out.push(u8::try_from(octet).ok()?);
        line = &line[at + 3..];
    }
    out.extend_from_slice(line);
    Some(())
}

/// Whether a charset holds ASCII as it is, so that markup can be found in its octets; None if not, or if it is unknown. The answer
/// says whether it is UTF-8.
pub fn is_utf8(charset: Option<&str>) -> Option<bool> {
    const SAME: &[&str] = &[
        "iso-8859-",
        "iso8859-",
        "iso_8859-",
        "latin",
        "windows-125",
        "cp125",
        "windows-874",
        "koi8-",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "shift-jis",
        "sjis",
        "x-sjis",
        "euc-",
        "ks_c_5601",
        "tis-620",
        "macintosh",
    ];
    let charset = charset.unwrap_or("us-ascii").trim().to_ascii_lowercase();
    match charset.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" | "ansi_x3.4-1968" => Some(true),
        other => SAME
            .iter()
            .any(|start| other.starts_with(start))
            .then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skein_mail::encode::Encoding;

    use super::*;

    #[test]
    fn quoted_printable_is_read_or_refused() {
        for (text, expected) in [
            ("", Some("")),
            ("a=3Db=3db", Some("a=b=b")),
            ("a=\r\nb", Some("ab")),
            ("a= \t\r\nb", Some("ab")),
            ("a  \r\nb\t", Some("a\r\nb")),
            ("a\nb=\nc", Some("a\nbc")),
            ("a=", Some("a")),
            ("=C3=A4", Some("\u{e4}")),
            ("a=4", None),
            ("a=zz", None),
            ("a==\r\n", None),
            ("\u{e4}", None),
        ] {
            let read = from_quoted_printable(text.as_bytes());
            assert_eq!(read.as_deref(), expected.map(str::as_bytes), "{text:?}");
        }
    }

    #[test]
    fn charsets_are_known_or_not() {
        for (charset, expected) in [
            (None, Some(true)),
            (Some("UTF-8"), Some(true)),
            (Some("iso-8859-15"), Some(false)),
            (Some("Windows-1252"), Some(false)),
            (Some("GB18030"), Some(false)),
            (Some("utf-16"), None),
            (Some("UTF-16LE"), None),
            (Some("utf-7"), None),
            (Some("iso-2022-jp"), None),
            (Some("hz-gb-2312"), None),
            (Some(""), None),
        ] {
            assert_eq!(is_utf8(charset), expected, "{charset:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(content in prop::collection::vec(any::<u8>(), 0..300), lines in "([ -~\t]{0,90}\r\n){0,4}") {
            for content in [content, lines.into_bytes()] {
                let mut out = Vec::new();
                Encoding::QuotedPrintable.encode(&content, false, &mut out);
                prop_assert_eq!(from_quoted_printable(&out), Some(content.clone()));
                out.clear();
                Encoding::Base64.encode(&content, true, &mut out);
                prop_assert_eq!(from_base64(&out), Some(content.clone()));
                let _ = from_quoted_printable(&content);
            }
        }
    }
}

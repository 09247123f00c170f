//! The body hash (RFC 6376 3.4.4, relaxed), of a body that comes in pieces.

use mail_auth::common::crypto::{HashContext, HashImpl, Sha256};
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;

type Context = <Sha256 as HashImpl>::Context;

/// Hashes a body. It has no bare CR or LF.
///
/// The hasher of mail-auth keeps white space at the end of a body that relaxed canonicalisation drops (its issue 62). It is
/// therefore given a view of the body: white space is held back, in its canonical form, until another octet follows, so
/// that what ends the body is never seen. Canonicalisation changes nothing in what is canonical.
pub struct BodyHash {
    hasher: BodyHasher<Context>,
    held: Held,
}

impl std::fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BodyHash")
    }
}

/// A run of white space, in constant memory: lines of blanks are empty lines, and blanks are one.
#[derive(Default)]
struct Held {
    line_ends: u64,
    /// Blanks follow the last line end.
    has_blank: bool,
}

/// Empty lines that are written at once.
const LINE_ENDS: usize = 512;
const EMPTY_LINES: [u8; 2 * LINE_ENDS] = {
    let mut lines = [b'\r'; 2 * LINE_ENDS];
    let mut at = 1;
    while at < lines.len() {
        lines[at] = b'\n';
        at += 2;
    }
    lines
};

impl Default for BodyHash {
    fn default() -> Self {
        Self {
            hasher: BodyHasher::new(Sha256::hasher(), Canonicalization::Relaxed, 0),
            held: Held::default(),
        }
    }
}

impl BodyHash {
    /// The next octets.
    pub fn push(&mut self, piece: &[u8]) {
        let last = piece.iter().rposition(|byte| !is_white(*byte));
        let end = last.map_or(0, |last| last + 1);
        let (text, white) = piece.split_at(end);
        if !text.is_empty() {
            self.let_go();
            self.hasher.write(text);
        }
        self.held.push(white);
    }

    fn let_go(&mut self) {
        let held = std::mem::take(&mut self.held);
        let mut left = held.line_ends;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(LINE_ENDS).min(LINE_ENDS);
            self.hasher.write(&EMPTY_LINES[..2 * now]);
            left -= now as u64;
        }
        if held.has_blank {
            self.hasher.write(b" ");
        }
    }

    /// The SHA-256 of the canonical body; that of no octets at all if the body is blank.
    pub fn finish(self) -> Vec<u8> {
        let (hasher, _) = self.hasher.finish();
        hasher.complete().as_ref().to_vec()
    }
}

impl Held {
    fn push(&mut self, white: &[u8]) {
        for byte in white {
            match byte {
                b'\n' => {
                    self.line_ends += 1;
                    self.has_blank = false;
                }
                b' ' | b'\t' => self.has_blank = true,
                _ => {}
            }
        }
    }
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use mail_auth::common::crypto::HashAlgorithm;
    use proptest::prelude::*;

    use super::*;

    /// As RFC 6376 3.4.4 says, line by line.
    fn canonical(body: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(body).into_owned();
        let mut lines: Vec<String> = Vec::new();
        for line in text.split("\r\n") {
            let mut canonical = String::new();
            for part in line.split([' ', '\t']).enumerate() {
                match part {
                    (0, first) => canonical.push_str(first),
                    (_, "") => {}
                    (_, word) => {
                        canonical.push(' ');
                        canonical.push_str(word);
                    }
                }
            }
            lines.push(canonical);
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
            .iter()
            .flat_map(|line| format!("{line}\r\n").into_bytes())
            .collect()
    }

    fn hash_in_pieces(body: &[u8], bytes: usize) -> Vec<u8> {
        let mut hash = BodyHash::default();
        body.chunks(bytes).for_each(|piece| hash.push(piece));
        hash.finish()
    }

    fn check(body: &[u8], bytes: usize) {
        let expected = HashAlgorithm::Sha256.hash(canonical(body).as_slice());
        let found = hash_in_pieces(body, bytes);
        assert_eq!(
            found,
            expected.as_ref(),
            "{:?}",
            String::from_utf8_lossy(body)
        );
    }

    #[test]
    fn white_space_at_the_end_is_not_hashed() {
        for body in [
            "",
            "\r\n",
            " ",
            " \t \r\n\r\n \t",
            "</html>\r\n    \r\n",
            "a",
            "a\r\n",
            "a \t",
            "a \t\r\n\t\r\n",
            " a",
            "\r\n a  b\t\tc \r\n\r\n \r\nd\r\n\r\n",
            "\t\r\n\t\r\na",
        ] {
            for bytes in 1..8 {
                check(body.as_bytes(), bytes);
            }
        }
        let long = format!("a{}b", "\r\n".repeat(LINE_ENDS * 2 + 7));
        check(long.as_bytes(), 1000);
    }

    proptest! {
        #[test]
        fn pieces_and_white_space_change_nothing(
            parts in prop::collection::vec(prop::sample::select(vec![" ", "\t", "\r\n", "a", "bc", "é"]), 0..40),
            bytes in 1_usize..9,
        ) {
            check(parts.concat().as_bytes(), bytes);
        }
    }
}

//! Taking bytes apart: command lines and the bodies of DATA, strictly by CRLF.

use memchr::{memchr, memchr_iter};

/// The next line in the input of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// It has not ended yet, and may become a good one.
    Incomplete,
    /// Its length without CRLF.
    Complete(usize),
    /// It ends with LF alone; its length with that.
    BareLf(usize),
    /// It is longer than it may be, whether or not its end is there.
    TooLong,
}

/// Finds the end of a line of at most `max` octets.
pub fn find_line(input: &[u8], max: usize) -> Line {
    // A line of the greatest length has a CRLF behind it.
    match memchr(b'\n', &input[..input.len().min(max + 2)]) {
        Some(lf) if lf > 0 && input[lf - 1] == b'\r' => Line::Complete(lf - 1),
        Some(lf) if lf > max => Line::TooLong,
        Some(lf) => Line::BareLf(lf + 1),
        None if input.len() > max + 1 => Line::TooLong,
        None => Line::Incomplete,
    }
}

/// The body of DATA as octets: its end is CRLF.CRLF and nothing else, and leading dots are taken off (RFC 5321 4.5.2). A
/// bare CR or LF passes as it is and begins no line, so a dot behind it cannot end the body; what becomes of it is decided
/// by [`crate::line_ends::LineEndGate`].
#[derive(Debug, Clone, Default)]
pub struct DataReceiver {
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// Then a CR.
    DotCr,
    InLine,
    Cr,
}

impl DataReceiver {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets up to the end of the body; returns how many, and whether that was the end.
    pub fn ingest(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while let Some(&octet) = input.get(at) {
            match (self.state, octet) {
                (State::LineStart, b'.') => {
                    self.state = State::Dot;
                    at += 1;
                }
                (State::Dot, b'\r') => {
                    self.state = State::DotCr;
                    at += 1;
                }
                (State::DotCr, b'\n') => return (at + 1, true),
                (State::DotCr, _) => {
                    // The dot was stuffed, and the CR is part of the line.
                    out.push(b'\r');
                    self.state = State::Cr;
                }
                _ => {
                    let (count, state) = self.undotted(&input[at..]);
                    out.extend_from_slice(&input[at..at + count]);
                    self.state = state;
                    at += count;
                }
            }
        }
        (at, false)
    }

    /// How many octets pass as they are: up to a line that begins with a dot, or may.
    fn undotted(&self, rest: &[u8]) -> (usize, State) {
        for lf in memchr_iter(b'\n', rest) {
            let ends_line = match lf.checked_sub(1) {
                Some(before) => rest[before] == b'\r',
                None => self.state == State::Cr,
            };
            if ends_line && matches!(rest.get(lf + 1), None | Some(b'.')) {
                return (lf + 1, State::LineStart);
            }
        }
        match rest.last() {
            Some(b'\r') => (rest.len(), State::Cr),
            _ => (rest.len(), State::InLine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, octets used, and whether that was the end.
    fn check(input: &[u8], body: &[u8], end: Option<usize>) {
        for size in 1..=input.len() {
            let mut receiver = DataReceiver::new();
            let (mut out, mut used, mut done) = (Vec::new(), 0, false);
            for piece in input.chunks(size) {
                let (taken, ended) = receiver.ingest(piece, &mut out);
                used += taken;
                done = ended;
                if ended {
                    break;
                }
            }
            let got = (out.as_slice(), done.then_some(used));
            assert_eq!(got, (body, end), "{input:?} in pieces of {size}");
        }
    }

    #[test]
    fn bodies_end_where_they_end() {
        for (input, body) in [
            (&b".\r\n"[..], &b""[..]),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n"),
            (b"\r\n.\r\n", b"\r\n"),
            (b".a\r\n.\r\n", b"a\r\n"),
            (b"a\r\nb\r\n\r\n.\r\n", b"a\r\nb\r\n\r\n"),
        ] {
            check(input, body, Some(input.len()));
            check(&[input, b"NOOP\r\n"].concat(), body, Some(input.len()));
        }
    }

    #[test]
    fn nothing_else_ends_a_body_and_what_is_bare_stays_to_be_seen() {
        for (smuggled, passed) in [
            ("\n.\n", "\n.\n"),
            ("\n.\r\n", "\n.\r\n"),
            ("\r.\r", "\r.\r"),
            ("\r\n.\n", "\r\n\n"),
            ("\r\n.\r", "\r\n\r"),
            ("\r.\r\n", "\r.\r\n"),
            ("\n.\r", "\n.\r"),
            ("\r\n.\r\r\n", "\r\n\r\r\n"),
            ("\r\n\0.\r\n", "\r\n\0.\r\n"),
            (".\n", ".\n"),
        ] {
            let input = format!("a{smuggled}MAIL FROM:<x@y>\r\n");
            let body = format!("a{passed}MAIL FROM:<x@y>\r\n");
            check(input.as_bytes(), body.as_bytes(), None);
        }
    }

    #[test]
    fn lines_end_with_crlf_alone() {
        for (input, max, expected) in [
            (&b"NOOP\r\nQ"[..], 10, Line::Complete(4)),
            (b"NOOP\r\n", 4, Line::Complete(4)),
            (b"NOOP\nQUIT\r\n", 10, Line::BareLf(5)),
            (b"\n", 10, Line::BareLf(1)),
            (b"NOOP", 4, Line::Incomplete),
            (b"NOOP\r", 4, Line::Incomplete),
            (b"NOOPNOOPNOOP", 10, Line::TooLong),
            (b"NOOPNOOPNOOP\r\n", 10, Line::TooLong),
            (b"NOOPN\r\n", 4, Line::TooLong),
        ] {
            assert_eq!(find_line(input, max), expected, "{input:?}");
        }
    }
}

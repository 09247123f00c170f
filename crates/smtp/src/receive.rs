//! Taking bytes apart: command lines and message bodies, strictly by CRLF.

use memchr::{memchr, memchr2};

/// What becomes of a CR or LF that is not part of a CRLF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineEnds {
    /// The message is refused. Hosts that take such an end of line for a real one could be made to see a second
    /// message in this one ("SMTP smuggling").
    #[default]
    Refuse,
    /// It becomes CRLF.
    Fix,
}

/// The next command line in `input`, without its CRLF.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// No CRLF yet.
    Incomplete,
    /// Length without CRLF.
    Complete(usize),
    /// Too long, or ended by LF alone; this many bytes are to be dropped.
    Bad(usize),
}

/// Finds the end of a command line of at most `max` bytes.
pub fn find_line(input: &[u8], max: usize) -> Line {
    match memchr(b'\n', input) {
        Some(lf) if lf > 0 && input[lf - 1] == b'\r' && lf < max + 1 => Line::Complete(lf - 1),
        Some(lf) => Line::Bad(lf + 1),
        None if input.len() > max => Line::Bad(input.len()),
        None => Line::Incomplete,
    }
}

/// The body of DATA: its end is CRLF.CRLF and nothing else; leading dots are taken off (RFC 5321 4.5.2).
#[derive(Debug, Clone)]
pub struct DataReceiver {
    state: State,
    ends: LineEnds,
    bad_ends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// Then a CR.
    DotCr,
    InLine,
    Cr,
}

impl DataReceiver {
    pub fn new(ends: LineEnds) -> Self {
        Self {
            state: State::LineStart,
            ends,
            bad_ends: false,
        }
    }

    /// Whether a bare CR or LF came that is not to be fixed.
    pub fn has_bad_line_ends(&self) -> bool {
        self.bad_ends
    }

    /// A bare CR or LF never begins a line, even when it is fixed: a dot behind it must not end the message.
    fn bare(&mut self, out: &mut Vec<u8>) {
        match self.ends {
            LineEnds::Refuse => self.bad_ends = true,
            LineEnds::Fix => out.extend_from_slice(b"\r\n"),
        }
    }

    /// Takes bytes up to the end of the body; returns how many, and whether that was the end.
    pub fn ingest(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match (self.state, byte) {
                (State::LineStart, b'.') => self.state = State::Dot,
                (State::Dot, b'\r') => self.state = State::DotCr,
                (State::DotCr, b'\n') => return (at + 1, true),
                (State::DotCr, _) => {
                    // The dot was stuffed, and the CR stands alone.
                    self.bare(out);
                    self.state = State::InLine;
                    continue;
                }
                (State::Cr, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.state = State::LineStart;
                }
                (State::Cr, _) => {
                    self.bare(out);
                    self.state = State::InLine;
                    continue;
                }
                (_, b'\r') => self.state = State::Cr,
                (_, b'\n') => {
                    self.bare(out);
                    self.state = State::InLine;
                }
                _ => {
                    let run = memchr2(b'\r', b'\n', &input[at..]).unwrap_or(input.len() - at);
                    out.extend_from_slice(&input[at..at + run]);
                    self.state = State::InLine;
                    at += run;
                    continue;
                }
            }
            at += 1;
        }
        (at, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &[u8], ends: LineEnds) -> (Vec<u8>, usize, bool, bool) {
        let mut receiver = DataReceiver::new(ends);
        let mut out = Vec::new();
        let (used, done) = receiver.ingest(input, &mut out);
        (out, used, done, receiver.has_bad_line_ends())
    }

    fn by_byte(input: &[u8], ends: LineEnds) -> (Vec<u8>, usize, bool, bool) {
        let mut receiver = DataReceiver::new(ends);
        let mut out = Vec::new();
        for (at, byte) in input.iter().enumerate() {
            let (_, done) = receiver.ingest(&[*byte], &mut out);
            if done {
                return (out, at + 1, true, receiver.has_bad_line_ends());
            }
        }
        (out, input.len(), false, receiver.has_bad_line_ends())
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
        ] {
            let expected = (body.to_vec(), input.len(), true, false);
            assert_eq!(whole(input, LineEnds::Refuse), expected, "{input:?}");
            assert_eq!(by_byte(input, LineEnds::Refuse), expected, "{input:?}");
        }
    }

    #[test]
    fn nothing_else_ends_a_body() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r.\r\n",
            "\n.\r",
            "\r\n.\r\r\n",
            "\r\n\0.\r\n",
            ".\n",
        ] {
            let input = format!("a{smuggled}MAIL FROM:<x@y>\r\n");
            for ends in [LineEnds::Refuse, LineEnds::Fix] {
                let result = whole(input.as_bytes(), ends);
                assert!(!result.2, "{smuggled:?} ended the body");
                assert_eq!(result, by_byte(input.as_bytes(), ends), "{smuggled:?}");
                if ends == LineEnds::Refuse && !smuggled.contains('\0') {
                    assert!(result.3, "{smuggled:?} was not noticed");
                }
            }
        }
    }

    #[test]
    fn fixed_bodies_have_no_bare_line_end_left() {
        let (out, _, done, _) = whole(b"a\nb\rc\r\n.\r\n", LineEnds::Fix);
        assert_eq!((out.as_slice(), done), (&b"a\r\nb\r\nc\r\n"[..], true));
    }

    #[test]
    fn lines_end_with_crlf_alone() {
        assert_eq!(find_line(b"NOOP\r\nQ", 10), Line::Complete(4));
        assert_eq!(find_line(b"NOOP\nQUIT\r\n", 10), Line::Bad(5));
        assert_eq!(find_line(b"NOOP", 10), Line::Incomplete);
        assert_eq!(find_line(b"NOOPNOOPNOOP", 10), Line::Bad(12));
        assert_eq!(find_line(b"NOOPNOOPNOOP\r\n", 10), Line::Bad(14));
    }
}

//! Dot stuffing (RFC 5321 section 4.5.2) over a body that comes in chunks.

/// Adds a dot to each line that starts with one and ends the body with the final dot.
///
/// Lines end in CRLF only. A dot after a bare LF is left as it is: the receiver does not see a line there, would
/// not take the dot off again, and the message would have changed.
#[derive(Debug, Default)]
pub struct Stuffer {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the start of the body or after CRLF.
    #[default]
    LineStart,
    Middle,
    /// The last octet was CR.
    AfterCr,
}

impl Stuffer {
    /// For one body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the stuffed form of the next chunk to `out`, which grows by at most the chunk, a third of it and one octet.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(&last) = chunk.last() else { return };
        out.reserve(chunk.len() + chunk.len() / 64 + 1);
        let mut copied = 0;
        if chunk[0] == b'.' && self.state == State::LineStart {
            out.push(b'.');
        }
        // A dot can only need stuffing when an LF comes before it, and LFs are rare enough to jump between.
        for lf in memchr::memchr_iter(b'\n', chunk) {
            let after_cr = match lf.checked_sub(1) {
                Some(before) => chunk[before] == b'\r',
                None => self.state == State::AfterCr,
            };
            if after_cr && chunk.get(lf + 1) == Some(&b'.') {
                out.extend_from_slice(&chunk[copied..=lf]);
                out.push(b'.');
                copied = lf + 1;
            }
        }
        out.extend_from_slice(&chunk[copied..]);
        let before_last = chunk.len().checked_sub(2).map(|at| chunk[at]);
        let crlf = match before_last {
            Some(byte) => byte == b'\r',
            None => self.state == State::AfterCr,
        };
        self.state = match last {
            b'\r' => State::AfterCr,
            b'\n' if crlf => State::LineStart,
            _ => State::Middle,
        };
    }

    /// Appends the end of the body: `.` CRLF, with a CRLF before it only if the body did not end in one.
    pub fn finish(self, out: &mut Vec<u8>) {
        if self.state != State::LineStart {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuff(chunks: &[&[u8]]) -> Vec<u8> {
        let mut stuffer = Stuffer::new();
        let mut out = Vec::new();
        for chunk in chunks {
            stuffer.push(chunk, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    /// What a receiver makes of it: up to the first CRLF.CRLF, leading dots removed after CRLF.
    fn unstuff(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
        let mut body = Vec::new();
        let mut at = 0;
        let mut line_start = true;
        while at < wire.len() {
            let rest = &wire[at..];
            if line_start && rest.starts_with(b".\r\n") {
                return Some((body, at + 3));
            }
            if line_start && rest[0] == b'.' {
                at += 1;
            }
            let byte = *wire.get(at)?;
            body.push(byte);
            line_start = body.ends_with(b"\r\n");
            at += 1;
        }
        None
    }

    #[test]
    fn stuffing_table() {
        let rows: &[(&[&[u8]], &[u8])] = &[
            (&[], b".\r\n"),
            (&[b""], b".\r\n"),
            (&[b"."], b"..\r\n.\r\n"),
            (&[b"a"], b"a\r\n.\r\n"),
            (&[b"a\r\n"], b"a\r\n.\r\n"),
            (&[b"a\r", b"\n", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),
            (&[b"a\r\n", b"", b".\r\n"], b"a\r\n..\r\n.\r\n"),
            (&[b"a\n.b"], b"a\n.b\r\n.\r\n"),
            (&[b"a\r.b\r"], b"a\r.b\r\r\n.\r\n"),
            (&[b"a\r\r\n..b\r\n"], b"a\r\r\n...b\r\n.\r\n"),
            (&[b"\n.\r\n"], b"\n.\r\n.\r\n"),
        ];
        for (chunks, expected) in rows {
            assert_eq!(&stuff(chunks), expected, "{chunks:?}");
        }
    }

    const PIECES: &[&[u8]] = &[b"\r\n", b".", b"\r", b"\n", b"ab"];

    proptest! {
        #[test]
        fn unstuffing_gives_the_body_back(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
            cuts in prop::collection::vec(0usize..6, 0..40),
        ) {
            let body = pieces.concat();
            let mut chunks = Vec::new();
            let mut rest = &body[..];
            for cut in cuts {
                let (chunk, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            chunks.push(rest);
            let wire = stuff(&chunks);
            let mut expected = body.clone();
            if !body.is_empty() && !body.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            let received = unstuff(&wire);
            prop_assert_eq!(received, Some((expected, wire.len())));
        }
    }
}

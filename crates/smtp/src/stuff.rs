//! How a body goes out: dot stuffing (RFC 5321 section 4.5.2) or octets that were counted (RFC 3030), in chunks.

use memchr::memchr2;

/// How the receiver finds the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// DATA: lines, and a dot alone on the last one.
    Dotted,
    /// BDAT: the count of octets that was announced.
    Counted,
}

/// The body has a CR or an LF that is not part of a CRLF, which RFC 5321 section 2.3.8 forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body has a CR or LF that ends no line")]
pub struct BareLineEnd;

/// Writes one body. Nothing else in the product makes the body of DATA or BDAT, and this cannot write a bare CR or LF:
/// a host that takes one for the end of a line would see commands of its own behind `LF . LF` ("SMTP smuggling"), and
/// one that took it by BDAT hands it on by DATA. After a refusal neither more of the body nor its end can be written,
/// so the host cannot take a part for the whole.
#[derive(Debug)]
pub struct BodyWriter {
    framing: Framing,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of the body or after CRLF.
    LineStart,
    Middle,
    /// The last octet was CR. It is written when the LF is here.
    AfterCr,
    Refused,
}

impl BodyWriter {
    /// For one body.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            state: State::LineStart,
        }
    }

    /// Appends the next chunk to `out` as it goes on the wire, but for a CR at its end.
    ///
    /// # Errors
    /// The chunk has a bare CR or LF, or one before it had. What comes before it in the chunk may be in `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        out.reserve(chunk.len() + chunk.len() / 64 + 2);
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match self.state {
                State::Refused => return Err(BareLineEnd),
                State::AfterCr => self.line_end(rest, out)?,
                State::LineStart | State::Middle => self.line(rest, out)?,
            };
        }
        Ok(())
    }

    /// Takes the LF that must follow.
    fn line_end<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], BareLineEnd> {
        let Some(rest) = rest.strip_prefix(b"\n") else {
            return self.refuse();
        };
        out.extend_from_slice(b"\r\n");
        self.state = State::LineStart;
        Ok(rest)
    }

    /// Takes what comes up to the next CR, and the CR.
    fn line<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], BareLineEnd> {
        let dotted = self.framing == Framing::Dotted && self.state == State::LineStart;
        if dotted && rest.first() == Some(&b'.') {
            out.push(b'.');
        }
        let end = memchr2(b'\r', b'\n', rest);
        let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(text);
        match after.split_first() {
            None => {
                self.state = State::Middle;
                Ok(after)
            }
            Some((b'\r', after)) => {
                self.state = State::AfterCr;
                Ok(after)
            }
            Some(_) => self.refuse(),
        }
    }

    fn refuse<T>(&mut self) -> Result<T, BareLineEnd> {
        self.state = State::Refused;
        Err(BareLineEnd)
    }

    /// Appends the end of the body. For DATA that is `.` CRLF, with a CRLF before it only if the body did not end in one;
    /// for BDAT nothing.
    ///
    /// # Errors
    /// The body was refused, or ends in a bare CR.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        match (self.state, self.framing) {
            (State::Refused | State::AfterCr, _) => return Err(BareLineEnd),
            (_, Framing::Counted) => {}
            (State::LineStart, Framing::Dotted) => out.extend_from_slice(b".\r\n"),
            (State::Middle, Framing::Dotted) => out.extend_from_slice(b"\r\n.\r\n"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(framing: Framing, chunks: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut writer = BodyWriter::new(framing);
        let mut out = Vec::new();
        let mut is_refused = false;
        for chunk in chunks {
            is_refused |= writer.push(chunk, &mut out).is_err();
        }
        is_refused |= writer.finish(&mut out).is_err();
        (out, is_refused)
    }

    fn has_bare(bytes: &[u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match &bytes[at..] {
                [b'\r', b'\n', ..] => at += 2,
                [b'\r' | b'\n', ..] => return true,
                _ => at += 1,
            }
        }
        false
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
            (&[b"a\r", b"", b"\n.b\r\n"], b"a\r\n..b\r\n.\r\n"),
            (&[b"a\r\n", b"", b".\r\n"], b"a\r\n..\r\n.\r\n"),
            (&[b"a", b".b"], b"a.b\r\n.\r\n"),
        ];
        for (chunks, expected) in rows {
            let written = write(Framing::Dotted, chunks);
            assert_eq!(written, (expected.to_vec(), false), "{chunks:?}");
        }
    }

    #[test]
    fn counted_octets_go_out_as_they_are() {
        for body in [&b".\r\n..\r\n.\r\n"[..], b"", b"no line end"] {
            let written = write(Framing::Counted, &[body]);
            assert_eq!(written, (body.to_vec(), false));
        }
    }

    /// Every known way to make a lax host see the end of a message where there is none.
    #[test]
    fn nothing_that_could_smuggle_is_written() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\n.\r",
            "\r.\n",
            "\r\r\n.\r\n",
            "\n\r.\n\r",
            "\r",
            "\n",
        ] {
            let body = format!("a{end}MAIL FROM:<ceo@bank.test>\r\n");
            for framing in [Framing::Dotted, Framing::Counted] {
                let (out, is_refused) = write(framing, &[body.as_bytes()]);
                assert!(is_refused, "{end:?} went out by {framing:?}");
                assert!(!out.ends_with(b".\r\n"), "the message was ended: {out:?}");
                let (_, is_refused) = write(framing, &[b"a", end.as_bytes()]);
                assert!(
                    is_refused || !has_bare(end.as_bytes()),
                    "{end:?} at the end"
                );
            }
        }
    }

    const PIECES: &[&[u8]] = &[b"\r\n", b".", b"\r", b"\n", b"ab", b"\r\n.", b"\xc3\xbc\0"];

    fn cut<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut chunks = Vec::new();
        let mut rest = body;
        for cut in cuts {
            let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        chunks
    }

    proptest! {
        #[test]
        fn a_body_arrives_as_it_is_or_is_refused(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
            cuts in prop::collection::vec(0usize..6, 0..40),
        ) {
            let body = pieces.concat();
            for framing in [Framing::Dotted, Framing::Counted] {
                let (wire, is_refused) = write(framing, &cut(&body, &cuts));
                prop_assert_eq!(is_refused, has_bare(&body));
                prop_assert!(!has_bare(&wire), "{:?}", wire);
                if is_refused {
                    prop_assert!(framing == Framing::Counted || unstuff(&wire).is_none());
                    continue;
                }
                if framing == Framing::Counted {
                    prop_assert_eq!(&wire, &body);
                    continue;
                }
                let mut expected = body.clone();
                if !body.is_empty() && !body.ends_with(b"\r\n") {
                    expected.extend_from_slice(b"\r\n");
                }
                prop_assert_eq!(unstuff(&wire), Some((expected, wire.len())));
            }
        }

        #[test]
        fn no_bytes_make_it_write_a_bare_line_end(
            body in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(0usize..9, 0..40),
        ) {
            for framing in [Framing::Dotted, Framing::Counted] {
                let (wire, is_refused) = write(framing, &cut(&body, &cuts));
                prop_assert!(!has_bare(&wire));
                prop_assert_eq!(is_refused, has_bare(&body));
            }
        }
    }
}

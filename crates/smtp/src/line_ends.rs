//! The content rule for bodies, whichever way they come in: no CR and no LF but in CRLF.
//!
//! Hosts that take a bare CR or LF for the end of a line could be made to see a second message in this one ("SMTP
//! smuggling"), so none is ever stored. DATA and BDAT go through this gate, and so must any other way in.

use memchr::memchr2;

use crate::reply::Reply;

/// What becomes of a CR or LF that is not part of a CRLF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineEnds {
    /// The message is refused.
    #[default]
    Refuse,
    /// It becomes CRLF.
    Fix,
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The message has a CR or LF that is not part of a CRLF")]
pub struct BareLineEnd;

impl BareLineEnd {
    pub fn reply(self) -> Reply {
        Reply::new(550, (5, 6, 11), self.to_string())
    }
}

/// Passes one body on, in chunks that may be cut anywhere. What it gives out never has a bare CR or LF, neither within a
/// chunk nor over their borders: a CR is held until it is known what follows.
#[derive(Debug, Clone)]
pub struct LineEndGate {
    policy: LineEnds,
    holds_cr: bool,
    refused: bool,
}

impl LineEndGate {
    pub fn new(policy: LineEnds) -> Self {
        Self {
            policy,
            holds_cr: false,
            refused: false,
        }
    }

    /// The whole of a body that is there at once.
    ///
    /// # Errors
    /// It has a bare CR or LF, and the policy refuses it.
    pub fn whole(policy: LineEnds, body: Vec<u8>) -> Result<Vec<u8>, BareLineEnd> {
        let mut gate = Self::new(policy);
        let mut out = Vec::new();
        gate.push(body, &mut out)?;
        gate.finish(&mut out)?;
        Ok(out)
    }

    /// Takes the next octets, and appends to `out` what may be kept.
    ///
    /// # Errors
    /// A bare CR or LF came, now or earlier, and the policy refuses it. `out` has what came before it.
    pub fn push(&mut self, chunk: Vec<u8>, out: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        if out.is_empty() && !self.refused && !self.holds_cr && next_odd(&chunk).is_none() {
            // Nearly every chunk: it is passed on without a copy.
            *out = chunk;
            return Ok(());
        }
        self.push_slice(&chunk, out)
    }

    /// As [`LineEndGate::push`], for octets that the caller keeps.
    ///
    /// # Errors
    /// As for [`LineEndGate::push`].
    pub fn push_slice(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        let mut rest = chunk;
        while let Some(&first) = rest.first() {
            if self.refused {
                return Err(BareLineEnd);
            }
            if self.holds_cr {
                self.holds_cr = false;
                if first == b'\n' {
                    out.extend_from_slice(b"\r\n");
                    rest = &rest[1..];
                } else {
                    self.bare(out)?;
                }
                continue;
            }
            let Some(odd) = next_odd(rest) else {
                out.extend_from_slice(rest);
                return Ok(());
            };
            out.extend_from_slice(&rest[..odd]);
            if rest[odd] == b'\r' {
                self.holds_cr = true;
            } else {
                self.bare(out)?;
            }
            rest = &rest[odd + 1..];
        }
        Ok(())
    }

    /// The body is over: a CR that is still held stands alone.
    ///
    /// # Errors
    /// As for [`LineEndGate::push`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        if self.refused {
            return Err(BareLineEnd);
        }
        if std::mem::take(&mut self.holds_cr) {
            self.bare(out)?;
        }
        Ok(())
    }

    fn bare(&mut self, out: &mut Vec<u8>) -> Result<(), BareLineEnd> {
        match self.policy {
            LineEnds::Refuse => {
                self.refused = true;
                Err(BareLineEnd)
            }
            LineEnds::Fix => {
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// Where the first CR or LF is that is not, as far as these octets show, part of a CRLF.
fn next_odd(octets: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = memchr2(b'\r', b'\n', &octets[from..]) {
        let at = from + found;
        if octets[at] == b'\n' || octets.get(at + 1) != Some(&b'\n') {
            return Some(at);
        }
        from = at + 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pieces(body: &[u8], size: usize, policy: LineEnds) -> Result<Vec<u8>, BareLineEnd> {
        let mut gate = LineEndGate::new(policy);
        let mut all = Vec::new();
        for piece in body.chunks(size) {
            let mut out = Vec::new();
            gate.push(piece.to_vec(), &mut out)?;
            all.extend(out);
        }
        gate.finish(&mut all)?;
        Ok(all)
    }

    fn check(body: &[u8], fixed: &[u8]) {
        for size in 1..=body.len().max(1) {
            let refused = match body == fixed {
                true => Ok(body.to_vec()),
                false => Err(BareLineEnd),
            };
            let got = in_pieces(body, size, LineEnds::Refuse);
            assert_eq!(got, refused, "{body:?} in pieces of {size}");
            let got = in_pieces(body, size, LineEnds::Fix);
            assert_eq!(got, Ok(fixed.to_vec()), "{body:?} in pieces of {size}");
        }
        let whole = LineEndGate::whole(LineEnds::Fix, body.to_vec());
        assert_eq!(whole, Ok(fixed.to_vec()), "{body:?}");
    }

    #[test]
    fn bare_line_ends_are_seen_wherever_they_stand_and_wherever_the_body_is_cut() {
        for clean in ["", "a", "\r\n", "a\r\nb", "a\r\n\r\n.\r\n", "\u{fc}\0"] {
            check(clean.as_bytes(), clean.as_bytes());
        }
        for (bare, fixed) in [
            ("\n", "\r\n"),
            ("\r", "\r\n"),
            ("\na", "\r\na"),
            ("a\r", "a\r\n"),
            ("a\nb", "a\r\nb"),
            ("a\rb", "a\r\nb"),
            ("\r\r\n", "\r\n\r\n"),
            ("\r\n\n", "\r\n\r\n"),
            ("\n\r\n", "\r\n\r\n"),
            ("\r\n\r", "\r\n\r\n"),
            ("\n\r", "\r\n\r\n"),
            ("\r\r", "\r\n\r\n"),
            ("x\n.\nMAIL", "x\r\n.\r\nMAIL"),
            ("x\r.\rMAIL", "x\r\n.\r\nMAIL"),
            ("x\r\n.\rMAIL", "x\r\n.\r\nMAIL"),
        ] {
            check(bare.as_bytes(), fixed.as_bytes());
        }
    }

    #[test]
    fn what_was_refused_stays_refused() {
        let mut gate = LineEndGate::new(LineEnds::Refuse);
        let mut out = Vec::new();
        assert_eq!(gate.push_slice(b"a\nb", &mut out), Err(BareLineEnd));
        assert_eq!(gate.push(b"c".to_vec(), &mut out), Err(BareLineEnd));
        assert_eq!(gate.finish(&mut out), Err(BareLineEnd));
        assert_eq!(out, b"a");
    }
}

//! Certificates that count no more, though they have not expired.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::certificates::TlsError;
use crate::access::Serial;
use crate::connection::Line;

/// A longer list means that it is time for another CA.
const SERIALS_MAX: usize = 100_000;
/// RFC 5280 4.1.2.2 allows 20; some are longer.
const SERIAL_BYTES_MAX: usize = 64;

/// Serial numbers of certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked(Arc<BTreeSet<Serial>>);

impl Revoked {
    /// One serial number in each line, in hexadecimal digits, with or without colons, as `openssl x509 -noout -serial` prints
    /// them; what follows a `#` is for people.
    ///
    /// # Errors
    /// A line is something else.
    pub fn read(text: &[u8]) -> Result<Self, TlsError> {
        let text = String::from_utf8_lossy(text);
        let mut serials = BTreeSet::new();
        for (line, nth) in text.lines().zip(1..) {
            let said = line.split('#').next().unwrap_or_default().trim();
            if said.is_empty() {
                continue;
            }
            let digits = said.strip_prefix("serial=").unwrap_or(said);
            let serial = serial(digits).ok_or(TlsError::NotASerial { line: nth })?;
            serials.insert(serial);
            if serials.len() > SERIALS_MAX {
                return Err(TlsError::TooManySerials(SERIALS_MAX));
            }
        }
        Ok(Self(Arc::new(serials)))
    }

    pub fn has(&self, serial: &Serial) -> bool {
        self.0.contains(serial)
    }
}

fn serial(digits: &str) -> Option<Serial> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b':').collect();
    let is_right = !digits.is_empty()
        && digits.len() <= 2 * SERIAL_BYTES_MAX
        && digits.iter().all(u8::is_ascii_hexdigit);
    let value = |digit: &u8| {
        char::from(*digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let bytes = digits.rchunks(2).map(|pair| {
        let values = pair.iter().filter_map(value);
        values.fold(0, |byte, value| byte << 4 | value)
    });
    let mut bytes: Vec<u8> = bytes.collect();
    bytes.reverse();
    is_right.then(|| Serial::new(&bytes))
}

/// Open connections by the certificate of their other side.
#[derive(Debug, Clone, Default)]
pub(super) struct InUse(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    lines: BTreeMap<u64, (Serial, Arc<Line>)>,
    revoked: Revoked,
}

/// A connection that ends when its certificate is revoked, as long as this is kept.
#[derive(Debug)]
pub struct Watched {
    all: InUse,
    id: u64,
}

impl InUse {
    /// None if the certificate is revoked.
    pub fn watch(&self, serial: &Serial, line: Arc<Line>) -> Option<Watched> {
        let mut open = self.0.lock();
        if open.revoked.has(serial) {
            return None;
        }
        let id = open.next;
        open.next += 1;
        open.lines.insert(id, (serial.clone(), line));
        let all = self.clone();
        Some(Watched { all, id })
    }

    /// Ends what is open with these certificates, and lets nothing new come of them.
    pub fn revoke(&self, revoked: Revoked) {
        let mut open = self.0.lock();
        let ending = open
            .lines
            .values()
            .filter(|(serial, _)| revoked.has(serial));
        let mut ended = 0_usize;
        for (_, line) in ending {
            line.cut();
            ended += 1;
        }
        if ended > 0 {
            tracing::warn!(ended, "connections of revoked certificates are ended");
        }
        open.revoked = revoked;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.all.0.lock().lines.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn serials_are_read_as_tools_print_them() {
        let text = b"# lost\n0A:ff\n\nserial=00ABC # a laptop\r\n  7  \n";
        let revoked = Revoked::read(text).unwrap();
        for (serial, is_in) in [
            (&[0x0a, 0xff][..], true),
            (&[0, 0x0a, 0xff], true),
            (&[0x0a, 0xbc], true),
            (&[7], true),
            (&[0x0a], false),
            (&[], false),
        ] {
            assert_eq!(revoked.has(&Serial::new(serial)), is_in, "{serial:?}");
        }
        assert_eq!(Revoked::read(b"").unwrap(), Revoked::default());
        for (text, line) in [
            ("xyz", 1),
            ("0a\n0b 0c", 2),
            ("0a\n\n:", 3),
            ("-----BEGIN X509 CRL-----", 1),
        ] {
            let error = Revoked::read(text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.contains(&format!("line {line}")),
                "{text:?} gave {error}"
            );
        }
    }
}

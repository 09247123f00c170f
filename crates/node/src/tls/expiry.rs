//! When a certificate ends, and whether that is soon.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use skein_client::tls::expires_at;

/// Enough to renew by hand; what renews by itself does so earlier.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The end of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(Timestamp);

impl Expiry {
    /// Of the first certificate of a chain.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let end = expires_at(chain.first()?)?;
        let end = Timestamp::from_second(i64::try_from(end.as_secs()).ok()?);
        end.ok().map(Self)
    }

    pub fn seconds(self) -> i64 {
        self.0.as_second()
    }

    pub fn is_past(self, now: Timestamp) -> bool {
        self.0 < now
    }

    pub fn is_soon(self, now: Timestamp) -> bool {
        self.0.duration_since(now) < SOON
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

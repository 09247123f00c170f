//! Whether connections to hosts are encrypted.

/// Whether connections are encrypted (RFC 3207).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsPolicy {
    /// STARTTLS when it is offered, with any certificate; in the clear when it fails (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS with a certificate that is valid for the host, or no delivery.
    Require,
    Disable,
}

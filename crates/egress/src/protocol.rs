//! What senders and egress nodes say to each other: HTTP/1.1 CONNECT (RFC 9110 9.3.6) with these headers.

use hyper::StatusCode;

use crate::dial::DialError;
use crate::refused::Refused;

/// The name of the IP resource to go out through.
pub const IP: &str = "skein-ip";
/// Under which the sender believes that the IP is there.
pub const EPOCH: &str = "skein-epoch";
pub const TIMEOUT_MS: &str = "skein-connect-timeout-ms";
/// In a 200: the local address of the connection to the target.
pub const SOURCE: &str = "skein-source";
/// In all other answers: what is wrong, in one word.
pub const ERROR: &str = "skein-error";
/// In a 429: as long as an SMTP transaction takes that makes room.
pub const RETRY_AFTER_SECONDS: &str = "1";

impl Refused {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed(_) | Self::Family { .. } => StatusCode::BAD_REQUEST,
            Self::NotHeld { .. } => StatusCode::NOT_FOUND,
            Self::Stale { .. } | Self::Ahead { .. } | Self::Leaving { .. } => StatusCode::CONFLICT,
            Self::Suspended { .. } | Self::Target { .. } | Self::Caller(_) => StatusCode::FORBIDDEN,
            Self::Cap { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Malformed(_) => "malformed",
            Self::Family { .. } => "family",
            Self::NotHeld { .. } => "not-held",
            Self::Stale { .. } => "stale",
            Self::Ahead { .. } => "ahead",
            Self::Suspended { .. } => "suspended",
            Self::Leaving { .. } => "leaving",
            Self::Cap { .. } => "cap",
            Self::Target { .. } => "target",
            Self::Caller(_) => "role",
            Self::Full(_) => "full",
        }
    }
}

impl DialError {
    /// All are a 502 but the node's own lack of sockets, which is a 503 as any other lack of room.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Bind { .. } | Self::Target { .. } => StatusCode::BAD_GATEWAY,
            Self::Exhausted(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub fn word(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Target { fault, .. } => fault.word(),
            Self::Exhausted(_) => "full",
        }
    }
}

//! What went wrong with a connection, in words that stay the same whichever library or system found it: they are written
//! into reports, events and what operators are shown.

use std::io::{self, ErrorKind};

/// An error of our own making, whose text is kept.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlainError(pub &'static str);

impl From<PlainError> for io::Error {
    fn from(words: PlainError) -> Self {
        Self::other(words)
    }
}

/// What an error of the system means.
#[must_use]
pub fn of_io(error: &io::Error) -> &'static str {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref());
    if let Some(PlainError(words)) = ours {
        return words;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "the connection was reset",
        ErrorKind::ConnectionAborted => "the connection was broken off",
        ErrorKind::BrokenPipe | ErrorKind::NotConnected | ErrorKind::WriteZero => {
            "the connection is closed"
        }
        ErrorKind::UnexpectedEof => "the connection ended in the middle",
        ErrorKind::TimedOut => "no answer in time",
        ErrorKind::HostUnreachable => "no route to the host",
        ErrorKind::NetworkUnreachable => "no route to the network",
        ErrorKind::NetworkDown => "the network is down",
        ErrorKind::AddrNotAvailable => "no interface of this node has the address",
        ErrorKind::AddrInUse => "no port is left",
        ErrorKind::PermissionDenied => "forbidden by this system or its firewall",
        ErrorKind::OutOfMemory => "no memory is left",
        ErrorKind::InvalidData | ErrorKind::InvalidInput => "what came cannot be understood",
        _ => match error.raw_os_error() {
            // EMFILE and ENFILE, for which there is no kind.
            Some(23 | 24) => "no file descriptors are left",
            _ => "the connection failed",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number that a system has, and every kind that a library can make.
    #[test]
    fn no_error_speaks_for_itself() {
        let system = (1..140).map(io::Error::from_raw_os_error);
        let library = [
            ErrorKind::InvalidData,
            ErrorKind::Other,
            ErrorKind::UnexpectedEof,
            ErrorKind::Interrupted,
        ];
        let library = library.map(|kind| io::Error::new(kind, "rustls says InvalidCertificate(X)"));
        for error in system.chain(library) {
            let words = of_io(&error);
            for foreign in ["os error", "rustls", "Invalid", "(", "::"] {
                assert!(!words.contains(foreign), "{error:?}: {words}");
            }
            assert!(words.starts_with(char::is_lowercase), "{words}");
        }
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(of_io(&refused), "connection refused");
        assert_eq!(
            of_io(&io::Error::from_raw_os_error(24)),
            "no file descriptors are left"
        );
        assert_eq!(of_io(&PlainError("as we say").into()), "as we say");
    }
}

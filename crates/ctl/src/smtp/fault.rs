//! Why a step came to no good end, in the words of this program.

use std::io::{self, ErrorKind};

use super::reply::Reply;
use super::tls;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The name has no address; why not.
    NoName(String),
    /// Nothing listens there.
    Refused,
    Unreachable(String),
    /// No answer within the step's time.
    Silent,
    /// The connection ended without a word.
    Closes,
    /// It closed the connection, or what it said is no reply.
    NotSmtp,
    Tls(tls::Fault),
    /// The host says no.
    Reply(Reply),
    /// No mechanism for a login, or a challenge that is none of the mechanism.
    Login(String),
}

impl Fault {
    /// What a connection fails of.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => Self::Closes,
            ErrorKind::TimedOut => Self::Silent,
            _ => Self::Unreachable(words(error)),
        }
    }

    /// In a few words, after the name of the host and what was being done.
    pub fn words(&self) -> String {
        match self {
            Self::NoName(why) => format!("cannot be found ({why})"),
            Self::Refused => "nothing listens there".to_owned(),
            Self::Unreachable(why) => format!("cannot be reached ({why})"),
            Self::Silent => "gave no answer in time".to_owned(),
            Self::Closes => "ended the connection without a word".to_owned(),
            Self::NotSmtp => "ended the connection, or said what is not SMTP".to_owned(),
            Self::Tls(fault) => fault.to_string(),
            Self::Reply(reply) => format!("says {reply}"),
            Self::Login(why) => why.clone(),
        }
    }
}

impl From<mail_send::Error> for Fault {
    fn from(error: mail_send::Error) -> Self {
        use mail_send::Error;
        match error {
            Error::Io(error) => Self::of_io(&error),
            Error::Tls(error) => Self::Tls(tls::Fault::of(&error)),
            Error::UnparseableReply => Self::NotSmtp,
            Error::UnexpectedReply(reply) | Error::AuthenticationFailed(reply) => {
                Self::Reply(reply.into())
            }
            Error::Timeout => Self::Silent,
            Error::InvalidTLSName => Self::Tls(tls::Fault::NoServerName),
            Error::Auth(_) | Error::Base64(_) => {
                Self::Login("asks what its mechanism for logins does not ask".to_owned())
            }
            // What this program asks for is checked before.
            error => Self::Login(error.to_string()),
        }
    }
}

/// The words of the system, without its number.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_fails_of_is_told_apart() {
        for (kind, expected) in [
            (ErrorKind::ConnectionRefused, Fault::Refused),
            (ErrorKind::ConnectionReset, Fault::Closes),
            (ErrorKind::UnexpectedEof, Fault::Closes),
            (ErrorKind::TimedOut, Fault::Silent),
        ] {
            assert_eq!(Fault::of_io(&kind.into()), expected);
        }
        let unreachable = Fault::of_io(&io::Error::from_raw_os_error(libc_enetunreach()));
        assert_eq!(
            unreachable,
            Fault::Unreachable("network is unreachable".to_owned())
        );
    }

    fn libc_enetunreach() -> i32 {
        rustix::io::Errno::NETUNREACH.raw_os_error()
    }

    #[test]
    fn errors_of_the_library_become_faults() {
        use mail_send::Error;
        let reply = smtp_proto::Response::new(535, 5, 7, 8, "no".to_owned());
        for (error, expected) in [
            (Error::Timeout, Fault::Silent),
            (Error::UnparseableReply, Fault::NotSmtp),
            (Error::InvalidTLSName, Fault::Tls(tls::Fault::NoServerName)),
            (
                Error::AuthenticationFailed(reply.clone()),
                Fault::Reply(reply.into()),
            ),
        ] {
            assert_eq!(Fault::from(error), expected);
        }
    }
}

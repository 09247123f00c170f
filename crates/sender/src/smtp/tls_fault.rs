//! What went wrong with TLS, in our words: they are written into reports, events and what operators are shown, and stay the
//! same whichever library finds it out.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};
use skein_egress::io_fault::of_io;

pub const BAD_NAME: &str = "the host has no name that a certificate could be for";

/// Why a handshake came to no end, or a session under TLS broke.
pub fn of_tls(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidCertificate(fault)) => of_certificate(fault),
        Some(Error::AlertReceived(alert)) => of_alert(*alert),
        Some(Error::PeerIncompatible(_)) => "the host has no TLS version or cipher that we have",
        Some(Error::NoCertificatesPresented) => "the host shows no certificate",
        Some(
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError,
        ) => "what the host sends is not TLS",
        Some(_) => "the handshake failed",
        None => of_io(error),
    }
}

fn of_certificate(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the host's certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the host's certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the host's certificate is for another name"
        }
        CertificateError::UnknownIssuer => "nobody we trust has signed the host's certificate",
        CertificateError::Revoked => "the host's certificate is revoked",
        CertificateError::BadSignature => "the host does not own the certificate that it shows",
        _ => "the host's certificate is not valid",
    }
}

fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::HandshakeFailure
        | AlertDescription::ProtocolVersion
        | AlertDescription::InsufficientSecurity => {
            "the host has no TLS version or cipher that we have"
        }
        AlertDescription::UnrecognisedName => {
            "the host does not know the name that it is called by"
        }
        AlertDescription::CertificateRequired => "the host wants a certificate of ours",
        AlertDescription::InternalError => "the host has an error of its own",
        _ => "the host broke the handshake off",
    }
}

#[cfg(test)]
mod tests {
    use rustls::{InvalidMessage, PeerMisbehaved};

    use super::*;

    #[test]
    fn no_error_of_the_library_speaks_for_itself() {
        let certificate = |fault| Error::InvalidCertificate(fault);
        let mut seen = Vec::new();
        for error in [
            certificate(CertificateError::Expired),
            certificate(CertificateError::NotValidForName),
            certificate(CertificateError::UnknownIssuer),
            certificate(CertificateError::BadEncoding),
            certificate(CertificateError::BadSignature),
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::AlertReceived(AlertDescription::BadCertificate),
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::PeerMisbehaved(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec),
            Error::NoCertificatesPresented,
            Error::General("from a provider".to_owned()),
            Error::HandshakeNotComplete,
        ] {
            let own = error.to_string();
            let words = of_tls(&io::Error::new(io::ErrorKind::InvalidData, error));
            assert!(
                !words.contains(&own) && !own.contains(words),
                "{own}: {words}"
            );
            assert!(words.starts_with(char::is_lowercase), "{words}");
            seen.push(words);
        }
        assert_eq!(seen[0], "the host's certificate has expired");
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(of_tls(&reset), "the connection was reset");
    }
}

//! Why a host did not get as far as a transaction.

use skein_model::Reply as Fact;
use skein_smtp::reply::Reply;
use skein_tls::CertificateFault;

use crate::host::Host;
use crate::outcome::{fact, from_host};
use crate::smtp::session::SessionError;

/// Why a host did not get as far as a transaction.
#[derive(Debug)]
pub struct NoSession {
    pub reply: Fact,
    pub cause: Cause,
    /// What is wrong with the host's certificate, if that is it.
    pub certificate: Option<CertificateFault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The network, or what the host says to every client.
    Host,
    /// TLS was begun, or refused for good, and no reply came under it.
    TlsFailed,
    /// The host says that it gives no TLS at this moment.
    TlsNotNow,
    /// TLS is needed and not offered.
    NoTls,
    /// The source IP cannot be used, whatever the host: its node, its proxy, or where it is.
    Source,
    /// The source IP takes no connection now and may in a second.
    SourceBusy,
}

/// RFC 3463: no answer from the host.
pub const NO_ANSWER: (u8, u16, u16) = (4, 4, 1);

impl NoSession {
    /// Whether there was not even a connection.
    pub fn is_unreachable(&self) -> bool {
        self.cause == Cause::Host
            && self.reply.host.is_none()
            && self.reply.enhanced == Some(NO_ANSWER)
    }

    pub fn weather(host: &Host, doing: &str, error: &SessionError) -> Self {
        let text = format!("{doing} {host}: {error}");
        Self::ours(Cause::Host, (4, 4, 2), text)
    }

    pub fn refused(host: &Host, reply: &Reply) -> Self {
        Self {
            reply: from_host(host, fact(reply)),
            cause: Cause::Host,
            certificate: None,
        }
    }

    pub fn ours(cause: Cause, enhanced: (u8, u16, u16), text: String) -> Self {
        Self {
            reply: Fact::ours(enhanced, text).bounded(),
            cause,
            certificate: None,
        }
    }

    /// Whether the host may be better off without TLS.
    pub fn is_of_tls(&self) -> bool {
        matches!(self.cause, Cause::TlsFailed | Cause::TlsNotNow)
    }

    /// Says that the proxy may be at fault, where it does not tell.
    pub fn through_a_proxy(mut self) -> Self {
        if self.reply.host.is_none() {
            self.reply
                .text
                .push_str(" (the proxy between does not say why)");
            self.reply = self.reply.bounded();
        }
        self
    }

    pub fn tls(host: &Host, error: &dyn std::fmt::Display) -> Self {
        let text = format!("TLS with {host}: {error}");
        Self::ours(Cause::TlsFailed, (4, 7, 5), text)
    }

    /// Its certificate does not prove what was demanded.
    pub fn certificate(host: &Host, fault: CertificateFault) -> Self {
        Self {
            certificate: Some(fault),
            ..Self::tls(host, &fault.text())
        }
    }

    pub fn no_starttls(host: &Host, reply: &Reply) -> Self {
        let error = format!("STARTTLS was answered with {reply}");
        let cause = match reply.is_permanent() {
            true => Cause::TlsFailed,
            false => Cause::TlsNotNow,
        };
        Self {
            cause,
            ..Self::tls(host, &error)
        }
    }
}

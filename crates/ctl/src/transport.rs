//! What to do when no answer comes from the server: the way to it is looked at again, step by step, until the fault shows.
//!
//! Libraries say how a connection broke ("h2 protocol error"), and not why. So the address is resolved and connected to
//! once more, and what is there is greeted as HTTP/2 greets: SMTP, HTTP/1, TLS and a node without TLS each answer in a way
//! of their own.

use std::error::Error as _;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

/// Longer than a packet that was lost takes to come again.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A server that speaks at all answers a greeting at once; one that looks names up first takes a second or two.
const SPEAKS_WITHIN: Duration = Duration::from_secs(2);
/// How the library tells of an answer that is none of gRPC.
const NO_GRPC: &str = "grpc-status header missing";
/// The connection preface of HTTP/2 with empty settings (RFC 9113 3.4).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Where the admin API of a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Target {
    /// # Errors
    /// What is wrong with it, and what it should be like.
    pub fn parse(server: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!(
                "--server {server:?} {what}: it is like http://127.0.0.1:7001 or https://host:7001"
            )
        };
        let (is_tls, rest) = match server.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("begins with neither http:// nor https://")),
            None => {
                return Err(wrong(
                    "does not say whether the node has certificates (https://) or not (http://)",
                ));
            }
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| wrong("has no port that can be"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong("has no host that can be"));
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
        })
    }

    /// Whether nobody on a network can read what is sent there.
    pub fn is_private(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.is_tls || self.host == "localhost" || address.is_ok_and(|at| at.is_loopback())
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Whether a status was made on the way, and is no answer of a node.
pub fn is_fault(status: &Status) -> bool {
    status.source().is_some()
        || status.message().starts_with("Service was not ready")
        || status.message().starts_with(NO_GRPC)
        || is_unknown_call(status)
}

/// No node says this without a word.
fn is_unknown_call(status: &Status) -> bool {
    status.code() == Code::Unimplemented && status.message().is_empty()
}

/// The server's words; of a fault of the way to it, what is wrong there and what to do.
pub async fn explain(server: &str, status: &Status) -> String {
    let message = status.message();
    if !is_fault(status) {
        return message.to_owned();
    }
    if let Some(about) = message.find("TLS: ")
        && let Some(todo) = advice(&message[about..])
    {
        return format!("{server}: {}; {todo}", &message[about..]);
    }
    if is_unknown_call(status) {
        return format!(
            "{server} does not know this call; is it the node's admin.listen (port 7001 unless set otherwise, and not \
             cluster.listen), and is the node as new as this skeinctl ({})?",
            env!("CARGO_PKG_VERSION")
        );
    }
    let Ok(target) = Target::parse(server) else {
        return format!("no answer from {server}: {message}");
    };
    let found = match message.starts_with(NO_GRPC) {
        true => Found::Web,
        false => look(&target).await,
    };
    let cause = innermost(status);
    let (what, todo) = found.in_words(&target, &cause);
    format!("no answer from {server}: {what}; {todo}")
}

/// What to do about a handshake that failed, where its words name the fault.
fn advice(message: &str) -> Option<&'static str> {
    let advice = [
        (
            "none was shown",
            "give --cert and --key, or set SKEINCTL_CERT and SKEINCTL_KEY",
        ),
        (
            "refuses our certificate",
            "--cert must be of the CA that this node trusts, and be neither expired nor revoked",
        ),
        (
            "another CA than ours",
            "--ca must be the file of the CA that made this node's certificate (cluster.tls.ca in its configuration)",
        ),
        (
            "not valid for name",
            "use a name that the certificate has in --server, or have a certificate made for this one",
        ),
        (
            "expired",
            "the node needs a new certificate; see `skeinctl doctor` at another node",
        ),
    ];
    let found = advice.iter().find(|(part, _)| message.contains(part));
    found.map(|(_, todo)| *todo)
}

/// The cause that lies deepest, which names the fault.
fn innermost(status: &Status) -> String {
    let mut cause = status.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// What is at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    NoName(String),
    Refused,
    Unreachable(String),
    /// It takes the connection and says nothing.
    Silent,
    /// It ends the connection without a word.
    Closes,
    Smtp,
    /// It speaks HTTP, and not gRPC.
    Web,
    Tls,
    /// HTTP/2 without TLS, as a node speaks that has no certificates.
    Plain,
    /// The first bytes of something else.
    Other(String),
}

async fn look(target: &Target) -> Found {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let addresses: Vec<_> = match found {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Found::NoName(error.to_string()),
    };
    let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(&*addresses)).await;
    let mut stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return match error.kind() {
                ErrorKind::ConnectionRefused => Found::Refused,
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Found::Closes,
                _ => Found::Unreachable(error.to_string()),
            };
        }
        Err(_) => {
            let within = CONNECT_WITHIN.as_secs();
            return Found::Unreachable(format!("no connection within {within} s"));
        }
    };
    // A server that closes before it has read all says so with its answer, or by closing.
    let _ = stream.write_all(GREETING).await;
    let mut heard = Vec::new();
    let hearing = async {
        let mut bytes = [0; 64];
        while heard.len() < 9 {
            match stream.read(&mut bytes).await {
                Ok(count @ 1..) => heard.extend_from_slice(&bytes[..count]),
                _ => return,
            }
        }
    };
    let in_time = tokio::time::timeout(SPEAKS_WITHIN, hearing).await.is_ok();
    match (heard.is_empty(), in_time) {
        (true, true) => Found::Closes,
        (true, false) => Found::Silent,
        _ => recognised(&heard),
    }
}

/// By the first bytes that a server says.
fn recognised(heard: &[u8]) -> Found {
    let is_reply = heard.len() > 3
        && heard[..3].iter().all(u8::is_ascii_digit)
        && matches!(heard[3], b' ' | b'-');
    match heard {
        _ if is_reply => Found::Smtp,
        _ if heard.starts_with(b"HTTP/1") => Found::Web,
        // An alert or a handshake of some version of TLS.
        [0x15 | 0x16, 3, ..] => Found::Tls,
        // A frame of settings.
        [_, _, _, 4, ..] => Found::Plain,
        _ => Found::Other(String::from_utf8_lossy(&heard[..heard.len().min(32)]).into_owned()),
    }
}

impl Found {
    /// What is wrong and what to do; `cause` is what the call failed of.
    fn in_words(&self, target: &Target, cause: &str) -> (String, String) {
        let (host, at) = (&target.host, target.authority());
        let port = "the admin API is at admin.listen of the node's configuration, port 7001 unless set otherwise";
        match self {
            Self::NoName(why) => (
                format!("{host} cannot be found ({why})"),
                "look for a slip in --server, or give the node's IP address".to_owned(),
            ),
            Self::Refused => (
                format!("nothing listens at {at}"),
                format!("is the node running? {port}"),
            ),
            Self::Unreachable(why) => (
                format!("{at} cannot be reached ({why})"),
                "is the machine up, the address right, and does a firewall let this port pass?".to_owned(),
            ),
            Self::Silent => (
                format!("{at} takes connections and says nothing"),
                "the node stands still or is overloaded (its log says which), or something else has this port"
                    .to_owned(),
            ),
            Self::Closes if target.is_tls => (
                format!("{at} ends the connection without a word ({cause})"),
                "if the node has just been started, try again; else see its log".to_owned(),
            ),
            Self::Closes => (
                format!("{at} ends connections without TLS"),
                format!("use https://{at} with --ca, --cert and --key"),
            ),
            Self::Smtp => (
                format!("{at} speaks SMTP: it is a port for mail"),
                port.to_owned(),
            ),
            Self::Web => (
                format!("{at} is a web server, such as the node's http.listen with its metrics"),
                port.to_owned(),
            ),
            Self::Tls if target.is_tls => (
                cause.to_owned(),
                "the node answers: try again, and see its log if that fails".to_owned(),
            ),
            Self::Tls => (
                format!("{at} speaks TLS"),
                format!("use https://{at} with --ca, --cert and --key"),
            ),
            Self::Plain if target.is_tls => (
                format!("{at} does not speak TLS"),
                format!("use http://{at}"),
            ),
            Self::Plain => (
                format!("the connection broke ({cause}), and {at} answers again"),
                "try again; what was asked for may have been done".to_owned(),
            ),
            Self::Other(heard) => (
                format!("{at} is no node of Skein: it says {heard:?}"),
                port.to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        for (server, host, port) in [
            ("http://127.0.0.1:7001", "127.0.0.1", 7001),
            (
                "https://control-0.skein.svc:7001/",
                "control-0.skein.svc",
                7001,
            ),
            ("http://[::1]:7001", "::1", 7001),
        ] {
            let target = Target::parse(server).unwrap();
            assert_eq!(
                (target.host.as_str(), target.port),
                (host, port),
                "{server}"
            );
            assert_eq!(
                format!("http://{}", target.authority())
                    .parse::<tonic::transport::Uri>()
                    .unwrap()
                    .port_u16(),
                Some(port)
            );
        }
        for (server, expected) in [
            ("127.0.0.1:7001", "http://"),
            ("", "http://"),
            ("ftp://host:7001", "neither http:// nor https://"),
            ("http://host", "no port"),
            ("http://host:", "no port"),
            ("http://host:99999", "no port"),
            ("http://host:0", "no port"),
            ("http://:7001", "no host"),
            ("http://a b:7001", "no host"),
        ] {
            let error = Target::parse(server).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("like http://"),
                "{error}"
            );
        }
    }

    #[test]
    fn servers_are_known_by_their_first_bytes() {
        for (heard, expected) in [
            (&b"220 mx.example.test ESMTP"[..], Found::Smtp),
            (b"554-no", Found::Smtp),
            (b"HTTP/1.1 400 Bad Request", Found::Web),
            (b"\x15\x03\x03\x00\x02\x02\x32", Found::Tls),
            (b"\x00\x00\x18\x04\x00\x00\x00\x00\x00", Found::Plain),
            (b"SSH-2.0-OpenSSH", Found::Other("SSH-2.0-OpenSSH".into())),
            (b"2", Found::Other("2".into())),
        ] {
            assert_eq!(recognised(heard), expected, "{heard:?}");
        }
    }
}

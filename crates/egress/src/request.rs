//! What a sender asks for.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{HeaderMap, Method, http};

use crate::dial::canonical;
use crate::protocol::{EPOCH, IP, TIMEOUT_MS};
use crate::refused::Refused;

/// A connection attempt that takes longer holds a socket for nothing: Linux itself gives up after 127 s.
pub const CONNECT_MAX: Duration = Duration::from_secs(120);
/// For a sender that says nothing about it.
const CONNECT_DEFAULT: Duration = Duration::from_secs(60);
/// Longer than any name of a resource, and short enough to be in answers and logs.
const NAME_BYTES_MAX: usize = 253;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name of the IP resource.
    pub ip: String,
    /// Under which the sender believes that the IP is here.
    pub epoch: u64,
    pub target: SocketAddr,
    /// For the connection attempt.
    pub timeout: Duration,
}

impl Request {
    /// # Errors
    /// It is no CONNECT (405), or something in it cannot be read (400).
    pub fn read(head: &http::request::Parts) -> Result<Self, Refused> {
        if head.method != Method::CONNECT {
            return Err(Refused::Method);
        }
        let ip = required(&head.headers, IP)?;
        if ip.is_empty() || ip.len() > NAME_BYTES_MAX {
            return Err(bad(IP));
        }
        let epoch = required(&head.headers, EPOCH)?;
        Ok(Self {
            ip: ip.to_owned(),
            epoch: epoch.parse().map_err(|_| bad(EPOCH))?,
            target: target(&head.uri)?,
            timeout: timeout(&head.headers)?,
        })
    }
}

fn bad(header: &'static str) -> Refused {
    Refused::Malformed(format!("{header} is missing or cannot be read"))
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad(name)),
        (Some(_), Some(_)) => Err(Refused::Malformed(format!("{name} is there twice"))),
    }
}

fn required<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refused> {
    text(headers, name)?.ok_or_else(|| bad(name))
}

/// An address, never a name: the sender has resolved it, and has decided that it may be connected to.
fn target(uri: &hyper::Uri) -> Result<SocketAddr, Refused> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let target: SocketAddr = authority.parse().map_err(|_| {
        Refused::Malformed("the target must be an IP address with a port".to_owned())
    })?;
    if target.port() == 0 {
        return Err(Refused::Malformed("the target has no port".to_owned()));
    }
    Ok(canonical(target))
}

fn timeout(headers: &HeaderMap) -> Result<Duration, Refused> {
    let Some(text) = text(headers, TIMEOUT_MS)? else {
        return Ok(CONNECT_DEFAULT);
    };
    let ms: u64 = text.parse().map_err(|_| bad(TIMEOUT_MS))?;
    Ok(Duration::from_millis(ms).clamp(Duration::from_millis(1), CONNECT_MAX))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(
        method: &str,
        target: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Request, Refused> {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Request::read(&request.body(()).unwrap().into_parts().0)
    }

    const NAMED: [(&str, &str); 2] = [(IP, "ip-1"), (EPOCH, "7")];

    #[test]
    fn a_request_names_the_ip_its_epoch_and_an_address() {
        for (target, timeout, expected) in [
            ("192.0.2.1:25", None, ("192.0.2.1:25", 60_000)),
            (
                "[2001:db8::1]:25",
                Some("5000"),
                ("[2001:db8::1]:25", 5_000),
            ),
            (
                "[::ffff:192.0.2.1]:25",
                Some("900000"),
                ("192.0.2.1:25", 120_000),
            ),
            ("192.0.2.1:2525", Some("0"), ("192.0.2.1:2525", 1)),
        ] {
            let mut headers = NAMED.to_vec();
            headers.extend(timeout.map(|ms| (TIMEOUT_MS, ms)));
            let request = read("CONNECT", target, &headers).unwrap();
            let expected = Request {
                ip: "ip-1".into(),
                epoch: 7,
                target: expected.0.parse().unwrap(),
                timeout: Duration::from_millis(expected.1),
            };
            assert_eq!(request, expected);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_what_is_wrong() {
        let long = "x".repeat(254);
        for (target, headers) in [
            ("mx.example.com:25", &NAMED[..]),
            ("localhost:25", &NAMED[..]),
            ("192.0.2.1:0", &NAMED[..]),
            ("user@192.0.2.1:25", &NAMED[..]),
            ("192.0.2.1:25", &NAMED[..1]),
            ("192.0.2.1:25", &NAMED[1..]),
            ("192.0.2.1:25", &[(IP, "ip-1"), (EPOCH, "-1")]),
            ("192.0.2.1:25", &[(IP, ""), (EPOCH, "1")]),
            ("192.0.2.1:25", &[(IP, long.as_str()), (EPOCH, "1")]),
            ("192.0.2.1:25", &[(IP, "ip-1"), (IP, "ip-2"), (EPOCH, "7")]),
            (
                "192.0.2.1:25",
                &[(IP, "ip-1"), (EPOCH, "7"), (TIMEOUT_MS, "soon")],
            ),
        ] {
            let refused = read("CONNECT", target, headers).unwrap_err();
            assert!(
                matches!(refused, Refused::Malformed(_)),
                "{target} {headers:?}"
            );
        }
        let refused = read("GET", "http://192.0.2.1:25/", &NAMED).unwrap_err();
        assert_eq!(refused, Refused::Method);
    }
}

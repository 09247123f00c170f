//! Where mail to an address that the cluster hosts goes.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use skein_credential::SigningSecret;

use crate::ip::MASK;
use crate::names::host_name;
use crate::place::At;
use crate::provider::Tls;
use crate::read::{Keys, Reader};
use crate::signing_secret;
use crate::write::Map;

/// Hosts of one destination: an attempt tries eight addresses, so more names would never be reached.
const HOSTS_MAX: usize = 8;
/// Fields beside ours; each goes with each message.
const HEADERS_MAX: usize = 16;
const HEADER_BYTES_MAX: usize = 1024;
/// RFC 9110 4.1 wants 8000 octets; no receiver needs a tenth.
const URL_BYTES_MAX: usize = 1024;
/// No path that is mounted is a tenth as long.
const PATH_BYTES_MAX: usize = 1024;
/// RFC 2033 3: there is no usual port but the one that is not SMTP's.
const LMTP_PORT: u16 = 24;
const SMTP_PORT: u16 = 25;
/// How long a receiver may take for its answer, in seconds; Standard Webhooks advises 15 to 30.
const TIMEOUT: u64 = 30;
const TIMEOUT_MAX: u64 = 300;

/// A host with a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// A name in lower case, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What takes the mail, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Forwarded, with its sender.
    Smtp(Hosts),
    /// Into mailboxes (RFC 2033).
    Lmtp(Hosts),
    /// To a program.
    Http(Webhook),
    /// Nowhere: taken, recorded, and not kept.
    Discard,
}

/// Tried in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// One at least.
    pub hosts: Vec<HostPort>,
    pub tls: Tls,
    /// An ARC set is added (RFC 8617).
    pub arc: bool,
}

/// One POST for each message and destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    pub url: Url,
    /// What signs each request (Standard Webhooks 1.0); without any, none is signed.
    pub secrets: Vec<SigningSecret>,
    /// Each sender has them in a file instead, which it reads for each request.
    pub secret_file: Option<PathBuf>,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// The receiver may be on an address that is not public.
    pub allow_private: bool,
    /// For the whole answer.
    pub timeout: Duration,
}

/// `https://host[:port]/path?query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub is_https: bool,
    pub host: String,
    pub port: u16,
    /// With the query, as it goes into the request.
    pub path: String,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        let form = "must be a URL such as https://hooks.example.com/inbound";
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(form.into()),
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if text.len() > URL_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(format!("{form}, of up to {URL_BYTES_MAX} plain characters"));
        }
        if text.contains('#') {
            return Err("has a fragment (#), which no receiver sees: leave it out".into());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(
                "has a user: give what logs in as a field, such as headers: ['Authorization: ...']"
                    .into(),
            );
        }
        let port = if is_https { 443 } else { 80 };
        let HostPort { host, port } = host_port(authority, port).map_err(|_| form.to_owned())?;
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Self {
            is_https,
            host,
            port,
            path,
        })
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// What limits count as one destination.
    pub fn origin(&self) -> String {
        let at = HostPort {
            host: self.host.clone(),
            port: self.port,
        };
        format!("{}://{at}", self.scheme())
    }

    /// The value of the Host field (RFC 9110 7.2).
    pub fn host_field(&self) -> String {
        let usual = if self.is_https { 443 } else { 80 };
        let at = HostPort {
            host: self.host.clone(),
            port: self.port,
        };
        let whole = at.to_string();
        match self.port == usual {
            true => whole
                .trim_end_matches(char::is_numeric)
                .trim_end_matches(':')
                .to_owned(),
            false => whole,
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.host_field(), self.path)
    }
}

/// Senders have different working directories, so the path is whole.
fn file(text: &str) -> Result<PathBuf, String> {
    let is_path = text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control);
    match is_path && text.len() <= PATH_BYTES_MAX {
        true => Ok(PathBuf::from(text)),
        false => Err("must be a whole path, such as /run/skein/webhook-secret".into()),
    }
}

/// `host`, `host:port`, `192.0.2.1:24`, `[2001:db8::1]:24` or `2001:db8::1`.
fn host_port(text: &str, usual: u16) -> Result<HostPort, String> {
    let form =
        "must be host or host:port, such as mail.example.com:24, 192.0.2.1 or [2001:db8::1]:24";
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        let host = text.to_ascii_lowercase();
        return Ok(HostPort { host, port: usual });
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or(form)?;
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| form)?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or(form)?),
            };
            (inside.to_ascii_lowercase(), port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            (host_name(host).map_err(|_| form)?, port)
        }
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().ok().filter(|port| *port != 0)
        }
        Some(_) => None,
        None => Some(usual),
    };
    let port = port.ok_or(form)?;
    Ok(HostPort { host, port })
}

/// A field name (RFC 9110 5.1) with a value; not one of those that are ours or of the transfer.
fn header(text: &str) -> Result<(String, String), String> {
    let form = "must be a field such as 'X-Team: mail'";
    let (name, value) = text.split_once(':').ok_or(form)?;
    let value = value.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_plain) {
        return Err(form.into());
    }
    if text.len() > HEADER_BYTES_MAX {
        return Err(format!("is longer than {HEADER_BYTES_MAX} bytes"));
    }
    if value == MASK {
        return Err("has what stands for a value in what was printed: give the value".into());
    }
    let lower = name.to_ascii_lowercase();
    let ours = ["webhook-", "x-skein-", "content-"];
    let of_transfer = [
        "host",
        "connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-connection",
        "user-agent",
    ];
    if ours.iter().any(|ours| lower.starts_with(ours)) || of_transfer.contains(&lower.as_str()) {
        return Err(format!("may not be {name}: it is set by the sender"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl Destination {
    /// What the keys of one entry say, of which one names the destination.
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        let smtp = keys.list(reader, "smtp", HOSTS_MAX, |text| host_port(text, SMTP_PORT));
        let lmtp = keys.list(reader, "lmtp", HOSTS_MAX, |text| host_port(text, LMTP_PORT));
        let http = keys.value(reader, "http", Url::parse);
        let discard = keys.is_set(reader, "discard");
        let tls = keys.value(reader, "tls", Tls::read);
        let arc = keys.is_set(reader, "arc");
        let secrets = keys.list(
            reader,
            "signing_secret",
            SigningSecret::MAX,
            signing_secret::parse,
        );
        let secret_file = keys.value(reader, "signing_secret_file", file);
        if let Some(line) = keys
            .line_of("signing_secret_file")
            .filter(|_| keys.has("signing_secret"))
        {
            let path = keys.path("signing_secret_file");
            reader.fault(
                line,
                &path,
                "contradicts signing_secret: leave one of them out",
            );
        }
        let headers = keys.list(reader, "headers", HEADERS_MAX, header);
        let allow_private = keys.is_set(reader, "allow_private");
        let timeout = keys.value(reader, "timeout", timeout);
        let named = ["smtp", "lmtp", "http", "discard"];
        let given: Vec<&str> = named.into_iter().filter(|key| keys.has(key)).collect();
        let [given] = given.as_slice() else {
            let message = "must name one destination: smtp: host:port, lmtp: host:port, http: https://host/path, or \
                           discard: true";
            let path = keys.path("");
            reader.fault(keys.line, path.trim_end_matches('.'), message);
            return None;
        };
        check_options(reader, keys, given);
        let hosts = |hosts: Vec<At<HostPort>>, tls: Option<At<Tls>>| Hosts {
            hosts: hosts.into_iter().map(|host| host.value).collect(),
            tls: tls.map(|tls| tls.value).unwrap_or_default(),
            arc,
        };
        match *given {
            "smtp" => Some(Self::Smtp(hosts(filled(reader, keys, "smtp", smtp)?, tls))),
            "lmtp" => Some(Self::Lmtp(hosts(filled(reader, keys, "lmtp", lmtp)?, tls))),
            "http" => {
                let url = http?;
                if !url.value.is_https && !allow_private {
                    let message = "must begin with https://; a receiver in your own network may have http:// with \
                                   allow_private: true";
                    reader.fault(url.origin.place.line, &url.origin.key, message);
                    return None;
                }
                let values = |all: Option<Vec<At<SigningSecret>>>| {
                    let all = all.unwrap_or_default().into_iter();
                    all.map(|one| one.value).collect()
                };
                let headers = headers.unwrap_or_default().into_iter();
                Some(Self::Http(Webhook {
                    url: url.value,
                    secrets: values(secrets),
                    secret_file: secret_file.map(|file| file.value),
                    headers: headers.map(|one| one.value).collect(),
                    allow_private,
                    timeout: timeout.map_or(Duration::from_secs(TIMEOUT), |one| one.value),
                }))
            }
            _ if discard => Some(Self::Discard),
            _ => {
                let path = keys.path("discard");
                let line = keys.line_of("discard").unwrap_or(keys.line);
                reader.fault(line, &path, "must be true: leave it out otherwise");
                None
            }
        }
    }

    /// The site that limits count it as.
    pub fn site(&self) -> String {
        match self {
            Self::Smtp(hosts) => first(hosts),
            Self::Lmtp(hosts) => format!("lmtp://{}", first(hosts)),
            Self::Http(webhook) => webhook.url.origin(),
            Self::Discard => "discard".into(),
        }
    }

    /// What it is, for metrics and people.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Smtp(_) => "smtp",
            Self::Lmtp(_) => "lmtp",
            Self::Http(_) => "http",
            Self::Discard => "discard",
        }
    }

    /// Whether mail to it gets an ARC set.
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Smtp(hosts) if hosts.arc)
    }

    pub(crate) fn masked(&self) -> Self {
        match self {
            Self::Http(webhook) => Self::Http(Webhook {
                secrets: webhook
                    .secrets
                    .iter()
                    .map(|_| signing_secret::masked())
                    .collect(),
                headers: webhook
                    .headers
                    .iter()
                    .map(|(name, _)| (name.clone(), MASK.to_owned()))
                    .collect(),
                ..webhook.clone()
            }),
            other => other.clone(),
        }
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        match self {
            Self::Smtp(hosts) => hosts.write("smtp", map),
            Self::Lmtp(hosts) => hosts.write("lmtp", map),
            Self::Http(webhook) => {
                let headers = webhook.headers.iter();
                let headers = headers.map(|(name, value)| format!("{name}: {value}"));
                let seconds = webhook.timeout.as_secs();
                map.set("http", &webhook.url)
                    .list(
                        "signing_secret",
                        webhook.secrets.iter().map(SigningSecret::expose),
                    )
                    .set_if(
                        "signing_secret_file",
                        webhook.secret_file.as_ref().map(|file| file.display()),
                    )
                    .list("headers", headers)
                    .set_if("allow_private", webhook.allow_private.then_some(true))
                    .set_if(
                        "timeout",
                        (seconds != TIMEOUT).then(|| format!("{seconds}s")),
                    )
            }
            Self::Discard => map.set("discard", true),
        }
    }
}

impl Hosts {
    fn write(&self, key: &str, map: Map) -> Map {
        map.list(key, &self.hosts)
            .set_if("tls", (self.tls != Tls::default()).then(|| self.tls.name()))
            .set_if("arc", self.arc.then_some(true))
    }
}

fn first(hosts: &Hosts) -> String {
    hosts
        .hosts
        .first()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// A list that has entries.
fn filled(
    reader: &mut Reader,
    keys: &Keys<'_>,
    key: &str,
    list: Option<Vec<At<HostPort>>>,
) -> Option<Vec<At<HostPort>>> {
    if keys.is_empty_list(key) {
        let path = keys.path(key);
        let line = keys.line_of(key).unwrap_or(keys.line);
        reader.fault(line, &path, "is empty: name a host");
    }
    list.filter(|list| !list.is_empty())
}

/// Options that go with some destinations only.
fn check_options(reader: &mut Reader, keys: &Keys<'_>, given: &str) {
    let options: [(&str, &[&str]); 7] = [
        ("tls", &["smtp", "lmtp"]),
        ("arc", &["smtp"]),
        ("signing_secret", &["http"]),
        ("signing_secret_file", &["http"]),
        ("headers", &["http"]),
        ("allow_private", &["http"]),
        ("timeout", &["http"]),
    ];
    for (option, with) in options {
        if let Some(line) = keys.line_of(option).filter(|_| !with.contains(&given)) {
            let path = keys.path(option);
            let message = format!("goes with {} only: leave it out", with.join(" and "));
            reader.fault(line, &path, message);
        }
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let span = crate::span::parse(text)?;
    let seconds = span.0 / 1000;
    match (1..=TIMEOUT_MAX).contains(&seconds) {
        true => Ok(Duration::from_secs(seconds)),
        false => Err(format!("must be 1s to {TIMEOUT_MAX}s")),
    }
}

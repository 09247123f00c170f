//! Settings of an endpoint: one receiver of events.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use skein_credential::SigningSecret;
use skein_model::meta::is_tenant_name;
use skein_model::{DurationMs, nearest};

use crate::event::{EventType, Filter};
use crate::guard::Guard;
use crate::url::Url;

/// Events of one request.
pub const BATCH_EVENTS_MAX: usize = 1000;
const BATCH_EVENTS: usize = 100;
/// Octets of one request's body. Receivers' frameworks refuse from about 1 MB on, and a sender has as many bodies in memory as
/// requests in flight.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// Below this, most events would go alone in spite of a batch's size.
const BATCH_BYTES_MIN: usize = 4 << 10;
/// What Standard Webhooks advises for the whole answer, in seconds.
const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 15..=30;
const TIMEOUT: DurationMs = DurationMs::from_secs(20);
/// More streams than a tenant tells apart.
const STREAMS_MAX: usize = 32;
/// Networks and ports of one's own that receivers are in; each is looked at for each connection.
const NETWORKS_MAX: usize = 32;
const PORTS_MAX: usize = 16;
/// A network that is wider holds no single owner's addresses: 10.0.0.0/8, fc00::/7.
const PREFIX_MIN_V4: u8 = 8;
const PREFIX_MIN_V6: u8 = 7;

/// What people write. Where nothing is given, a default holds.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub name: String,
    pub url: String,
    pub tenant: Option<String>,
    pub types: Vec<String>,
    pub streams: Vec<String>,
    pub batch_events: Option<usize>,
    pub batch_bytes: Option<usize>,
    pub timeout: Option<DurationMs>,
    /// The one in use and the one that comes after it.
    pub secrets: Vec<Secret>,
    pub is_paused: bool,
    pub allow_private: Vec<String>,
    pub allow_ports: Vec<u16>,
    pub allow_http: bool,
    pub after_dead_letter: Option<String>,
}

/// The text of a secret, which `Debug` does not show.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What is wrong with a key of settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {message}")]
pub struct Fault {
    pub key: &'static str,
    /// What it must be, with an example.
    pub message: String,
}

/// What follows when a batch was tried for as long as the schedule goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AfterDeadLetter {
    /// Nothing goes to the endpoint until an operator resumes it.
    #[default]
    Pause,
    /// The next batch is tried.
    Continue,
}

impl AfterDeadLetter {
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "pause" => Some(Self::Pause),
            "continue" => Some(Self::Continue),
            _ => None,
        }
    }
}

/// How much goes into one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    pub events: usize,
    /// Of the body. One event that has more goes alone.
    pub bytes: usize,
}

/// Settings without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    pub url: Url,
    pub filter: Filter,
    pub limits: BatchLimits,
    /// For the whole answer.
    pub timeout: DurationMs,
    /// One at least: receivers must know who calls them.
    pub secrets: Vec<SigningSecret>,
    /// By an operator, in settings.
    pub is_paused: bool,
    pub guard: Guard,
    pub after_dead_letter: AfterDeadLetter,
}

impl Endpoint {
    /// # Errors
    /// All faults.
    pub fn new(settings: &Settings) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let name = faults.checked("name", name(&settings.name));
        let url = faults.checked("url", Url::parse(&settings.url));
        let filter = filter(&mut faults, settings);
        let limits = limits(&mut faults, settings);
        let timeout = faults.checked("timeout", timeout(settings.timeout));
        let secrets = faults.checked("secrets", secrets(&settings.secrets));
        let guard = guard(&mut faults, settings);
        let after = settings.after_dead_letter.as_deref();
        let after = faults.checked("after_dead_letter", after_dead_letter(after));
        if let (Some(url), Some(guard)) = (&url, &guard) {
            let checked = guard.check_url(url, settings.allow_http);
            faults.checked("url", checked.map_err(|refused| refused.to_string()));
        }
        let made = || {
            Some(Self {
                name: name?,
                url: url?,
                filter: filter?,
                limits: limits?,
                timeout: timeout?,
                secrets: secrets?,
                is_paused: settings.is_paused,
                guard: guard?,
                after_dead_letter: after?,
            })
        };
        match made() {
            Some(endpoint) if faults.0.is_empty() => Ok(endpoint),
            _ => Err(faults.0),
        }
    }
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    /// The value; none if it has a fault, which is told.
    fn checked<T>(&mut self, key: &'static str, read: Result<T, String>) -> Option<T> {
        read.map_err(|message| self.0.push(Fault { key, message }))
            .ok()
    }
}

fn name(text: &str) -> Result<String, String> {
    is_tenant_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| {
            "must be up to 64 letters, digits, \".\", \"-\" or \"_\", such as: name: crm".into()
        })
}

fn name_of_tenant(text: &str) -> Result<String, String> {
    is_tenant_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "must be the name of a tenant, such as: tenant: shop; without it, events of all tenants are told".into())
}

fn filter(faults: &mut Faults, settings: &Settings) -> Option<Filter> {
    let tenant = settings.tenant.as_deref().map(name_of_tenant);
    let tenant = faults.checked("tenant", tenant.transpose());
    let types = settings.types.iter().map(|text| event_type(text));
    let types = faults.checked("types", types.collect());
    let streams = faults.checked("streams", streams(&settings.streams));
    Some(Filter {
        tenant: tenant?,
        types: types?,
        streams: streams?,
    })
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::of_name(text).ok_or_else(|| {
        let names = EventType::ALL.map(EventType::name);
        let meant = nearest(text, names);
        let meant = meant.map(|name| format!("; did you mean {name}?"));
        let meant = meant.unwrap_or_default();
        // What is shown is cut: a mistaken text can be a file.
        let shown: String = text.chars().take(64).collect();
        format!(
            "has {shown:?}, which is no type of events: they are {}{meant}",
            names.join(", ")
        )
    })
}

fn streams(names: &[String]) -> Result<BTreeSet<String>, String> {
    match names.len() <= STREAMS_MAX && names.iter().all(|name| is_tenant_name(name)) {
        true => Ok(names.iter().cloned().collect()),
        false => Err(format!(
            "must be up to {STREAMS_MAX} names of streams, such as: streams: [receipts]; without it, all are told"
        )),
    }
}

fn limits(faults: &mut Faults, settings: &Settings) -> Option<BatchLimits> {
    let within =
        |given: usize, min: usize, max: usize, example: &str| match given >= min && given <= max {
            true => Ok(given),
            false => Err(format!("must be {min} to {max}, such as: {example}")),
        };
    let events = settings.batch_events.unwrap_or(BATCH_EVENTS);
    let events = within(events, 1, BATCH_EVENTS_MAX, "batch_events: 100");
    let bytes = settings.batch_bytes.unwrap_or(BATCH_BYTES_MAX);
    let bytes = within(
        bytes,
        BATCH_BYTES_MIN,
        BATCH_BYTES_MAX,
        "batch_bytes: 65536",
    );
    let events = faults.checked("batch_events", events);
    let bytes = faults.checked("batch_bytes", bytes)?;
    Some(BatchLimits {
        events: events?,
        bytes,
    })
}

fn timeout(given: Option<DurationMs>) -> Result<DurationMs, String> {
    let (min, max) = (*TIMEOUT_SECONDS.start(), *TIMEOUT_SECONDS.end());
    let timeout = given.unwrap_or(TIMEOUT);
    match (DurationMs::from_secs(min)..=DurationMs::from_secs(max)).contains(&timeout) {
        true => Ok(timeout),
        false => Err(format!("must be {min}s to {max}s, such as: timeout: 20s")),
    }
}

fn secrets(given: &[Secret]) -> Result<Vec<SigningSecret>, String> {
    let max = SigningSecret::MAX;
    match (1..=max).contains(&given.len()) {
        true => given
            .iter()
            .map(|secret| SigningSecret::parse(&secret.0))
            .collect(),
        false => Err(format!(
            "must be the secret in use, and the one that comes after it: 1 to {max}, such as: secrets: [whsec_...], as of: \
             echo whsec_$(openssl rand -base64 32)"
        )),
    }
}

fn guard(faults: &mut Faults, settings: &Settings) -> Option<Guard> {
    let networks = match settings.allow_private.len() <= NETWORKS_MAX {
        true => settings
            .allow_private
            .iter()
            .map(|text| network(text))
            .collect(),
        false => Err(format!(
            "has too many networks: {NETWORKS_MAX} at most, such as: allow_private: [10.0.0.0/8]"
        )),
    };
    let is_port = |port: &u16| *port != 0;
    let are_ports =
        settings.allow_ports.len() <= PORTS_MAX && settings.allow_ports.iter().all(is_port);
    let ports = are_ports.then(|| settings.allow_ports.clone());
    let ports = ports.ok_or_else(|| {
        format!("must be up to {PORTS_MAX} ports of 1 to 65535, such as: allow_ports: [9443]")
    });
    let ports = faults.checked("allow_ports", ports);
    let networks: Option<Vec<IpNet>> = faults.checked("allow_private", networks);
    let is_missing = networks.as_ref().is_some_and(Vec::is_empty);
    if settings.allow_http && is_missing {
        let message = "goes with allow_private, which names the networks that http:// may go to, such as: allow_private: [10.0.0.0/8]";
        faults.checked::<()>("allow_http", Err(message.into()));
    }
    Some(Guard {
        networks: networks?,
        ports: ports?,
    })
}

fn network(text: &str) -> Result<IpNet, String> {
    let form = "must be networks of your own, such as: allow_private: [10.0.0.0/8, fd12:3456::/32]";
    let net: IpNet = text.parse().map_err(|_| form)?;
    let (min, is_mapped) = match net {
        IpNet::V4(_) => (PREFIX_MIN_V4, false),
        IpNet::V6(v6) => (PREFIX_MIN_V6, v6.addr().to_ipv4_mapped().is_some()),
    };
    match net {
        net if net.prefix_len() < min => Err(format!("has {net}, which is too wide: it {form}")),
        net if is_mapped => Err(format!(
            "has {net}: write networks of IPv4 as such; it {form}"
        )),
        net => Ok(net.trunc()),
    }
}

fn after_dead_letter(given: Option<&str>) -> Result<AfterDeadLetter, String> {
    let Some(text) = given else {
        return Ok(AfterDeadLetter::default());
    };
    AfterDeadLetter::of_name(text)
        .ok_or_else(|| "must be pause or continue, such as: after_dead_letter: pause".into())
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;

//! Looks whether the source IPs of this node are fit to send, and tells the control plane. What is wrong is shown and
//! stops nothing: hosts decide for themselves what they make of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use parking_lot::RwLock;
use skein_client::{IpCheck, KeptSession, ip_fault};
use skein_dns::{ResolveError, Resolver};
use skein_model::meta::FAULTS_BYTES_MAX;
use skein_model::preflight::{Answer, Fault, Looked, Subject, dnsbl_name, judge};
use skein_model::{SessionId, UnixMs};
use skein_policy::{Ip, Policy};
use tokio::sync::watch;

use crate::source_ip::sources::is_present;
use crate::wall_clock::now;

/// DNS changes within hours, and lists do not like to be asked more often.
const AGAIN: Duration = Duration::from_secs(600);
/// Each check comes up to a tenth earlier, so that those of many IPs do not stay together.
const JITTER: f64 = 0.1;
/// A new IP is looked at within this time.
const LOOK: Duration = Duration::from_secs(2);
/// IPs that are looked at together; each asks three questions and one for each list.
const TOGETHER: usize = 4;

/// What was found of an IP, and of what it was found: another address or name is another matter.
struct Known {
    ip: Arc<Ip>,
    at: UnixMs,
    faults: Vec<Fault>,
    again: Instant,
}

/// DNSBLs in which the public addresses of source IPs are looked up. Cheap to clone; clones change together.
#[derive(Debug, Clone)]
pub struct DnsblZones(Arc<RwLock<Vec<String>>>);

impl DnsblZones {
    pub fn new(zones: Vec<String>) -> Self {
        Self(Arc::new(RwLock::new(zones)))
    }

    pub fn get(&self) -> Vec<String> {
        self.0.read().clone()
    }

    /// Each IP is looked up in these when its turn comes.
    pub fn set(&self, zones: Vec<String>) {
        *self.0.write() = zones;
    }
}

/// Looks as long as the session is kept.
pub async fn look_after(
    resolver: Arc<Resolver>,
    zones: DnsblZones,
    policy: watch::Receiver<Arc<Policy>>,
    session: Arc<KeptSession>,
) {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut told_to = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(own) = session.session.borrow().id else {
            continue;
        };
        let ips = own_ips(own, &policy.borrow().clone(), &session);
        let before = known.len();
        known.retain(|name, _| ips.contains_key(name));
        let due: Vec<Arc<Ip>> = ips.into_values().filter(|ip| is_due(&known, ip)).collect();
        let is_told = told_to == Some(own) && known.len() == before;
        // Of a new session nothing is known, and so of one without IPs nothing need be said.
        let has_nothing = known.is_empty() && before == 0;
        if due.is_empty() && (is_told || has_nothing) {
            continue;
        }
        let zones = zones.get();
        let mut looks = stream::iter(due)
            .map(|ip| look(&resolver, &zones, ip))
            .buffer_unordered(TOGETHER);
        while let Some((ip, faults)) = looks.next().await {
            if let Some(first) = faults.first() {
                let (name, more) = (&ip.name, faults.len() - 1);
                tracing::warn!(ip = %name, fault = first.text, more, "a source IP is not fit to send");
            }
            let early = AGAIN.mul_f64(JITTER * rand::random::<f64>());
            let found = Known {
                at: now(),
                faults,
                again: Instant::now() + AGAIN - early,
                ip,
            };
            known.insert(found.ip.name.to_string(), found);
        }
        match session.tell_ip_checks(told(&known)).await {
            Ok(()) => told_to = Some(own),
            Err(error) => {
                tracing::debug!(%error, "what was found of source IPs could not be told yet");
                told_to = None;
            }
        }
    }
}

/// Those that are at this node, and those behind proxies, which are at every node.
fn own_ips(own: SessionId, policy: &Policy, session: &KeptSession) -> BTreeMap<String, Arc<Ip>> {
    let placed = session.ips.borrow().clone();
    let is_own = |ip: &Ip| {
        let at = placed.ips.get(&*ip.name);
        ip.proxy.is_some() || at.is_some_and(|at| at.session == own.0)
    };
    let ips = policy.ips().filter(|ip| is_own(ip));
    ips.map(|ip| (ip.name.to_string(), ip.clone())).collect()
}

fn is_due(known: &BTreeMap<String, Known>, ip: &Arc<Ip>) -> bool {
    let known = known.get(&*ip.name);
    known.is_none_or(|known| known.ip != *ip || Instant::now() >= known.again)
}

async fn look(resolver: &Resolver, zones: &[String], ip: Arc<Ip>) -> (Arc<Ip>, Vec<Fault>) {
    let ptr = match resolver.pointer(ip.public).await {
        Ok(Some(name)) => Answer::Is(name),
        Ok(None) => Answer::None,
        Err(error) => Answer::Unknown(reason(&error)),
    };
    let forward = match &ptr {
        Answer::Is(name) => addresses(resolver, name).await,
        _ => Answer::None,
    };
    let mut lists = Vec::with_capacity(zones.len());
    for zone in zones {
        let answer = addresses(resolver, &dnsbl_name(ip.public, zone)).await;
        lists.push((zone.clone(), answer));
    }
    let looked = Looked {
        is_present: ip.proxy.is_none().then(|| is_present(ip.bind)),
        ptr,
        forward,
        ehlo: addresses(resolver, &ip.ehlo).await,
        lists,
    };
    let subject = Subject {
        bind: ip.bind,
        public: ip.public,
        ehlo: &ip.ehlo,
    };
    let faults = judge(subject, &looked);
    (ip, faults)
}

async fn addresses(resolver: &Resolver, name: &str) -> Answer<Vec<IpAddr>> {
    // The dot keeps the machine's own search domains out.
    let name = format!("{}.", name.trim_end_matches('.'));
    match resolver.addresses(&name).await {
        Ok(addresses) => Answer::Is(addresses),
        Err(error) if error.is_permanent() => Answer::None,
        Err(error) => Answer::Unknown(reason(&error)),
    }
}

fn reason(error: &ResolveError) -> String {
    error.text().to_owned()
}

/// As it is told: with one fault for each IP once there are too many to be kept.
fn told(known: &BTreeMap<String, Known>) -> Vec<IpCheck> {
    let mut bytes = 0;
    let told = known.iter().map(|(name, known)| {
        let faults = known.faults.iter();
        bytes += faults.clone().map(|fault| fault.text.len()).sum::<usize>();
        let most = match bytes > FAULTS_BYTES_MAX / 4 {
            true => 1,
            false => usize::MAX,
        };
        let faults = faults.take(most).map(ip_fault);
        IpCheck {
            ip: name.clone(),
            at_ms: known.at.0,
            faults: faults.collect(),
        }
    });
    told.collect()
}

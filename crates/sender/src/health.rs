//! What this sender says of itself: whether name servers answer, whether hosts give connections, when certificates end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;
use skein_client::{CertificateEnd, FileFault, NameServer, Probed, SenderHealth};
use skein_dns::Resolver;
use skein_egress::dial;

use crate::smtp::connects::RecentConnects;
use crate::smtp::secret_files::SecretFiles;
use crate::wall_clock::now;

/// A name server that fails is known within half a minute, and a good one is asked seldom enough not to notice.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// One that failed is asked again sooner, to know when it is well.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Resolvers are changed by hand, or by the restart of a machine.
const VALIDATE_EVERY: Duration = Duration::from_secs(600);
/// Somebody is at it then.
const VALIDATE_AGAIN: Duration = Duration::from_secs(60);
/// A closed port says nothing; what takes longer than this is no way for mail.
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// An operator tries one host or another; what came of it is asked for at once.
const PROBES_MAX: usize = 16;
/// As long as the operator's question is open.
const PROBE_KEPT: Duration = Duration::from_secs(16);

/// Says when certificates end.
pub type CertificateEnds = Arc<dyn Fn() -> Vec<CertificateEnd> + Send + Sync>;

/// Says which files that the configuration names cannot be used, and why.
pub type FileFaults = Arc<dyn Fn() -> Vec<FileFault> + Send + Sync>;

/// Shared by the parts that see something and the one that tells.
#[derive(Default)]
pub struct Health {
    pub connects: Arc<RecentConnects>,
    pub secret_files: Arc<SecretFiles>,
    name_servers: Mutex<Vec<NameServer>>,
    validation_fault: Mutex<Option<String>>,
    certificates: OnceLock<CertificateEnds>,
    files: OnceLock<FileFaults>,
    probes: Mutex<BTreeMap<String, Probe>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

struct Probe {
    began: Instant,
    /// None while it is under way; empty if there was a connection.
    fault: Option<String>,
}

impl Health {
    /// Tells the certificates that this node shows; the first source that is set counts.
    pub fn set_certificates(&self, ends: CertificateEnds) {
        // Set once, when the node starts.
        let _ = self.certificates.set(ends);
    }

    /// Tells files of this node that cannot be used; the first source that is set counts.
    pub fn set_files(&self, faults: FileFaults) {
        // Set once, when the node starts.
        let _ = self.files.set(faults);
    }

    pub fn told(&self, needs_dns: bool) -> SenderHealth {
        let done = |(target, probe): (&String, &Probe)| {
            Some(Probed {
                target: target.clone(),
                fault: probe.fault.clone()?,
            })
        };
        SenderHealth {
            now_ms: now().0,
            name_servers: self.name_servers.lock().clone(),
            needs_dns,
            validation_fault: self.validation_fault.lock().clone().unwrap_or_default(),
            connects: Some(self.connects.summary(Instant::now())),
            certificates: self.certificates.get().map_or_else(Vec::new, |ends| ends()),
            probed: self.probes.lock().iter().filter_map(done).collect(),
            files: self.file_faults(),
        }
    }

    fn file_faults(&self) -> Vec<FileFault> {
        let mut found = self.files.get().map_or_else(Vec::new, |faults| faults());
        found.extend(self.secret_files.faults(Instant::now()));
        found
    }

    /// Begins what an operator asked for and is not under way.
    pub fn probe(self: &Arc<Self>, resolver: &Arc<Resolver>, targets: Vec<String>) {
        let mut probes = self.probes.lock();
        probes.retain(|_, probe| probe.began.elapsed() < PROBE_KEPT);
        for target in targets {
            if probes.contains_key(&target) || probes.len() >= PROBES_MAX {
                continue;
            }
            let (began, fault) = (Instant::now(), None);
            probes.insert(target.clone(), Probe { began, fault });
            let (health, resolver) = (self.clone(), resolver.clone());
            tokio::spawn(async move {
                let result = try_host(&resolver, &target).await;
                if let Some(probe) = health.probes.lock().get_mut(&target) {
                    probe.fault = Some(result.err().unwrap_or_default());
                }
            });
        }
    }

    /// Asks the name servers, again and again.
    pub async fn ask_name_servers(self: Arc<Self>, resolver: Arc<Resolver>) {
        loop {
            let asked = resolver.servers().into_iter().map(|server| async move {
                NameServer {
                    address: server.to_string(),
                    fault: skein_dns::probe(server).await.err().unwrap_or_default(),
                }
            });
            let found = join_all(asked).await;
            let all_well = found.iter().all(|server| server.fault.is_empty());
            self.note(found);
            tokio::time::sleep(if all_well { ASK_EVERY } else { ASK_AGAIN }).await;
        }
    }

    /// Finds out whether name servers that are trusted to validate do so, again and again.
    pub async fn check_validation(self: Arc<Self>, resolver: Arc<Resolver>) {
        loop {
            let found = resolver.validation_fault().await;
            let is_well = found.is_none();
            let before = std::mem::replace(&mut *self.validation_fault.lock(), found.clone());
            match found {
                Some(fault) if before.as_ref() != Some(&fault) => tracing::warn!("{fault}"),
                _ => {}
            }
            tokio::time::sleep(if is_well {
                VALIDATE_EVERY
            } else {
                VALIDATE_AGAIN
            })
            .await;
        }
    }

    fn note(&self, found: Vec<NameServer>) {
        let mut known = self.name_servers.lock();
        for server in &found {
            let was_well = known
                .iter()
                .all(|one| one.address != server.address || one.fault.is_empty());
            if was_well && !server.fault.is_empty() {
                let (server, fault) = (&server.address, &server.fault);
                tracing::warn!(server, fault, "a name server does not do its work");
            }
        }
        *known = found;
    }
}

/// Connects to `host:port` and leaves at once, as port 25 is tried by hand.
async fn try_host(resolver: &Resolver, target: &str) -> Result<(), String> {
    let (host, port) = target.rsplit_once(':').ok_or("no port is named")?;
    let port: u16 = port.parse().map_err(|_| "no port is named")?;
    let addresses = resolver.addresses(host).await;
    let addresses = addresses.map_err(|error| error.to_string())?;
    let mut last = "it has no address".to_owned();
    for ip in addresses {
        let address = SocketAddr::new(ip, port);
        match dial(None, address, PROBE_WITHIN).await {
            Ok(_) => return Ok(()),
            Err(error) => last = format!("[{ip}]:{port}: {error}"),
        }
    }
    Err(last)
}

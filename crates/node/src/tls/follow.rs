//! Files of certificates that change while the node runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use skein_client::{CertificateEnd, FileFault};
use skein_control::CertificateEnds;
use skein_sender::FileFaults;
use tokio::time::Instant;

use super::Expiry;
use super::files::{Contents, Loaded, parse, read};
use crate::config::PemFiles;

/// Reading a few small files costs nothing, and an operator that replaces them sees soon whether they are good.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A certificate that ends soon is named at the start, and then as often.
const REMIND_EVERY: Duration = Duration::from_secs(24 * 3600);

type Read = Result<Contents, String>;

/// Decides when files count as changed: when two looks in a row saw the same, because certificate and key are seldom
/// replaced in one step.
struct Changes {
    seen: Read,
    tried: Read,
}

impl Changes {
    fn new(in_use: Contents) -> Self {
        Self {
            seen: Ok(in_use.clone()),
            tried: Ok(in_use),
        }
    }

    /// What was read, if it is to be tried now: once for each change, good or bad.
    fn look(&mut self, read: Read) -> Option<Read> {
        let is_new = read == self.seen && read != self.tried;
        self.seen = read;
        is_new.then(|| {
            self.tried = self.seen.clone();
            self.seen.clone()
        })
    }
}

/// Looks after the files of all ports.
pub struct Follower {
    expires: Family<Vec<(&'static str, String)>, Gauge>,
    ends: Ends,
    faults: Faults,
}

/// Files that were changed and cannot be used, by the path of the certificate.
type Faults = Arc<Mutex<BTreeMap<PathBuf, FileFault>>>;

/// When each certificate ends, by port and path.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<BTreeMap<(&'static str, PathBuf), CertificateEnd>>>);

impl Follower {
    pub fn new(registry: &mut Registry) -> Self {
        let expires = Family::default();
        registry.register(
            "skein_certificate_expires_timestamp_seconds",
            "When the certificate of a port expires, in seconds since 1970",
            expires.clone(),
        );
        Self {
            expires,
            ends: Ends::default(),
            faults: Faults::default(),
        }
    }

    /// Says when the certificates in use end.
    pub fn ends(&self) -> CertificateEnds {
        let ends = self.ends.clone();
        Arc::new(move || {
            let mut ends: Vec<CertificateEnd> = ends.0.lock().values().cloned().collect();
            // Ports may share files.
            let mut told = BTreeSet::new();
            ends.retain(|end| told.insert(end.path.clone()));
            ends
        })
    }

    /// Says which files were changed and cannot be used.
    pub fn faults(&self) -> FileFaults {
        let faults = self.faults.clone();
        Arc::new(move || faults.lock().values().cloned().collect())
    }

    /// Hands good changes of the files to `apply`, as long as the process runs.
    pub fn follow(
        &self,
        files: PemFiles,
        loaded: Loaded,
        apply: impl Fn(&Loaded) -> anyhow::Result<()> + Send + 'static,
    ) {
        let certificate = files.certificate.path.display().to_string();
        let labels = vec![
            ("port", files.port.to_owned()),
            ("certificate", certificate),
        ];
        let told = ExpiryReport {
            gauge: self.expires.get_or_create(&labels).clone(),
            ends: self.ends.clone(),
        };
        let follow = follow(Arc::new(files), loaded, told, self.faults.clone(), apply);
        skein_runtime::task("certificates", follow);
    }
}

async fn follow(
    files: Arc<PemFiles>,
    loaded: Loaded,
    told: ExpiryReport,
    faults: Faults,
    apply: impl Fn(&Loaded) -> anyhow::Result<()>,
) {
    let port = files.port;
    let mut expires = loaded.expires;
    let mut changes = Changes::new(loaded.contents);
    told.note(&files, expires);
    let mut noted = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let of = files.clone();
        let looked = tokio::task::spawn_blocking(move || read(&of)).await;
        let looked = looked.unwrap_or_else(|error| Err(error.into()));
        let looked = looked.map_err(|error| format!("{error:#}"));
        let renewed = changes.look(looked).map(|read| renew(&files, read, &apply));
        match renewed {
            Some(Ok(new)) => {
                let certificate = files.certificate.path.display();
                tracing::info!(port, %certificate, "new connections use the new certificates");
                faults.lock().remove(&files.certificate.path);
                expires = new;
                told.note(&files, expires);
            }
            Some(Err(error)) => {
                tracing::error!(
                    port,
                    error,
                    "the changed certificates cannot be used, the former ones stay in use"
                );
                let path = files.certificate.path.clone();
                faults.lock().insert(path, fault(&files, &error));
            }
            None => {}
        }
        if noted.elapsed() > REMIND_EVERY {
            noted = Instant::now();
            told.note(&files, expires);
        }
    }
}

fn fault(files: &PemFiles, error: &str) -> FileFault {
    FileFault {
        setting: files.certificate.setting.to_owned(),
        path: files.certificate.path.display().to_string(),
        fault: format!("was changed and cannot be used, so the former one stays in use: {error}"),
    }
}

fn renew(
    files: &PemFiles,
    read: Read,
    apply: &impl Fn(&Loaded) -> anyhow::Result<()>,
) -> Result<Option<Expiry>, String> {
    let loaded = parse(files, read?).map_err(|error| format!("{error:#}"))?;
    apply(&loaded).map_err(|error| format!("{error:#}"))?;
    Ok(loaded.expires)
}

/// Where the end of a certificate is told.
struct ExpiryReport {
    gauge: Gauge,
    ends: Ends,
}

impl ExpiryReport {
    fn note(&self, files: &PemFiles, expires: Option<Expiry>) {
        let Some(expires) = expires else {
            return;
        };
        let (setting, path) = (files.certificate.setting, files.certificate.path.display());
        let seconds = u64::try_from(expires.seconds()).unwrap_or(0);
        let end = CertificateEnd {
            setting: setting.to_owned(),
            path: path.to_string(),
            at_ms: seconds.saturating_mul(1000),
        };
        let place = (files.port, files.certificate.path.clone());
        self.ends.0.lock().insert(place, end);
        self.gauge.set(expires.seconds());
        if expires.is_soon(Timestamp::now()) {
            tracing::warn!(port = files.port, certificate = %path, %expires, "the certificate ends soon, renew it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_tried_once_and_only_when_it_has_settled() {
        let of = |name: &str| -> Read { Ok(Contents::of(name)) };
        let gone = || Err("no such file".to_owned());
        let mut changes = Changes::new(Contents::of("first"));
        for (read, tried) in [
            (of("first"), false),
            (of("half"), false),
            (of("second"), false),
            (of("second"), true),
            (of("second"), false),
            (gone(), false),
            (of("second"), false),
            (gone(), false),
            (gone(), true),
            (gone(), false),
            (of("second"), false),
            (of("second"), true),
        ] {
            assert_eq!(changes.look(read).is_some(), tried);
        }
    }
}

//! The certificates of the SMTP listeners, and those of their clients.

use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use skein_ingress::{CertificateCheck, Tls};

use super::clients::{Asks, ClientCa};
use super::names::Names;
use super::sni::{Certificates, Shown};
use super::{Follower, Loaded, load};
use crate::config::{Config, PemFiles};

/// Files, what was read of them, and how it is shown.
struct Found {
    files: PemFiles,
    /// As the configuration gives them; none: those of the certificate.
    names: Vec<String>,
    loaded: Loaded,
    shown: Shown,
}

/// Reads the certificates of the SMTP listeners, and says for which names each is.
///
/// # Errors
/// One cannot be used, or is for no name at all.
pub fn shown(config: &Config) -> anyhow::Result<Vec<Vec<String>>> {
    let found = found(config)?;
    Ok(found.into_iter().map(|one| one.shown.names).collect())
}

fn found(config: &Config) -> anyhow::Result<Vec<Found>> {
    let given = config.smtp.tls.sni.iter().map(|one| one.names.clone());
    // The first one is for all clients, whatever it says.
    let given = std::iter::once(Vec::new()).chain(given);
    let all = config.smtp_certificates().into_iter().zip(given);
    let read = all.enumerate().map(|(nth, (files, names))| {
        let loaded = load(&files)?;
        let shown = shown_by(&files, &names, &loaded, nth > 0)?;
        Ok(Found {
            files,
            names,
            loaded,
            shown,
        })
    });
    read.collect()
}

fn shown_by(
    files: &PemFiles,
    given: &[String],
    loaded: &Loaded,
    needs_names: bool,
) -> anyhow::Result<Shown> {
    let file = &files.certificate;
    let place = || format!("{} {}", file.setting, file.path.display());
    let names = match given {
        [] => {
            let first = loaded.own.cert.first().context("no certificate")?;
            Names::of(first).with_context(place)?.hosts
        }
        given => given.to_vec(),
    };
    ensure!(
        !needs_names || !names.is_empty(),
        "{}: it has no host names; give names",
        place()
    );
    Ok(Shown {
        key: loaded.own.clone(),
        names,
    })
}

/// Reads the certificates and follows their files from here on; none without files.
///
/// # Errors
/// One of them cannot be used.
pub fn tls(config: &Config, follower: &Follower) -> anyhow::Result<Option<Tls>> {
    let found = found(config)?;
    let Some(first) = found.first() else {
        return Ok(None);
    };
    let clients = match &first.files.ca {
        Some(_) => Some(Arc::new(ClientCa::new(&first.loaded)?)),
        None => None,
    };
    let all = found.iter().map(|one| one.shown.clone()).collect();
    let certificates = Arc::new(Certificates::new(all));
    let relay = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(certificates.clone());
    let relay = Arc::new(relay);
    let tls = Tls {
        submission: match &clients {
            Some(_) => Arc::new(asking(certificates.clone())),
            None => relay.clone(),
        },
        relay,
        check: clients.clone().map(check),
    };
    for (nth, one) in found.into_iter().enumerate() {
        let Found {
            files,
            names,
            loaded,
            ..
        } = one;
        let certificates = certificates.clone();
        let clients = clients.clone().filter(|_| nth == 0);
        let of = files.clone();
        follower.follow(files, loaded, move |loaded| {
            let shown = shown_by(&of, &names, loaded, nth > 0)?;
            if let Some(clients) = &clients {
                clients.replace(loaded)?;
            }
            certificates.replace(nth, shown);
            Ok(())
        });
    }
    Ok(Some(tls))
}

/// Each connection is a whole handshake: what a client showed once says nothing of what it could show now.
fn asking(certificates: Arc<Certificates>) -> ServerConfig {
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(Asks::new()))
        .with_cert_resolver(certificates);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

fn check(clients: Arc<ClientCa>) -> CertificateCheck {
    Arc::new(move |chain| {
        let names = clients.names(chain, UnixTime::now());
        names.map_err(|error| format!("{error:#}"))
    })
}

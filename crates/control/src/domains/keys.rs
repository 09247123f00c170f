//! Private keys: made, encrypted, and encrypted anew.

use std::sync::Arc;

use skein_dkim::PrivateKey;
use skein_dkim::at_rest::{About, Keks};
use skein_dkim::key::KeyError;
use skein_model::meta::domains::{self, Algorithm, Command, DomainRow, NewKey, Rewrapped};
use tonic::Status;

use super::Domains;

/// Domains that are read at a time.
const PAGE: usize = 100;
/// Keys that cannot be opened are told up to this number.
const FAILED_MAX: usize = 100;

/// What became of private keys that were to be encrypted anew.
#[derive(Debug, Default)]
pub struct Rewrapping {
    pub rewrapped: u64,
    pub unchanged: u64,
    pub failed: Vec<String>,
}

/// The operator's keys are nobody's: senders get them apart from those of tenants.
fn about<'a>(row: &'a DomainRow, domain: &'a str, selector: &'a str) -> About<'a> {
    let tenant = match row.is_operator {
        true => "",
        false => row.tenant.as_str(),
    };
    About::dkim_key(tenant, domain, selector)
}

fn make(algorithm: Algorithm) -> Result<PrivateKey, KeyError> {
    match algorithm {
        Algorithm::Rsa => PrivateKey::generate_rsa(),
        Algorithm::Ed25519 => PrivateKey::ed25519_of(&rand::random()),
    }
}

impl Domains {
    /// From now on private keys are encrypted with this one; none: no keys are made here.
    pub fn set_keks(&self, keks: Option<Keks>) {
        *self.keks.write() = keks.map(Arc::new);
    }

    /// # Errors
    /// This node has no key-encryption key.
    /// The keys as they are at each moment.
    pub fn held_keks(&self) -> Arc<parking_lot::RwLock<Option<Arc<Keks>>>> {
        self.keks.clone()
    }

    pub(super) fn keks(&self) -> Result<Arc<Keks>, Status> {
        self.keks.read().clone().ok_or_else(|| {
            Status::failed_precondition(
                "this control node has no key to encrypt private keys with: make one with `skein dkim-key /etc/skein/dkim.key`, \
                 name it as dkim.key_file in the configuration of all control nodes and senders, and have them read it with SIGHUP",
            )
        })
    }

    /// Makes the keys that a domain wants now.
    pub(super) async fn make_keys(&self, name: &str) -> Result<(), Status> {
        let row = self.row(name)?;
        for (algorithm, selector) in row.wanted_keys(crate::clock::now()) {
            let keks = self.keks()?;
            // It takes some hundred milliseconds of a processor.
            let made = tokio::task::spawn_blocking(move || make(algorithm)).await;
            let made = made.map_err(|error| Status::internal(error.to_string()))?;
            let made = made.map_err(|error| Status::internal(error.to_string()))?;
            let about = about(&row, name, &selector);
            let wrapped = keks.seal(about, made.to_pkcs8(), &rand::random());
            let record = made.public().text();
            let key = NewKey {
                algorithm,
                record: record.clone(),
                wrapped,
            };
            let name = name.to_owned();
            let command = Command::InstallKey {
                name: name.clone(),
                selector,
                key,
            };
            self.propose(command).await?;
            let has_it = |row: &DomainRow| row.keys.iter().any(|key| key.record == record);
            self.applied(&name, |row| row.is_none_or(has_it)).await;
        }
        Ok(())
    }

    /// Encrypts all private keys with the current key-encryption key of this node.
    ///
    /// # Errors
    /// It has none, or a change cannot be committed; what was done before stays done.
    pub async fn rewrap(&self, by: &str) -> Result<Rewrapping, Status> {
        let keks = self.keks()?;
        let (mut result, mut after) = (Rewrapping::default(), String::new());
        loop {
            let page = domains::domains(&self.meta, &after, PAGE);
            let Some((last, _)) = page.last() else {
                return Ok(result);
            };
            after.clone_from(last);
            for (name, row) in &page {
                let keys = rewrapped(&keks, name, row, &mut result);
                if keys.is_empty() {
                    continue;
                }
                result.rewrapped += keys.len() as u64;
                let (name, by) = (name.clone(), by.to_owned());
                self.propose(Command::Rewrap { name, keys, by }).await?;
            }
        }
    }
}

fn rewrapped(keks: &Keks, name: &str, row: &DomainRow, result: &mut Rewrapping) -> Vec<Rewrapped> {
    let mut found = Vec::new();
    for (_, slot) in row.slots() {
        let key = slot.state.key().and_then(|id| row.key(id));
        let Some(key) = key.filter(|key| !key.wrapped.is_empty()) else {
            continue;
        };
        let about = about(row, name, &slot.selector);
        match keks.rewrap(about, &key.wrapped, &rand::random()) {
            Ok(Some(wrapped)) => found.push(Rewrapped {
                key: key.id,
                wrapped,
            }),
            Ok(None) => result.unchanged += 1,
            Err(error) if result.failed.len() < FAILED_MAX => {
                let selector = &slot.selector;
                result.failed.push(format!("{name} {selector}: {error}"));
            }
            Err(_) => {}
        }
    }
    found
}

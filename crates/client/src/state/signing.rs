//! What mail is signed with, as it was answered: kept until it changes. Private keys are decrypted once.

mod cache;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use skein_dkim::Signer;
use skein_dkim::at_rest::Keks;
use skein_model::DurationMs;
use skein_wire::internal::{GetSigningChangesReply, GetSigningReply};

use cache::Cache;
pub use keys::Unusable;

/// What mail from a domain of the cluster is signed with.
#[derive(Debug)]
pub struct DomainSigning {
    /// The domain of the cluster that the domain asked for is, or is below of; empty: none, and its mail waits for the operator's
    /// key.
    pub domain: String,
    pub tenant: String,
    /// Its owner has shown that it is theirs.
    pub is_verified: bool,
    /// In the order in which they are to be used; empty: mail has the operator's signatures alone.
    pub signers: Result<Vec<Signer>, Unusable>,
}

/// What one message may be signed with.
#[derive(Debug, Clone)]
pub struct MailSigning {
    /// For each domain that was asked for, in order; none is no domain of the cluster.
    pub domains: Vec<Option<Arc<DomainSigning>>>,
    /// What all mail is signed with.
    pub operator: Arc<Result<Vec<Signer>, Unusable>>,
}

/// What is known of signing; the session keeps it in step with the leader.
#[derive(Debug, Default)]
pub struct KnownSigning {
    /// Nothing is signed in this cluster.
    is_off: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cache: Cache,
    keks: Option<Arc<Keks>>,
}

impl KnownSigning {
    /// Whether nothing is signed in this cluster. False before that is known.
    pub fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Relaxed)
    }

    /// Up to which changes are known; none before anything was heard.
    pub fn version(&self) -> Option<u64> {
        self.inner.lock().cache.version()
    }

    /// The leader is at this version. Since which one its changes are to be asked for, if they are.
    pub fn hear(&self, version: u64, now: DurationMs) -> Option<u64> {
        if version == 0 && self.is_off.load(Ordering::Relaxed) {
            return None;
        }
        let mut inner = self.inner.lock();
        self.is_off.store(version == 0, Ordering::Relaxed);
        inner.cache.hear(version, now)
    }

    pub fn forget(&self, changes: &GetSigningChangesReply, now: DurationMs) {
        self.inner.lock().cache.forget(changes, now);
    }

    /// From here on private keys are decrypted with these.
    pub fn set_keks(&self, keks: Option<Arc<Keks>>) {
        let mut inner = self.inner.lock();
        inner.keks = keks;
        inner.cache.forget_all();
    }

    /// What is known of all these; none if it is to be asked for.
    pub fn look_up(&self, domains: &[String], now: DurationMs) -> Option<MailSigning> {
        self.inner.lock().cache.look_up(domains, now)
    }

    /// Decrypts what was answered, and keeps it.
    pub fn learn(&self, asked: &[String], reply: GetSigningReply, now: DurationMs) -> MailSigning {
        let keks = self.inner.lock().keks.clone();
        let version = reply.version;
        let learnt = keys::read(keks.as_deref(), asked.len(), reply);
        let mut inner = self.inner.lock();
        // What was decrypted with other keys than there are by now is used for this message alone.
        if keks.as_ref().map(Arc::as_ptr) == inner.keks.as_ref().map(Arc::as_ptr) {
            if inner.cache.version().is_none() {
                self.is_off.store(version == 0, Ordering::Relaxed);
            }
            inner.cache.learn(version, asked, &learnt, now);
        }
        learnt
    }
}

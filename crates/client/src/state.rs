//! What the meta group's leader tells this process over its session, for all that go by it.

mod active_actions;
mod broken_tls;
mod policy;
mod signing;
mod sts;
mod tls_counts;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use skein_model::meta::Spreads;
use tokio::sync::watch;

pub use active_actions::KnownActions;
pub use broken_tls::KnownBrokenTls;
pub use policy::PolicyTexts;
pub(crate) use signing::KnownSigning;
pub use signing::{DomainSigning, MailSigning, Unusable};
pub(crate) use sts::{Answered, Known, KnownSts};
pub use tls_counts::TlsCounts;

/// The state of the cluster as the session of this process last heard of it; clones share it. Without a session it is that
/// of a cluster in which nothing was ever said.
#[derive(Debug, Clone, Default)]
pub struct ClusterState {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    spreads: watch::Sender<Arc<Spreads>>,
    policy: watch::Sender<Arc<PolicyTexts>>,
    policy_taken: watch::Sender<Option<u64>>,
    policy_in_use: watch::Sender<Option<u64>>,
    active_actions: watch::Sender<Arc<KnownActions>>,
    broken_tls: watch::Sender<Arc<KnownBrokenTls>>,
    signing: KnownSigning,
    sts: KnownSts,
    tls_counts: TlsCounts,
    full_tenants: RwLock<BTreeMap<String, String>>,
}

impl ClusterState {
    /// Over how many slots sites are spread.
    pub fn spreads(&self) -> Arc<Spreads> {
        self.shared.spreads.borrow().clone()
    }

    pub(crate) fn set_spreads(&self, spreads: Spreads) {
        self.shared.spreads.send_replace(Arc::new(spreads));
    }

    pub fn policy(&self) -> watch::Receiver<Arc<PolicyTexts>> {
        self.shared.policy.subscribe()
    }

    /// Of the policy that was read last.
    pub fn policy_version(&self) -> u64 {
        self.shared.policy.borrow().version
    }

    pub(crate) fn set_policy(&self, policy: PolicyTexts) {
        self.shared.policy.send_replace(Arc::new(policy));
    }

    /// The version of the policy that mail of this process goes by; none before there is any.
    pub(crate) fn policy_in_use(&self) -> watch::Receiver<Option<u64>> {
        self.shared.policy_in_use.subscribe()
    }

    /// The version up to which this process has done what it can: all that begins goes by it, or it cannot be read.
    pub(crate) fn policy_taken(&self) -> watch::Receiver<Option<u64>> {
        self.shared.policy_taken.subscribe()
    }

    /// From here on no mail of this process begins to go by an earlier policy.
    pub fn begins_by_policy(&self, version: u64) {
        self.policy_is_taken(version);
    }

    /// This process has no use for that version, and goes on by the one before. What waits for it need not.
    pub fn cannot_read_policy(&self, version: u64) {
        self.policy_is_taken(version);
    }

    fn policy_is_taken(&self, version: u64) {
        self.shared.policy_taken.send_if_modified(|taken| {
            let is_later = taken.is_none_or(|taken| taken < version);
            if is_later {
                *taken = Some(version);
            }
            is_later
        });
    }

    /// From here on no mail of this process goes on by an earlier policy. The session tells the cluster.
    pub fn goes_by_policy(&self, version: u64) {
        self.shared.policy_in_use.send_if_modified(|known| {
            let differs = *known != Some(version);
            *known = Some(version);
            differs
        });
    }

    /// Actions of rules and suspensions of operators.
    pub fn active_actions(&self) -> watch::Receiver<Arc<KnownActions>> {
        self.shared.active_actions.subscribe()
    }

    pub(crate) fn actions_version(&self) -> u64 {
        self.shared.active_actions.borrow().version
    }

    pub(crate) fn set_active_actions(&self, actions: KnownActions) {
        self.shared.active_actions.send_replace(Arc::new(actions));
    }

    pub fn broken_tls(&self) -> watch::Receiver<Arc<KnownBrokenTls>> {
        self.shared.broken_tls.subscribe()
    }

    pub(crate) fn broken_tls_version(&self) -> u64 {
        self.shared.broken_tls.borrow().version
    }

    pub(crate) fn set_broken_tls(&self, hosts: KnownBrokenTls) {
        self.shared.broken_tls.send_replace(Arc::new(hosts));
    }

    /// The quota that a tenant has used up, as the leader has counted some seconds ago; empty if that did not say which.
    pub fn full_quota(&self, tenant: &str) -> Option<String> {
        let full = self.shared.full_tenants.read();
        full.get(tenant).cloned()
    }

    pub(crate) fn set_full_tenants(
        &self,
        tenants: Vec<String>,
        mut quotas: HashMap<String, String>,
    ) {
        let full = tenants.into_iter().map(|tenant| {
            let quota = quotas.remove(&tenant).unwrap_or_default();
            (tenant, quota)
        });
        *self.shared.full_tenants.write() = full.collect();
    }

    pub(crate) fn signing(&self) -> &KnownSigning {
        &self.shared.signing
    }

    pub(crate) fn sts(&self) -> &KnownSts {
        &self.shared.sts
    }

    /// How TLS with hosts of other domains went.
    pub fn tls_counts(&self) -> &TlsCounts {
        &self.shared.tls_counts
    }
}

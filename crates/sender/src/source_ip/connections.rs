//! Connections from source IPs, as long as they last, and what each must heed of its IP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use skein_client::PlacedIps;
use skein_egress::{Egress, Placements};
use skein_model::SessionId;
use skein_policy::{Ip, Policy};
use tokio_util::sync::CancellationToken;

use crate::source_ip::placed::{self, INHERITED, Reach, Stage, Unreached};
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::sources::is_present;

/// An IP's name, and the epoch.
pub type Key = (String, u64);

/// The connections that use each IP, and what is known of where IPs are.
pub struct IpConnections {
    own: Option<SessionId>,
    since: Instant,
    placed: Arc<PlacedIps>,
    policy: Option<Arc<Policy>>,
    /// One for each IP and epoch that has connections, so no more than connections.
    uses: BTreeMap<Key, Use>,
    /// Since when IPs have been leaving.
    leaving: BTreeMap<Key, Instant>,
    /// IPs that were let go of in this session.
    told: BTreeSet<Key>,
    /// Since when IPs of policy have been missed that are nowhere, or are leaving.
    missing: BTreeMap<String, Instant>,
}

#[derive(Default)]
struct Use {
    connections: usize,
    revocation: Revocation,
}

/// What a connection heeds of its IP.
#[derive(Debug, Clone, Default)]
pub struct Revocation {
    /// No further transaction is begun.
    pub soon: CancellationToken,
    /// Nothing that is not beyond its final dot goes on.
    pub now: CancellationToken,
    /// Nothing goes on.
    pub cut: CancellationToken,
}

/// A connection that counts as one from its IP, from before it is opened until its socket is closed and this is dropped.
pub struct ConnectionGuard {
    router: Arc<SourceIpRouter>,
    key: Key,
    pub revocation: Revocation,
}

impl Default for IpConnections {
    fn default() -> Self {
        Self {
            own: None,
            since: Instant::now(),
            placed: Arc::default(),
            policy: None,
            uses: BTreeMap::new(),
            leaving: BTreeMap::new(),
            told: BTreeSet::new(),
            missing: BTreeMap::new(),
        }
    }
}

impl IpConnections {
    pub fn reach(&self, ip: &Ip) -> Result<Reach<'_>, Unreached> {
        placed::reach(self.own, &self.placed, ip)
    }

    /// Since when an IP that cannot be used has been missed, which may be now.
    pub fn missed_since(&mut self, name: &str, now: Instant) -> Instant {
        *self.missing.entry(name.to_owned()).or_insert(now)
    }

    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    pub fn is_any_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// One connection more.
    pub fn begin(&mut self, key: &Key) -> Revocation {
        let using = self.uses.entry(key.clone()).or_default();
        using.connections += 1;
        using.revocation.clone()
    }

    fn end(&mut self, key: &Key) {
        let using = self.uses.get_mut(key);
        let using = using.expect("a guard has begun what it ends");
        using.connections -= 1;
        if using.connections == 0 {
            self.uses.remove(key);
        }
    }

    /// False if nothing has changed and nothing leaves.
    pub fn take_over(
        &mut self,
        own: Option<SessionId>,
        placed: Arc<PlacedIps>,
        policy: Option<Arc<Policy>>,
        now: Instant,
    ) -> bool {
        let known = self.policy.as_ref().map(Arc::as_ptr);
        let is_same = self.own == own
            && Arc::ptr_eq(&self.placed, &placed)
            && known == policy.as_ref().map(Arc::as_ptr);
        if is_same && self.leaving.is_empty() {
            return false;
        }
        if self.own != own {
            self.since = now;
            self.told.clear();
        }
        (self.own, self.placed, self.policy) = (own, placed, policy);
        let leaving = self.placed.ips.values().filter(|at| at.is_leaving);
        let leaving: BTreeMap<Key, Instant> = leaving
            .map(|at| {
                let key = (at.name.clone(), at.epoch);
                let since = self.leaving.get(&key).copied().unwrap_or(now);
                (key, since)
            })
            .collect();
        self.leaving = leaving;
        let (placed, policy) = (&self.placed, &self.policy);
        self.missing.retain(|name, _| {
            let is_wanted = policy
                .as_ref()
                .is_some_and(|policy| policy.ip(name).is_some());
            is_wanted && placed.ips.get(name).is_none_or(|at| at.is_leaving)
        });
        true
    }

    /// Tells all connections how their IPs stand, and returns what this node holds.
    pub fn heed(&self, now: Instant) -> Placements {
        let leaving_for = |name: &str, epoch: u64| {
            let since = self.leaving.get(&(name.to_owned(), epoch))?;
            Some(now.saturating_duration_since(*since))
        };
        for ((name, epoch), using) in &self.uses {
            let at = self.placed.ips.get(name).filter(|at| at.epoch == *epoch);
            let stage = match (self.own, at) {
                (None, _) | (_, None) => Stage::Cut,
                (Some(_), Some(_)) => placed::stage(leaving_for(name, *epoch), true),
            };
            using.heed(stage);
        }
        let Some(policy) = &self.policy else {
            return Placements::new();
        };
        placed::held(
            self.own,
            &self.placed,
            policy,
            &|at, ip| match leaving_for(&at.name, at.epoch) {
                None => Stage::IpConnections,
                time => placed::stage(time, is_present(ip.bind)),
            },
        )
    }

    /// IPs of this node that were to leave and from which no connection is left, told once.
    pub fn released(&mut self, now: Instant, egress: &Egress) -> Vec<Key> {
        let Some(own) = self.own else {
            return Vec::new();
        };
        if now.saturating_duration_since(self.since) < INHERITED {
            return Vec::new();
        }
        let is_free = |name: &str, epoch: u64| {
            let is_used = |key: &Key| key.0 == name && key.1 <= epoch;
            !self.uses.keys().any(is_used) && egress.tunnels(name, epoch) == 0
        };
        let leaving = self.placed.ips.values();
        let leaving = leaving.filter(|at| at.is_leaving && at.session == own.0);
        let free: Vec<Key> = leaving
            .filter(|at| is_free(&at.name, at.epoch))
            .map(|at| (at.name.clone(), at.epoch))
            .filter(|key| !self.told.contains(key))
            .collect();
        self.told.extend(free.iter().cloned());
        free
    }
}

impl Use {
    fn heed(&self, stage: Stage) {
        if stage >= Stage::Leaving {
            self.revocation.soon.cancel();
        }
        if stage >= Stage::GivenUp {
            self.revocation.now.cancel();
        }
        if stage >= Stage::Cut {
            self.revocation.cut.cancel();
        }
    }
}

impl ConnectionGuard {
    pub fn new(router: Arc<SourceIpRouter>, key: Key, revocation: Revocation) -> Self {
        Self {
            router,
            key,
            revocation,
        }
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether a byte may leave from the IP now.
    pub fn holds(&self) -> bool {
        !self.revocation.cut.is_cancelled() && self.router.holds()
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.router.connections().end(&self.key);
        if self.revocation.soon.is_cancelled() {
            self.router.has_ended();
        }
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;

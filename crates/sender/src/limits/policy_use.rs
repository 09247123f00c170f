//! Which policy each connection and each transaction goes by. A version of the policy is in force when none of them goes by
//! an earlier one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use skein_policy::{DEFAULT_POOL, Policy};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::limits::path_policy::{EgressPath, PathPolicy};

/// What goes by a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Using {
    /// From when a place for it is taken until it is closed.
    Connection,
    /// From when its tokens are taken until its final dot is sent.
    Transaction,
}

/// All connections of this sender, and the transactions before their final dots: as many as there are connections at most,
/// twice.
#[derive(Debug)]
pub struct PolicyUse {
    policy: watch::Receiver<Arc<Policy>>,
    uses: Mutex<Uses>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Uses {
    next: u64,
    open: BTreeMap<u64, Use>,
}

#[derive(Debug)]
struct Use {
    using: Using,
    path: OwnedPath,
    policy: Arc<Policy>,
    outdated: CancellationToken,
}

/// An [`EgressPath`] that outlives its task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct OwnedPath {
    pool: String,
    ip: String,
    site: String,
    tenant: String,
    is_named: bool,
}

impl OwnedPath {
    fn of(path: EgressPath<'_>) -> Self {
        Self {
            pool: path.pool.to_owned(),
            ip: path.ip.to_owned(),
            site: path.site.to_owned(),
            tenant: path.tenant.to_owned(),
            is_named: path.is_named,
        }
    }

    fn path(&self) -> EgressPath<'_> {
        EgressPath {
            pool: &self.pool,
            ip: &self.ip,
            site: &self.site,
            tenant: &self.tenant,
            is_named: self.is_named,
        }
    }
}

impl PolicyUse {
    pub fn new(policy: watch::Receiver<Arc<Policy>>) -> Arc<Self> {
        Arc::new(Self {
            policy,
            uses: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// A connection or transaction begins by the latest policy. To be called before anything is read of that.
    pub fn begin(self: &Arc<Self>, using: Using, path: EgressPath<'_>) -> UnderPolicy {
        let outdated = CancellationToken::new();
        let mut uses = self.uses.lock();
        // Read under the lock: whoever reviews afterwards finds this use, and whoever did before has made this the latest.
        let policy = self.policy.borrow().clone();
        let number = uses.next;
        uses.next += 1;
        let begun = Use {
            using,
            path: OwnedPath::of(path),
            policy,
            outdated: outdated.clone(),
        };
        uses.open.insert(number, begun);
        UnderPolicy {
            all: Arc::clone(self),
            number,
            outdated,
        }
    }

    /// Goes through all that goes on after the policy has changed: what the change does not concern goes by the latest one
    /// from now on, and connections that it concerns are outdated.
    pub fn review(&self) {
        let mut uses = self.uses.lock();
        let now = self.policy.borrow().clone();
        let mut known: HashMap<(Using, OwnedPath), bool> = HashMap::new();
        for one in uses.open.values_mut() {
            if Arc::ptr_eq(&one.policy, &now) || one.outdated.is_cancelled() {
                continue;
            }
            let key = (one.using, one.path.clone());
            let is_unchanged = *known
                .entry(key)
                .or_insert_with(|| is_unchanged(&one.policy, &now, one.path.path(), one.using));
            match is_unchanged {
                true => one.policy = now.clone(),
                false => one.outdated.cancel(),
            }
        }
        drop(uses);
        self.ended.notify_waiters();
    }

    /// How many go on under policies before this version.
    pub fn before(&self, version: u64) -> usize {
        let uses = self.uses.lock();
        let before = |one: &&Use| one.policy.version() < version;
        uses.open.values().filter(before).count()
    }

    /// Completes when none goes on under a policy before this version.
    pub async fn none_before(&self, version: u64) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.before(version) == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// A connection or transaction that goes by a policy, until it is dropped.
#[derive(Debug)]
pub struct UnderPolicy {
    all: Arc<PolicyUse>,
    number: u64,
    outdated: CancellationToken,
}

impl UnderPolicy {
    /// Nothing of it goes by any policy any more.
    pub fn end(&self) {
        let ended = self.all.uses.lock().open.remove(&self.number);
        if ended.is_some() {
            self.all.ended.notify_waiters();
        }
    }

    /// Whether the policy has changed since it began in what concerns it.
    pub fn is_outdated(&self) -> bool {
        self.outdated.is_cancelled()
    }

    /// Completes when that is so.
    pub async fn outdated(&self) {
        self.outdated.cancelled().await;
    }
}

impl Drop for UnderPolicy {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether what goes on may go on as if it had begun under the later policy.
fn is_unchanged(before: &Policy, now: &Policy, path: EgressPath<'_>, using: Using) -> bool {
    let is_same_ip = before.ip(path.ip) == now.ip(path.ip);
    let is_same_place = may_use(before, path) == may_use(now, path);
    let (before, now) = (PathPolicy::of(before, path), PathPolicy::of(now, path));
    is_same_ip
        && is_same_place
        && match using {
            Using::Connection => before.is_same_for_connection(&now),
            Using::Transaction => before.message == now.message,
        }
}

/// Whether mail of the path's pool goes from its IP.
fn may_use(policy: &Policy, path: EgressPath<'_>) -> bool {
    let mut seen = BTreeSet::new();
    let mut name = path.pool;
    while seen.insert(name) {
        let Some(pool) = policy.pool(name) else {
            return name == DEFAULT_POOL && path.ip.is_empty();
        };
        let mut members = pool.members.iter();
        if members.any(|member| member.ip.value == path.ip) {
            return true;
        }
        match &pool.overflow {
            Some(overflow) => name = &overflow.value,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
#[path = "policy_use_tests.rs"]
mod tests;

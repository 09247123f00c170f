//! Tenants that have as much mail waiting as they may, as the leader of the meta group counts it and senders hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::meta;
use skein_model::spool::query;
use skein_policy::Policy;
use skein_store::Reader;

use super::read;
use crate::raft::Group;

/// Between two counts. A sender hears of the latest with its next heartbeat.
const LOOK: Duration = Duration::from_secs(2);
/// A count looks through all queues: it takes a twentieth of a processor at most, however many there are.
const REST: u32 = 20;
/// Names that senders are told; more tenants at their limits at once are not held back.
const FULL_MAX: usize = 1024;

/// Tenants whose quota is used up.
#[derive(Debug, Clone, Default)]
pub struct FullTenants(Arc<Mutex<Arc<BTreeSet<String>>>>);

impl FullTenants {
    pub fn now(&self) -> Arc<BTreeSet<String>> {
        self.0.lock().clone()
    }

    fn set(&self, full: BTreeSet<String>) {
        if **self.0.lock() == full {
            return;
        }
        tracing::info!(tenants = ?full, "tenants whose quota is used up");
        *self.0.lock() = Arc::new(full);
    }
}

/// Counts what waits of tenants that have a quota, while this node leads the meta group.
pub async fn count_quotas(
    meta: Arc<Group>,
    reader: Reader,
    spools: Vec<Reader>,
    full: FullTenants,
) {
    let (mut known, mut quotas) = (None, BTreeMap::new());
    let mut rest = LOOK;
    loop {
        tokio::time::sleep(rest).await;
        rest = LOOK;
        if !meta.is_leader() {
            continue;
        }
        let version = meta::policy_version(&reader);
        if known != Some(version) {
            known = Some(version);
            if let Some(policy) = read(&reader, "quotas stay as they are") {
                quotas = quotas_of(&policy);
            }
        }
        if quotas.is_empty() {
            full.set(BTreeSet::new());
            continue;
        }
        let (began, spools, of) = (Instant::now(), spools.clone(), quotas.clone());
        let found = skein_runtime::blocking(move || {
            let mut tasks = BTreeMap::new();
            for spool in &spools {
                query::each_queue(spool, |_, row| {
                    if of.contains_key(&row.tenant) {
                        *tasks.entry(row.tenant).or_default() += row.tasks;
                    }
                });
            }
            used_up(&of, &tasks)
        });
        full.set(found.await);
        rest = LOOK.max(began.elapsed() * REST);
    }
}

fn quotas_of(policy: &Policy) -> BTreeMap<String, u64> {
    let with = policy.tenants().filter_map(|tenant| {
        let tasks = tenant.quota.tasks?;
        Some((tenant.name.to_string(), tasks))
    });
    with.collect()
}

fn used_up(quotas: &BTreeMap<String, u64>, tasks: &BTreeMap<String, u64>) -> BTreeSet<String> {
    let full = quotas.iter().filter(|(tenant, quota)| {
        let has = tasks.get(*tenant).copied().unwrap_or(0);
        has >= **quota
    });
    full.map(|(tenant, _)| tenant.clone())
        .take(FULL_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_full_from_its_quota_on() {
        let named = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
            let pairs = pairs
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count));
            pairs.collect()
        };
        let quotas = named(&[("a", 10), ("b", 10), ("c", 10), ("d", 1)]);
        let full = used_up(
            &quotas,
            &named(&[("a", 9), ("b", 10), ("c", 11), ("x", 99)]),
        );
        assert_eq!(full, BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    }
}

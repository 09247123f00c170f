//! Tenants that have as much mail waiting as they may, as the leader of the meta group counts it and senders hear of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::meta;
use skein_model::spool::{each_held, query};
use skein_policy::{Held, Policy, Quota};
use skein_store::Reader;

use super::read;
use crate::raft::Group;

/// Between two counts. A sender hears of the latest with its next heartbeat.
const LOOK: Duration = Duration::from_secs(2);
/// A count looks through all queues: it takes a twentieth of a processor at most, however many there are.
const REST: u32 = 20;
/// Names that senders are told; more tenants at their limits at once are not held back.
const FULL_MAX: usize = 1024;

/// Tenants that have used a quota up, with what it counts.
type Full = BTreeMap<String, Held>;

/// Tenants whose quota is used up.
#[derive(Debug, Clone, Default)]
pub struct FullTenants(Arc<Mutex<Arc<Full>>>);

impl FullTenants {
    pub fn now(&self) -> Arc<Full> {
        self.0.lock().clone()
    }

    fn set(&self, full: Full) {
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
            full.set(Full::new());
            continue;
        }
        let (began, spools, of) = (Instant::now(), spools.clone(), quotas.clone());
        let found = skein_runtime::blocking(move || used_up(&of, &count(&spools, &of)));
        full.set(found.await);
        rest = LOOK.max(began.elapsed() * REST);
    }
}

/// How much there is of a tenant, by [`Held`].
type Counts = BTreeMap<String, [u64; Held::ALL.len()]>;

/// Queues are looked through only if somebody's tasks are bounded.
fn count(spools: &[Reader], of: &BTreeMap<String, Quota>) -> Counts {
    let mut counts = Counts::new();
    let mut add = |tenant: String, held: Held, much: u64| {
        if of.contains_key(&tenant) {
            let count = &mut counts.entry(tenant).or_default()[held as usize];
            *count = count.saturating_add(much);
        }
    };
    let has_tasks = of.values().any(|quota| quota.tasks.is_some());
    let has_sizes = of.values().any(Quota::has_sizes);
    for spool in spools {
        if has_tasks {
            query::each_queue(spool, |_, row| add(row.tenant, Held::Tasks, row.tasks));
        }
        if has_sizes {
            each_held(spool, |tenant, row| {
                add(tenant.clone(), Held::Recipients, row.recipients);
                add(tenant, Held::Bytes, row.bytes);
            });
        }
    }
    counts
}

fn quotas_of(policy: &Policy) -> BTreeMap<String, Quota> {
    let with = policy
        .tenants()
        .filter(|tenant| tenant.quota != Quota::default());
    with.map(|tenant| (tenant.name.to_string(), tenant.quota.clone()))
        .collect()
}

fn used_up(quotas: &BTreeMap<String, Quota>, counts: &Counts) -> Full {
    let full = quotas.iter().filter_map(|(tenant, quota)| {
        let has = counts.get(tenant).copied().unwrap_or_default();
        let is_full = |held: &Held| {
            quota
                .most(*held)
                .is_some_and(|most| has[*held as usize] >= most)
        };
        let held = Held::ALL.into_iter().find(is_full)?;
        Some((tenant.clone(), held))
    });
    full.take(FULL_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is full of a tenant with a quota of 10 tasks, 20 recipients and 30 octets, any of which may be left out.
    fn check(left_out: &[Held], has: [u64; 3], full: Option<Held>) {
        let most = |held, most| (!left_out.contains(&held)).then_some(most);
        let quota = Quota {
            tasks: most(Held::Tasks, 10),
            recipients: most(Held::Recipients, 20),
            bytes: most(Held::Bytes, 30),
        };
        let quotas = BTreeMap::from([("a".to_owned(), quota)]);
        let counts = Counts::from([("a".to_owned(), has), ("x".to_owned(), [99; 3])]);
        let found = used_up(&quotas, &counts);
        let expected = full.map(|held| ("a".to_owned(), held));
        assert_eq!(found, Full::from_iter(expected), "{left_out:?} {has:?}");
    }

    #[test]
    fn a_tenant_is_full_from_any_of_its_quotas_on() {
        use Held::{Bytes, Recipients, Tasks};
        check(&[], [9, 19, 29], None);
        check(&[], [10, 0, 0], Some(Tasks));
        check(&[], [11, 20, 0], Some(Tasks));
        check(&[], [9, 20, 0], Some(Recipients));
        check(&[], [9, 19, 30], Some(Bytes));
        check(&[Tasks], [99, 19, 29], None);
        check(&[Tasks, Recipients], [99, 99, 31], Some(Bytes));
        check(&[Recipients, Bytes], [9, 99, 99], None);
        check(&Held::ALL, [99; 3], None);
    }

    #[test]
    fn a_tenant_of_which_nothing_waits_is_not_full() {
        let quota = Quota {
            bytes: Some(1),
            ..Quota::default()
        };
        let quotas = BTreeMap::from([("a".to_owned(), quota)]);
        assert_eq!(used_up(&quotas, &Counts::new()), Full::new());
    }
}

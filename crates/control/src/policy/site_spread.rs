//! Hot sites get several slots, as many as their limits can use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::meta::{self, Allowed, Backlog, Command, SpreadControl};
use skein_model::spool::query;
use skein_model::{SessionId, Slot, codec};
use skein_policy::Policy;
use skein_store::Reader;

use super::read;
use crate::clock;
use crate::raft::Group;

const LOOK: Duration = Duration::from_secs(5);
/// Looking through a million queues takes a second; it may take this part of the time.
const REST_FACTOR: u32 = 50;

/// Spreads sites that have much of the backlog over several senders, while this node leads the meta group.
pub async fn look_after(meta: Arc<Group>, reader: Reader, spools: Vec<Reader>) {
    let mut control = SpreadControl::default();
    let mut rest = LOOK;
    let (mut policy, mut policy_of): (Option<Policy>, _) = (None, None);
    loop {
        tokio::time::sleep(rest).await;
        if !meta.is_leader() {
            control = SpreadControl::default();
            continue;
        }
        let began = Instant::now();
        let readers = spools.clone();
        let backlog = tokio::task::spawn_blocking(move || backlog(&readers));
        let backlog = backlog.await.expect("reading rows does not panic");
        rest = LOOK.max(began.elapsed() * REST_FACTOR);
        let known = meta::spreads(&reader);
        let version = meta::policy_version(&reader);
        // The policy is of no interest while the backlog is small.
        if backlog.is_some() && policy_of != Some(version) {
            (policy, policy_of) = (read(&reader, "no limit bounds spreads"), Some(version));
        }
        let allowed = |site: &str, pools: &BTreeSet<String>| {
            let policy = policy.as_ref();
            policy.map_or_else(Allowed::default, |policy| {
                policy.allowed_at(site, pools.iter().map(String::as_str))
            })
        };
        for (site, spread) in control.decide(
            clock::now(),
            &backlog.unwrap_or_default(),
            &known,
            &owners(&reader),
            allowed,
        ) {
            tracing::info!(site, slots = spread.slots, "a site's spread changes");
            let spread = Some(spread);
            let command = codec::encode(&Command::SetSpread { site, spread });
            if let Err(error) = meta.propose(command).await {
                tracing::warn!(%error, "a site's spread is not changed yet");
            }
        }
    }
}

fn owners(meta: &Reader) -> BTreeMap<Slot, SessionId> {
    let assigned = meta::assignments(meta).into_iter();
    assigned
        .map(|(slot, held)| (slot, held.session))
        .filter(|(_, session)| *session != SessionId::NONE)
        .collect()
}

/// Tasks by site over all groups; none while they are few.
fn backlog(spools: &[Reader]) -> Option<Backlog> {
    let open: u64 = spools
        .iter()
        .map(|rows| query::state(rows).open_tasks)
        .sum();
    if !Backlog::is_large(open) {
        return None;
    }
    let mut backlog = Backlog::default();
    for rows in spools {
        query::each_queue(rows, |_, row| backlog.add(row.site(), &row.pool, row.tasks));
    }
    Some(backlog)
}

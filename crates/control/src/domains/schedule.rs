//! Checks of domains when they are due, at the leader of the meta group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use skein_model::meta::domains;
use skein_wire::v1::DomainState;

use super::Domains;
use crate::clock;
use crate::raft::Group;

const LOOK: Duration = Duration::from_secs(1);
/// Checks at a time: each asks some dozens of questions, most of which the resolver has to ask others.
const CHECKS_AT_ONCE: usize = 8;
/// All rows are read for it, of which there may be a hundred thousand.
const COUNT_EVERY: Duration = Duration::from_secs(15);
const PAGE: usize = 500;

/// Checks domains while this node leads the meta group.
pub async fn look_after(domains: Domains, group: Arc<Group>) {
    let mut running = FuturesUnordered::new();
    let mut names: Vec<String> = Vec::new();
    // When, and at which version of what mail is signed with: no state changes without it.
    let mut counted: Option<(Instant, u64)> = None;
    loop {
        tokio::select! {
            Some(name) = running.next() => {
                names.retain(|running| *running != name);
                continue;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        if !group.is_leader() {
            counted = None;
            continue;
        }
        let version = domains::signing_version(&domains.meta);
        let is_old = |(at, of): (Instant, u64)| at.elapsed() >= COUNT_EVERY && of != version;
        if counted.is_none_or(is_old) {
            domains.counters.set_states(count(&domains).await);
            counted = Some((Instant::now(), version));
        }
        // Those that are being checked are still due.
        let due = domains::due(&domains.meta, clock::now(), 2 * CHECKS_AT_ONCE);
        for name in due {
            if names.len() >= CHECKS_AT_ONCE || names.contains(&name) {
                continue;
            }
            names.push(name.clone());
            running.push(check(domains.clone(), name));
        }
    }
}

async fn check(domains: Domains, name: String) -> String {
    if let Err(status) = domains.check(&name).await {
        let reason = status.message();
        tracing::warn!(domain = name, reason, "a domain cannot be checked");
    }
    name
}

async fn count(domains: &Domains) -> BTreeMap<DomainState, u64> {
    let (mut counts, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = domains::domains(&domains.meta, &after, PAGE);
        let Some((last, _)) = page.last() else {
            return counts;
        };
        after.clone_from(last);
        for (_, row) in &page {
            *counts.entry(state(&row.signed_with())).or_default() += 1;
        }
        tokio::task::yield_now().await;
    }
}

/// What is said of a domain by what its mail is signed with.
pub fn state(signed: &domains::SignedWith) -> DomainState {
    match (signed.is_verified, &signed.waits) {
        (false, _) => DomainState::Unverified,
        (true, Some(_)) => DomainState::Waiting,
        (true, None) => DomainState::Signing,
    }
}

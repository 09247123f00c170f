//! Hot sites get several slots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::meta::{self, Backlog, Command, FanControl};
use skein_model::spool::query;
use skein_model::{SessionId, Slot, codec};
use skein_store::Reader;

use crate::clock;
use crate::raft::Group;

const LOOK: Duration = Duration::from_secs(5);
/// Looking through a million queues takes a second; it may take this part of the time.
const REST_FACTOR: u32 = 50;

/// Spreads sites that have much of the backlog over several senders, while this node leads the meta group.
pub async fn look_after(meta: Arc<Group>, reader: Reader, spools: Vec<Reader>) {
    let mut control = FanControl::default();
    let mut rest = LOOK;
    loop {
        tokio::time::sleep(rest).await;
        if !meta.is_leader() {
            control = FanControl::default();
            continue;
        }
        let began = Instant::now();
        let readers = spools.clone();
        let backlog = tokio::task::spawn_blocking(move || backlog(&readers));
        let backlog = backlog.await.expect("reading rows does not panic");
        rest = LOOK.max(began.elapsed() * REST_FACTOR);
        let known = meta::fans(&reader);
        for (site, fan) in control.decide(clock::now(), &backlog, &known, &owners(&reader)) {
            tracing::info!(site, slots = fan.slots, "a site's fan changes");
            let fan = Some(fan);
            let command = codec::encode(&Command::SetFan { site, fan });
            if let Err(error) = meta.propose(command).await {
                tracing::warn!(%error, "a site's fan is not changed yet");
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

/// Tasks by site over all groups; nothing while they are few.
fn backlog(spools: &[Reader]) -> Backlog {
    let mut backlog = Backlog::default();
    let open: u64 = spools
        .iter()
        .map(|rows| query::state(rows).open_tasks)
        .sum();
    if Backlog::is_large(open) {
        for rows in spools {
            query::each_queue(rows, |_, row| backlog.add(row.site(), row.tasks));
        }
    }
    backlog
}

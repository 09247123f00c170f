//! Has a group count what it holds of each tenant, from the moment on at which every control node knows how.

use std::time::Duration;

use skein_model::codec;
use skein_model::feature::Feature;
use skein_model::spool::{Command, query};

use super::SpoolGroup;
use crate::raft::VersionGate;

const LOOK: Duration = Duration::from_secs(1);
/// Until a control node of an older version is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Ends when the group counts, whoever leads it.
pub(crate) async fn begin_to_count(spool: SpoolGroup, versions: VersionGate) {
    while query::state(&spool.reader).counts_held != Some(true) {
        let rest = match spool.group.is_leader() {
            true => begin(&spool, &versions).await,
            false => LOOK,
        };
        tokio::time::sleep(rest).await;
    }
}

async fn begin(spool: &SpoolGroup, versions: &VersionGate) -> Duration {
    if let Err(why) = versions.pass(Feature::HeldOfTenants).await {
        tracing::info!(why = why.message(), "tenants are not counted yet");
        return ASK_AGAIN;
    }
    let command = codec::encode(&Command::CountHeld);
    if let Err(error) = spool.group.propose(command).await {
        tracing::warn!(%error, "tenants are not counted yet");
    }
    LOOK
}

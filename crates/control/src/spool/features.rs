//! Has a group do what older builds do not know, from the moment on at which every control node knows it.

use std::time::Duration;

use skein_model::codec;
use skein_model::feature::Feature;
use skein_model::spool::{Command, StateRow, query};

use super::SpoolGroup;
use crate::raft::VersionGate;

const LOOK: Duration = Duration::from_secs(1);
/// Until a control node of an older version is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What the group does not do yet, and the command by which it begins to.
fn missing(state: &StateRow) -> Option<(Feature, Command)> {
    if state.counts_held != Some(true) {
        return Some((Feature::HeldOfTenants, Command::CountHeld));
    }
    let keeps = Feature::BounceClasses.since();
    (state.keeps() < keeps).then_some((Feature::BounceClasses, Command::Keep(keeps.0)))
}

/// Ends when the group does all of it, whoever leads it.
pub(crate) async fn take_up(spool: SpoolGroup, versions: VersionGate) {
    while let Some(next) = missing(&query::state(&spool.reader)) {
        let rest = match spool.group.is_leader() {
            true => begin(&spool, &versions, next).await,
            false => LOOK,
        };
        tokio::time::sleep(rest).await;
    }
}

async fn begin(
    spool: &SpoolGroup,
    versions: &VersionGate,
    (feature, command): (Feature, Command),
) -> Duration {
    let what = feature.name();
    if let Err(why) = versions.pass(feature).await {
        tracing::info!(what, why = why.message(), "not yet");
        return ASK_AGAIN;
    }
    if let Err(error) = spool.group.propose(codec::encode(&command)).await {
        tracing::warn!(what, %error, "not yet");
    }
    LOOK
}

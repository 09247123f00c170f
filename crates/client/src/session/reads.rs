//! What a heartbeat names only by its version is read when that is another than the known one. What cannot be read is
//! asked for after the next heartbeat.

use skein_model::{UnixMs, codec};
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{
    GetForcesReply, GetForcesRequest, GetPolicyRequest, GetSigningChangesRequest,
};

use super::leader::MetaLeader;
use crate::channel::Channel;
use crate::clock::{GroupTime, since_boot};
use crate::error::SpoolError;
use crate::state::{ClusterState, KnownActions, PolicyTexts};

/// Twice what all resources together may have, with their keys.
const POLICY_BYTES_MAX: usize = 4 << 20;
/// 4096 actions with the longest names and reasons take less.
const ACTIONS_BYTES_MAX: usize = 8 << 20;

/// Reads the policy if the leader knows a later one.
pub async fn policy(leader: &MetaLeader, state: &ClusterState, version: u64) {
    if version <= state.policy_version() {
        return;
    }
    if let Err(error) = policy_now(leader, state).await {
        tracing::warn!(%error, "the policy could not be read");
    }
}

/// Reads the policy as it is now, and says which version that is.
///
/// # Errors
/// No leader answers.
pub async fn policy_now(leader: &MetaLeader, state: &ClusterState) -> Result<u64, SpoolError> {
    let reading = |client: SessionsClient<Channel>| async move {
        let mut client = client.max_decoding_message_size(POLICY_BYTES_MAX);
        client.get_policy(GetPolicyRequest {}).await
    };
    let reply = leader.call("reading the policy", reading).await?;
    let resources = reply.resources.into_iter();
    let resources = resources.map(|resource| (resource.key, resource.text));
    state.set_policy(PolicyTexts {
        version: reply.version,
        resources: resources.collect(),
    });
    Ok(reply.version)
}

/// Reads what automation has in force if the leader knows another version.
pub async fn active_actions(leader: &MetaLeader, state: &ClusterState, version: u64) {
    if version == state.actions_version() {
        return;
    }
    let reading = |client: SessionsClient<Channel>| async move {
        let mut client = client.max_decoding_message_size(ACTIONS_BYTES_MAX);
        client.get_forces(GetForcesRequest {}).await
    };
    match leader.call("reading what is in force", reading).await {
        Ok(reply) => match read_actions(&reply) {
            Ok(known) => state.set_active_actions(known),
            Err(error) => tracing::error!(%error, "what automation has in force makes no sense"),
        },
        Err(error) => tracing::warn!(%error, "what automation has in force could not be read"),
    }
}

/// Forgets what mail is signed with where the leader knows that to have changed.
pub async fn signing(leader: &MetaLeader, state: &ClusterState, version: u64) {
    let known = state.signing();
    let Some(since) = known.hear(version, since_boot()) else {
        return;
    };
    let reading = |mut client: SessionsClient<Channel>| async move {
        let request = GetSigningChangesRequest { since };
        client.get_signing_changes(request).await
    };
    match leader
        .call("reading whose signing has changed", reading)
        .await
    {
        Ok(changes) => known.forget(&changes, since_boot()),
        Err(error) => tracing::warn!(%error, "it cannot be read whose signing has changed"),
    }
}

fn read_actions(reply: &GetForcesReply) -> Result<KnownActions, codec::CorruptRow> {
    Ok(KnownActions {
        version: reply.version,
        active_actions: codec::decode(&reply.active_actions)?,
        suspensions: codec::decode(&reply.suspensions)?,
        time: Some(GroupTime::at(UnixMs(reply.now_ms))),
    })
}

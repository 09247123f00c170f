//! What automation has in force, as a sender knows it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_model::automation::{ActiveActions, Suspensions};
use skein_model::{UnixMs, codec};
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{GetForcesReply, GetForcesRequest};
use tokio::sync::watch;

use crate::channel::Channel;
use crate::cluster::Cluster;
use crate::keeper::Keeper;
use crate::warmup::GroupTime;

/// 4096 actions with the longest names and reasons take less.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What is in force, and the time by which it ends.
#[derive(Debug, Clone, Default)]
pub struct KnownActions {
    /// Grows with every change; 0 before anything was.
    pub version: u64,
    pub active_actions: ActiveActions,
    /// Of operators.
    pub suspensions: Suspensions,
    /// None: it was not read yet.
    time: Option<GroupTime>,
}

impl KnownActions {
    /// By this machine's clock.
    pub fn of(version: u64, active_actions: ActiveActions) -> Self {
        Self {
            version,
            active_actions,
            suspensions: Suspensions::default(),
            time: None,
        }
    }

    /// The group's time: the clock of this machine may be wrong, and may be set.
    pub fn now(&self) -> UnixMs {
        match self.time {
            Some(time) => time.now(),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                let ms = since.unwrap_or_default().as_millis();
                UnixMs(u64::try_from(ms).unwrap_or(u64::MAX))
            }
        }
    }
}

impl Cluster {
    /// What automation has in force, as the session of this process last read it.
    pub fn active_actions(&self) -> watch::Receiver<Arc<KnownActions>> {
        self.shared.active_actions.subscribe()
    }

    pub(crate) fn actions_version(&self) -> u64 {
        self.shared.active_actions.borrow().version
    }
}

impl Keeper {
    /// Reads what is in force if the leader knows another version. What cannot be read now is asked for after the next
    /// heartbeat.
    pub(crate) async fn read_forces(&self, version: u64) {
        let cluster = &self.sessions.cluster;
        if version == cluster.actions_version() {
            return;
        }
        let reading = |client: SessionsClient<Channel>| async move {
            let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
            client.get_forces(GetForcesRequest {}).await
        };
        let reply = match self
            .sessions
            .call("reading what is in force", reading)
            .await
        {
            Ok(reply) => reply,
            Err(error) => {
                tracing::warn!(%error, "what automation has in force could not be read");
                return;
            }
        };
        let GetForcesReply {
            version,
            active_actions,
            now_ms,
            suspensions,
        } = reply;
        match codec::decode(&active_actions)
            .and_then(|active_actions| Ok((active_actions, codec::decode(&suspensions)?)))
        {
            Ok((active_actions, suspensions)) => {
                let known = KnownActions {
                    version,
                    active_actions,
                    suspensions,
                    time: Some(GroupTime::at(UnixMs(now_ms))),
                };
                cluster.shared.active_actions.send_replace(Arc::new(known));
            }
            Err(error) => tracing::error!(%error, "what automation has in force makes no sense"),
        }
    }
}

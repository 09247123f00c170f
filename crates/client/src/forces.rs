//! What automation has in force, as a sender knows it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use skein_model::automation::{Forces, Suspensions};
use skein_model::{UnixMs, codec};
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{GetForcesReply, GetForcesRequest};
use tokio::sync::watch;

use crate::channel::Channel;
use crate::cluster::Cluster;
use crate::keeper::Keeper;
use crate::warmup::GroupTime;

/// 4096 forces with the longest names and reasons take less.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// What is in force, and the time by which it ends.
#[derive(Debug, Clone, Default)]
pub struct KnownForces {
    /// Grows with every change; 0 before anything was.
    pub version: u64,
    pub forces: Forces,
    /// Of operators.
    pub words: Suspensions,
    /// None: it was not read yet.
    time: Option<GroupTime>,
}

impl KnownForces {
    /// By this machine's clock.
    pub fn of(version: u64, forces: Forces) -> Self {
        Self {
            version,
            forces,
            words: Suspensions::default(),
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
    pub fn forces(&self) -> watch::Receiver<Arc<KnownForces>> {
        self.shared.forces.subscribe()
    }

    pub(crate) fn forces_version(&self) -> u64 {
        self.shared.forces.borrow().version
    }
}

impl Keeper {
    /// Reads what is in force if the leader knows another version. What cannot be read now is asked for after the next
    /// heartbeat.
    pub(crate) async fn read_forces(&self, version: u64) {
        let cluster = &self.sessions.cluster;
        if version == cluster.forces_version() {
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
            forces,
            now_ms,
            words,
        } = reply;
        match codec::decode(&forces).and_then(|forces| Ok((forces, codec::decode(&words)?))) {
            Ok((forces, words)) => {
                let known = KnownForces {
                    version,
                    forces,
                    words,
                    time: Some(GroupTime::at(UnixMs(now_ms))),
                };
                cluster.shared.forces.send_replace(Arc::new(known));
            }
            Err(error) => tracing::error!(%error, "what automation has in force makes no sense"),
        }
    }
}

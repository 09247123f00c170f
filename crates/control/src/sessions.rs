//! Sessions of senders: kept in the meta group, kept alive by its leader.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::meta::{self, Command};
use skein_model::{SessionId, codec};
use skein_store::Reader;
use skein_wire::internal::sessions_server::Sessions;
use skein_wire::internal::{
    AssignedSlot, CloseSessionReply, CloseSessionRequest, HeartbeatReply, HeartbeatRequest,
    OpenSessionReply, OpenSessionRequest, Slots,
};
use tonic::{Request, Response, Status};

use crate::raft::Group;

/// A session lasts this long after its last heartbeat.
const LEASE: Duration = Duration::from_secs(10);
/// The leader waits longer than the sender counts, for what clocks differ in that time and for the way there.
const GRACE: Duration = Duration::from_millis(1100);
const LOOK: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct SessionsService {
    meta: Arc<Group>,
    reader: Reader,
    leases: Arc<Mutex<Leases>>,
}

/// In the leader's memory only. A new leader gives every session a whole lease.
#[derive(Default)]
struct Leases {
    /// The term that this is of.
    term: u64,
    heard: HashMap<SessionId, Instant>,
}

impl SessionsService {
    pub fn start(meta: Arc<Group>, reader: Reader) -> Self {
        let service = Self {
            meta,
            reader,
            leases: Arc::default(),
        };
        tokio::spawn(expire(service.clone()));
        service
    }

    async fn propose(&self, command: Command) -> Result<(), Status> {
        self.meta
            .propose(codec::encode(&command))
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(())
    }

    fn slots(&self, session: SessionId) -> Slots {
        let assigned = meta::assignments(&self.reader);
        let mine = assigned.iter().filter(|(_, held)| held.session == session);
        Slots {
            // Epochs only grow, so their sum is another one after every change.
            version: assigned.values().map(|held| held.epoch.0).sum(),
            slots: mine
                .map(|(slot, held)| AssignedSlot {
                    slot: slot.0.into(),
                    epoch: held.epoch.0,
                })
                .collect(),
        }
    }

    fn heard_from(&self, session: SessionId) {
        self.leases.lock().heard.insert(session, Instant::now());
    }

    /// Sessions that were silent for too long.
    fn silent(&self) -> Vec<SessionId> {
        let term = self.meta.view().term;
        let mut leases = self.leases.lock();
        if leases.term != term {
            *leases = Leases {
                term,
                ..Leases::default()
            };
        }
        let sessions = meta::sessions(&self.reader);
        leases
            .heard
            .retain(|session, _| sessions.contains_key(session));
        let mut silent = Vec::new();
        for session in sessions.into_keys() {
            let heard = leases.heard.entry(session).or_insert_with(Instant::now);
            if heard.elapsed() > LEASE + GRACE {
                silent.push(session);
            }
        }
        silent
    }
}

/// Ends sessions of which nothing is heard, while this node leads.
async fn expire(service: SessionsService) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !service.meta.is_leader() {
            continue;
        }
        for session in service.silent() {
            tracing::warn!(%session, "a sender is silent; its slots go to others");
            if let Err(status) = service.propose(Command::CloseSession(session)).await {
                tracing::warn!(%session, reason = status.message(), "the session cannot be ended yet");
            }
        }
    }
}

#[tonic::async_trait]
impl Sessions for SessionsService {
    async fn open(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionReply>, Status> {
        let sender = request.into_inner().sender;
        if sender.is_empty() {
            return Err(Status::invalid_argument(
                "sender: a session needs the sender's name",
            ));
        }
        let session = SessionId(rand::random());
        self.propose(Command::OpenSession { session, sender })
            .await?;
        self.heard_from(session);
        Ok(Response::new(OpenSessionReply {
            session: session.0,
            slots: Some(self.slots(session)),
            lease_ms: LEASE.as_millis() as u64,
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        let request = request.into_inner();
        let session = SessionId(request.session);
        if !self.meta.is_leader() {
            return Err(Status::unavailable(
                "this node does not lead the meta group",
            ));
        }
        let alive = meta::session_lives(&self.reader, session);
        if alive {
            self.heard_from(session);
        }
        let slots = self.slots(session);
        Ok(Response::new(HeartbeatReply {
            alive,
            slots: (slots.version != request.version).then_some(slots),
        }))
    }

    async fn close(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionReply>, Status> {
        let session = SessionId(request.into_inner().session);
        self.propose(Command::CloseSession(session)).await?;
        Ok(Response::new(CloseSessionReply {}))
    }
}

//! Sessions of senders, kept in the meta group.

use std::sync::Arc;

use skein_model::meta::{self, Command};
use skein_model::{SessionId, codec};
use skein_store::Reader;
use skein_wire::internal::sessions_server::Sessions;
use skein_wire::internal::{
    AssignedSlot, CloseSessionReply, CloseSessionRequest, OpenSessionReply, OpenSessionRequest,
};
use tonic::{Request, Response, Status};

use crate::group::Group;

pub struct SessionsService {
    meta: Arc<Group>,
    reader: Reader,
}

impl SessionsService {
    pub fn new(meta: Arc<Group>, reader: Reader) -> Self {
        Self { meta, reader }
    }

    async fn propose(&self, command: Command) -> Result<(), Status> {
        self.meta
            .propose(codec::encode(&command))
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(())
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
        let slots = meta::assignments(&self.reader)
            .into_iter()
            .filter(|(_, held)| held.session == session)
            .map(|(slot, held)| AssignedSlot {
                slot: slot.0.into(),
                epoch: held.epoch.0,
            })
            .collect();
        Ok(Response::new(OpenSessionReply {
            session: session.0,
            slots,
        }))
    }

    async fn close(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionReply>, Status> {
        self.propose(Command::CloseSession(SessionId(
            request.into_inner().session,
        )))
        .await?;
        Ok(Response::new(CloseSessionReply {}))
    }
}

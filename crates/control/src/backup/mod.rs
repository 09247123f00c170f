//! Backup and restore of the cluster's whole state, from and to any control node.

mod create;
mod restore;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use skein_client::Spools;
use skein_model::GroupId;
use skein_store::{Reader, Store};
use skein_wire::internal::backup_part::Part;
use skein_wire::internal::backup_server::{Backup, BackupServer};
use skein_wire::internal::{BackupPart, CreateBackupRequest, RestoreReply};
use tonic::{Request, Response, Status, Streaming};

use crate::MESSAGE_BYTES_MAX;
use crate::access::{self, Audit};
use crate::config::Config;
use crate::raft::Forward;
use crate::spool::SpoolGroup;

/// Of the parts and their order. A later one is refused.
const FORMAT: u32 = 1;

#[derive(Clone)]
pub struct BackupService {
    pub config: Config,
    pub store: Arc<Store>,
    pub meta: Reader,
    pub groups: Arc<BTreeMap<GroupId, SpoolGroup>>,
    pub forward: Forward,
    /// The same groups as their clients reach them: bodies come from and go to all voters.
    pub spools: Spools,
    pub audit: Audit,
}

impl BackupService {
    pub fn server(self) -> BackupServer<Self> {
        BackupServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

fn part(part: Part) -> BackupPart {
    BackupPart { part: Some(part) }
}

#[tonic::async_trait]
impl Backup for BackupService {
    type CreateStream = BoxStream<'static, Result<BackupPart, Status>>;

    async fn create(
        &self,
        request: Request<CreateBackupRequest>,
    ) -> Result<Response<Self::CreateStream>, Status> {
        let from = access::address(&request).map(|from| from.to_string());
        let id = self
            .audit
            .begin("CreateBackup", from, String::new())
            .await?;
        let parts = create::start(self.clone()).await;
        self.audit
            .end(id, "CreateBackup", parts.as_ref().err())
            .await;
        Ok(Response::new(Box::pin(parts?)))
    }

    async fn restore(
        &self,
        request: Request<Streaming<BackupPart>>,
    ) -> Result<Response<RestoreReply>, Status> {
        let from = access::address(&request).map(|from| from.to_string());
        // What is restored has the state of another cluster, and this entry goes under with what was here.
        let id = self.audit.begin("Restore", from, String::new()).await?;
        let reply = restore::run(self, request.into_inner()).await;
        self.audit.end(id, "Restore", reply.as_ref().err()).await;
        Ok(Response::new(reply?))
    }
}

//! The admin API.

use std::sync::Arc;

use skein_model::spool::{
    Command, FlushScope, QueueRow, Response as SpoolResponse, TaskRow, query,
};
use skein_model::{MessageId, QueueId, TaskId, UnixMs, codec, meta};
use skein_store::Reader;
use skein_wire::convert;
use skein_wire::v1::admin_server::Admin;
use skein_wire::v1::{
    DeleteMessageRequest, DeleteMessageResponse, FlushQueuesRequest, FlushQueuesResponse,
    GetMessageRequest, GetQueueRequest, GetStatusRequest, ListQueuesRequest, ListQueuesResponse,
    Message, Queue, QueueDetail, Status as ClusterStatus, TaskSummary,
};
use tonic::{Request, Response, Status};

use crate::raft::Group;
use crate::{Config, SpoolGroup};

/// A page of any list; larger answers cost memory and are read by nobody.
const PAGE_MAX: usize = 1000;

pub struct AdminService {
    pub config: Config,
    pub started_at: UnixMs,
    pub meta: Arc<Group>,
    pub meta_reader: Reader,
    pub spool: SpoolGroup,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        let state = query::state(&self.spool.reader);
        Ok(Response::new(ClusterStatus {
            version: self.config.version.clone(),
            node_id: format!("{:016x}", self.spool.node.0),
            role: self.config.role.clone(),
            started_at_ms: self.started_at.0,
            open_messages: state.open_messages,
            open_tasks: state.open_tasks,
            open_body_bytes: state.open_body_bytes,
            queues: count_queues(&self.spool.reader),
            groups: vec![self.meta.status(), self.spool.group.status()],
            sessions: meta::sessions(&self.meta_reader).len() as u64,
            slots_owned: meta::assignments(&self.meta_reader).len() as u64,
            data_dir: self.config.data_dir.display().to_string(),
        }))
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let request = request.into_inner();
        let limit = page(request.limit, 100);
        let mut after = match request.page_token.as_str() {
            "" => None,
            token => Some(
                queue_id(token)
                    .ok_or_else(|| Status::invalid_argument("page_token: not one of ours"))?,
            ),
        };
        let mut queues = Vec::new();
        let mut next_page_token = String::new();
        loop {
            let found = query::queues(&self.spool.reader, after, PAGE_MAX);
            let Some((last, _)) = found.last() else {
                break;
            };
            after = Some(*last);
            for (id, row) in found {
                if queues.len() == limit {
                    break;
                }
                if request.domain.is_empty() || row.domain.as_str() == request.domain {
                    next_page_token = id.to_string();
                    queues.push(self.queue(id, &row));
                }
            }
            if queues.len() == limit {
                return Ok(Response::new(ListQueuesResponse {
                    queues,
                    next_page_token,
                }));
            }
        }
        Ok(Response::new(ListQueuesResponse {
            queues,
            next_page_token: String::new(),
        }))
    }

    async fn get_queue(
        &self,
        request: Request<GetQueueRequest>,
    ) -> Result<Response<QueueDetail>, Status> {
        let request = request.into_inner();
        let (id, row) = self
            .find_queues(&request.queue)
            .into_iter()
            .next()
            .ok_or_else(|| no_queue(&request.queue))?;
        let rows = &self.spool.reader;
        let due = query::due(
            rows,
            id,
            UnixMs(0),
            UnixMs(u64::MAX),
            page(request.limit, 20),
        );
        let tasks = due
            .into_iter()
            .filter_map(|(_, task)| Some(summary(task, &query::task(rows, task)?)))
            .collect();
        Ok(Response::new(QueueDetail {
            queue: Some(self.queue(id, &row)),
            tasks,
        }))
    }

    async fn get_message(
        &self,
        request: Request<GetMessageRequest>,
    ) -> Result<Response<Message>, Status> {
        let id = message_id(&request.into_inner().id)?;
        let rows = &self.spool.reader;
        let row = query::message(rows, id).ok_or_else(|| no_message(id))?;
        Ok(Response::new(Message {
            id: id.to_string(),
            sender: row.envelope.return_path,
            tenant: row.envelope.tenant,
            pool: row.envelope.pool,
            bytes: row.body.bytes,
            accepted_at_ms: row.accepted_at.0,
            finished_at_ms: row.finished_at.map_or(0, |at| at.0),
            open_tasks: query::tasks_of(rows, id)
                .iter()
                .map(|(task, row)| summary(*task, row))
                .collect(),
            history: query::history(rows, id)
                .iter()
                .map(convert::history_entry)
                .collect(),
            envid: row.envelope.envid.unwrap_or_default(),
        }))
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        let id = message_id(&request.into_inner().id)?;
        let command = Command::Delete {
            message: id,
            by: "admin".into(),
        };
        match self.commit(&command).await? {
            SpoolResponse::Count(recipients) => {
                Ok(Response::new(DeleteMessageResponse { recipients }))
            }
            SpoolResponse::Done => Ok(Response::new(DeleteMessageResponse { recipients: 0 })),
            SpoolResponse::Refused(_) => Err(no_message(id)),
        }
    }

    async fn flush_queues(
        &self,
        request: Request<FlushQueuesRequest>,
    ) -> Result<Response<FlushQueuesResponse>, Status> {
        let name = request.into_inner().queue;
        let queues = self.find_queues(&name);
        if queues.is_empty() && !name.is_empty() {
            return Err(no_queue(&name));
        }
        let mut tasks = 0;
        for (id, _) in queues {
            // One command moves a bounded number of tasks; it is repeated until none is left.
            loop {
                match self.commit(&Command::Flush(FlushScope::Queue(id))).await? {
                    SpoolResponse::Count(moved) if moved > 0 => tasks += moved,
                    _ => break,
                }
            }
        }
        Ok(Response::new(FlushQueuesResponse { tasks }))
    }
}

impl AdminService {
    async fn commit(&self, command: &Command) -> Result<SpoolResponse, Status> {
        let reply = self
            .spool
            .group
            .propose(codec::encode(command))
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        codec::decode(&reply).map_err(|error| Status::internal(error.to_string()))
    }

    fn queue(&self, id: QueueId, row: &QueueRow) -> Queue {
        let head = query::due(&self.spool.reader, id, UnixMs(0), UnixMs(u64::MAX), 1);
        Queue {
            id: id.to_string(),
            domain: row.domain.to_string(),
            tenant: row.tenant.clone(),
            pool: row.pool.clone(),
            slot: row.slot.0.into(),
            tasks: row.tasks,
            next_due_at_ms: head.first().map_or(0, |(due, _)| due.0),
        }
    }

    /// By id, by domain, or all when `name` is empty.
    fn find_queues(&self, name: &str) -> Vec<(QueueId, QueueRow)> {
        if let Some((id, row)) =
            queue_id(name).and_then(|id| Some((id, query::queue(&self.spool.reader, id)?)))
        {
            return vec![(id, row)];
        }
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let queues = query::queues(&self.spool.reader, after, PAGE_MAX);
            let Some((last, _)) = queues.last() else {
                return found;
            };
            after = Some(*last);
            found.extend(
                queues
                    .into_iter()
                    .filter(|(_, row)| name.is_empty() || row.domain.as_str() == name),
            );
        }
    }
}

fn count_queues(rows: &Reader) -> u64 {
    let mut count = 0;
    let mut after = None;
    loop {
        let queues = query::queues(rows, after, PAGE_MAX);
        let Some((last, _)) = queues.last() else {
            return count;
        };
        after = Some(*last);
        count += queues.len() as u64;
    }
}

fn page(limit: u32, default: usize) -> usize {
    if limit == 0 {
        default
    } else {
        (limit as usize).min(PAGE_MAX)
    }
}

fn queue_id(text: &str) -> Option<QueueId> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(QueueId))?
}

fn message_id(text: &str) -> Result<MessageId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("id: {error}")))
}

fn no_message(id: MessageId) -> Status {
    Status::not_found(format!(
        "no message {id} is open; finished messages are known for a day, older ones by the event log"
    ))
}

fn no_queue(name: &str) -> Status {
    Status::not_found(format!(
        "no queue {name:?} has open tasks; list them with `skeinctl queue list`"
    ))
}

fn summary(id: TaskId, row: &TaskRow) -> TaskSummary {
    TaskSummary {
        message_id: id.message.to_string(),
        number: id.number,
        recipients: row
            .recipients
            .iter()
            .map(|(_, recipient)| recipient.address.clone())
            .collect(),
        attempts: row.attempts,
        due_at_ms: row.due.0,
        created_at_ms: row.created.0,
        last_reply: row
            .last_reply
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        domain: row.domain.to_string(),
    }
}

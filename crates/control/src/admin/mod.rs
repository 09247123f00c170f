//! The admin API. Any node answers for the whole cluster: it reads its own replicas, and sends changes to the leaders.

mod audit;
mod automation;
mod cluster;
mod doctor;
mod domains;
mod explain;
mod explain_waits;
mod ips;
mod locks;
mod nodes;
mod policy;
mod policy_change;
mod policy_diff;
mod policy_history;
mod queue_list;
mod queue_states;
mod queues;
mod reasons;
mod selection;
mod shares;
mod suspensions;
mod tls;
mod warmup;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use skein_model::doctor::group_name;
use skein_model::spool::{Command, Response as SpoolResponse, TaskRow, query};
use skein_model::{GroupId, MessageId, NodeId, TaskId, UnixMs, codec, meta};
use skein_store::Reader;
use skein_wire::convert;
use skein_wire::v1::admin_server::Admin;
use skein_wire::v1::{
    AddDomainRequest, AddNodeRequest, AddNodeResponse, ApplyPolicyRequest, ApplyPolicyResponse,
    BounceClass, ChangeWarmupsRequest, ChangeWarmupsResponse, CheckDomainRequest,
    CheckDomainResponse, Cluster, DeleteMessageRequest, DeleteMessageResponse, Domain,
    DrainNodeRequest, DrainNodeResponse, ExamineRequest, ExamineResponse, ExplainLimitsRequest,
    ExplainLimitsResponse, ExplainRequest, ExplainResponse, ExplainTlsRequest, ExplainTlsResponse,
    FlushQueuesRequest, FlushQueuesResponse, FlushTlsPolicyRequest, FlushTlsPolicyResponse,
    GetClusterRequest, GetDomainRequest, GetMessageRequest, GetQueueRequest, GetStatusRequest,
    GetTlsPolicyRequest, LiftAutomationRequest, LiftAutomationResponse, ListAuditRequest,
    ListAuditResponse, ListAutomationRequest, ListAutomationResponse, ListDomainsRequest,
    ListDomainsResponse, ListGroupsRequest, ListGroupsResponse, ListIpsRequest, ListIpsResponse,
    ListLocksRequest, ListLocksResponse, ListNodesRequest, ListNodesResponse,
    ListPolicyHistoryRequest, ListPolicyHistoryResponse, ListPolicyRequest, ListPolicyResponse,
    ListQueuesRequest, ListQueuesResponse, ListSlotsRequest, ListSlotsResponse,
    ListSuspensionsRequest, ListSuspensionsResponse, ListTenantsRequest, ListTenantsResponse,
    ListTlsPoliciesRequest, ListTlsPoliciesResponse, ListTlsReportsRequest, ListTlsReportsResponse,
    ListWarmupsRequest, ListWarmupsResponse, Message, MoveLeaderRequest, MoveLeaderResponse,
    MoveQueuesRequest, MoveQueuesResponse, MoveSlotRequest, MoveSlotResponse, Priority,
    QueueDetail, RemoveDomainRequest, RemoveDomainResponse, RemoveNodeRequest, RemoveNodeResponse,
    RemoveSenderRequest, RemoveSenderResponse, ResumeRequest, ResumeResponse, RewrapKeysRequest,
    RewrapKeysResponse, RollbackPolicyRequest, RotateDomainKeyRequest, RotateDomainKeyResponse,
    SendTlsReportsRequest, SendTlsReportsResponse, SetSpreadRequest, SetSpreadResponse,
    SetTenantRequest, SetTenantResponse, Status as ClusterStatus, SuspendRequest, SuspendResponse,
    TaskSummary, TlsPolicyEntry, UnlockRequest, UnlockResponse,
};
use tonic::{Request, Response, Status};

use crate::access::{self, Audit};
use crate::cluster::Members;
use crate::config::Config;
use crate::domains::Domains;
use crate::raft::Forward;
use crate::senders::SessionsService;
use crate::spool::SpoolGroup;
use crate::tls_policies::TlsPolicies;

/// Says with an answer that it may be old, and why: the node that gives it hears from no leader.
const STALE: &str = "skein-stale";

/// A page of any list; larger answers cost memory, and no reader looks at so much.
const PAGE_MAX: usize = 1000;

pub struct AdminService {
    pub config: Config,
    pub started_at: UnixMs,
    pub node: NodeId,
    pub meta: Reader,
    pub spools: Arc<BTreeMap<GroupId, SpoolGroup>>,
    pub forward: Forward,
    pub members: Members,
    pub tls_policies: TlsPolicies,
    pub sessions: SessionsService,
    pub audit: Audit,
    pub domains: Domains,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        let states = self.spools.values();
        let states: Vec<_> = states.map(|spool| query::state(&spool.reader)).collect();
        let owned = meta::assignments(&self.meta).into_values();
        let groups = self.forward.groups.values();
        Ok(self
            .answer(ClusterStatus {
                version: self.config.version.clone(),
                node_id: format!("{:016x}", self.node.0),
                role: self.config.role.into(),
                started_at_ms: self.started_at.0,
                open_messages: states.iter().map(|state| state.open_messages).sum(),
                open_tasks: states.iter().map(|state| state.open_tasks).sum(),
                open_body_bytes: states.iter().map(|state| state.open_body_bytes).sum(),
                queues: self.count_queues(),
                groups: groups.map(|group| group.status()).collect(),
                sessions: meta::sessions(&self.meta)
                    .values()
                    .filter(|row| row.is_senders())
                    .count() as u64,
                slots_owned: owned
                    .filter(|held| held.session != skein_model::SessionId::NONE)
                    .count() as u64,
                data_dir: self.config.data_dir.display().to_string(),
            })
            .await)
    }

    async fn list_queues(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        let page = self.list_of_queues(request.into_inner()).await?;
        Ok(self.answer(page).await)
    }

    async fn get_queue(
        &self,
        request: Request<GetQueueRequest>,
    ) -> Result<Response<QueueDetail>, Status> {
        let detail = self.queue_detail(&request.into_inner()).await?;
        Ok(self.answer(detail).await)
    }

    async fn get_message(
        &self,
        request: Request<GetMessageRequest>,
    ) -> Result<Response<Message>, Status> {
        let id = self.message_id(&request.into_inner().id)?;
        let only = access::only_tenant();
        let rows = &self
            .spools
            .get(&id.group())
            .ok_or_else(|| no_message(id))?
            .reader;
        // Whoever may not see a message learns nothing of it.
        let row = query::message(rows, id)
            .filter(|row| only.is_none_or(|only| row.envelope.tenant == *only))
            .ok_or_else(|| no_message(id))?;
        Ok(self
            .answer(Message {
                id: id.to_string(),
                sender: row.envelope.return_path,
                tenant: row.envelope.tenant,
                pool: row.envelope.pool,
                priority: Priority::from(row.envelope.priority).into(),
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
            })
            .await)
    }

    async fn delete_message(
        &self,
        request: Request<DeleteMessageRequest>,
    ) -> Result<Response<DeleteMessageResponse>, Status> {
        self.audited("DeleteMessage", request, |request| async move {
            self.delete(&request.id).await
        })
        .await
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let parts = self.explain_waits(request.into_inner()).await?;
        Ok(self.answer(ExplainResponse { parts }).await)
    }

    async fn flush_queues(
        &self,
        request: Request<FlushQueuesRequest>,
    ) -> Result<Response<FlushQueuesResponse>, Status> {
        self.audited("FlushQueues", request, |request| async move {
            let tasks = self.flush(&request.queue).await?;
            Ok(FlushQueuesResponse { tasks })
        })
        .await
    }

    async fn move_queues(
        &self,
        request: Request<MoveQueuesRequest>,
    ) -> Result<Response<MoveQueuesResponse>, Status> {
        self.audited("MoveQueues", request, |request| async move {
            AdminService::move_queues(self, request).await
        })
        .await
    }

    async fn list_nodes(
        &self,
        _request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let nodes = ListNodesResponse {
            control_nodes: self.control_nodes().await,
            senders: self.senders().await,
            policy_version: meta::policy_version(&self.meta),
        };
        Ok(self.answer(nodes).await)
    }

    async fn drain_node(
        &self,
        request: Request<DrainNodeRequest>,
    ) -> Result<Response<DrainNodeResponse>, Status> {
        self.audited("DrainNode", request, |request| async move {
            self.set_drained(request.name, !request.resume).await?;
            Ok(DrainNodeResponse {})
        })
        .await
    }

    async fn list_slots(
        &self,
        request: Request<ListSlotsRequest>,
    ) -> Result<Response<ListSlotsResponse>, Status> {
        let slots = self.slots(&request.into_inner().sender);
        let spreads = self.spreads();
        Ok(self.answer(ListSlotsResponse { slots, spreads }).await)
    }

    async fn move_slot(
        &self,
        request: Request<MoveSlotRequest>,
    ) -> Result<Response<MoveSlotResponse>, Status> {
        self.audited("MoveSlot", request, |request| async move {
            self.move_one(request.slot, &request.to).await?;
            Ok(MoveSlotResponse {})
        })
        .await
    }

    async fn list_groups(
        &self,
        _request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        let groups = self.groups();
        Ok(self.answer(ListGroupsResponse { groups }).await)
    }

    async fn get_cluster(
        &self,
        _request: Request<GetClusterRequest>,
    ) -> Result<Response<Cluster>, Status> {
        Ok(self.answer(self.cluster().await).await)
    }

    async fn examine(
        &self,
        request: Request<ExamineRequest>,
    ) -> Result<Response<ExamineResponse>, Status> {
        let examined = self.examination(&request.into_inner().port_25).await?;
        Ok(self.answer(examined).await)
    }

    async fn add_node(
        &self,
        request: Request<AddNodeRequest>,
    ) -> Result<Response<AddNodeResponse>, Status> {
        self.audited("AddNode", request, |request| async move {
            self.add(&request.address).await
        })
        .await
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeResponse>, Status> {
        self.audited("RemoveNode", request, |request| async move {
            self.remove(&request.node).await
        })
        .await
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.audited("MoveLeader", request, |request| async move {
            self.give_leader(request.group, &request.node).await
        })
        .await
    }

    async fn remove_sender(
        &self,
        request: Request<RemoveSenderRequest>,
    ) -> Result<Response<RemoveSenderResponse>, Status> {
        self.audited("RemoveSender", request, |request| async move {
            let slots = self.end_sender(request.name, request.is_dead).await?;
            Ok(RemoveSenderResponse { slots })
        })
        .await
    }

    async fn list_tenants(
        &self,
        _request: Request<ListTenantsRequest>,
    ) -> Result<Response<ListTenantsResponse>, Status> {
        let tenants = self.tenants();
        Ok(self.answer(ListTenantsResponse { tenants }).await)
    }

    async fn apply_policy(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        self.audited("ApplyPolicy", request, |request| async move {
            AdminService::apply_policy(self, request).await
        })
        .await
    }

    async fn examine_policy(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        let request = ApplyPolicyRequest {
            dry_run: true,
            ..request.into_inner()
        };
        let examined = AdminService::apply_policy(self, request).await?;
        Ok(self.answer(examined).await)
    }

    async fn list_policy(
        &self,
        request: Request<ListPolicyRequest>,
    ) -> Result<Response<ListPolicyResponse>, Status> {
        let listed = self.policy(&request.into_inner())?;
        Ok(self.answer(listed).await)
    }

    async fn list_policy_history(
        &self,
        request: Request<ListPolicyHistoryRequest>,
    ) -> Result<Response<ListPolicyHistoryResponse>, Status> {
        let listed = self.policy_history(&request.into_inner())?;
        Ok(self.answer(listed).await)
    }

    async fn rollback_policy(
        &self,
        request: Request<RollbackPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        self.audited("RollbackPolicy", request, |request| async move {
            AdminService::rollback_policy(self, request).await
        })
        .await
    }

    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        let listed = self.audit_log(&request.into_inner())?;
        Ok(self.answer(listed).await)
    }

    async fn list_locks(
        &self,
        request: Request<ListLocksRequest>,
    ) -> Result<Response<ListLocksResponse>, Status> {
        let listed = self.list_lockouts(request.into_inner()).await?;
        Ok(Response::new(listed))
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        self.audited("Unlock", request, |request| async move {
            self.unlock_name(&request.name).await
        })
        .await
    }

    async fn list_ips(
        &self,
        _request: Request<ListIpsRequest>,
    ) -> Result<Response<ListIpsResponse>, Status> {
        let ips = self.source_ips()?;
        Ok(self.answer(ListIpsResponse { ips }).await)
    }

    async fn explain_limits(
        &self,
        request: Request<ExplainLimitsRequest>,
    ) -> Result<Response<ExplainLimitsResponse>, Status> {
        let limits = self.limits(request.into_inner()).await?;
        Ok(self.answer(limits).await)
    }

    async fn suspend(
        &self,
        request: Request<SuspendRequest>,
    ) -> Result<Response<SuspendResponse>, Status> {
        self.audited("Suspend", request, |request| async move {
            self.hold_back(request).await
        })
        .await
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ResumeResponse>, Status> {
        self.audited("Resume", request, |request| async move {
            self.let_go(request).await
        })
        .await
    }

    async fn list_suspensions(
        &self,
        _request: Request<ListSuspensionsRequest>,
    ) -> Result<Response<ListSuspensionsResponse>, Status> {
        let suspensions = self.suspensions();
        Ok(self.answer(ListSuspensionsResponse { suspensions }).await)
    }

    async fn list_automation(
        &self,
        request: Request<ListAutomationRequest>,
    ) -> Result<Response<ListAutomationResponse>, Status> {
        let listed = self.automation(&request.into_inner());
        Ok(self.answer(listed).await)
    }

    async fn lift_automation(
        &self,
        request: Request<LiftAutomationRequest>,
    ) -> Result<Response<LiftAutomationResponse>, Status> {
        self.audited("LiftAutomation", request, |request| async move {
            self.lift(request).await
        })
        .await
    }

    async fn list_warmups(
        &self,
        request: Request<ListWarmupsRequest>,
    ) -> Result<Response<ListWarmupsResponse>, Status> {
        let listed = self.warmups(&request.into_inner())?;
        Ok(self.answer(listed).await)
    }

    async fn change_warmups(
        &self,
        request: Request<ChangeWarmupsRequest>,
    ) -> Result<Response<ChangeWarmupsResponse>, Status> {
        self.audited("ChangeWarmups", request, |request| async move {
            AdminService::change_warmups(self, request).await
        })
        .await
    }

    async fn set_tenant(
        &self,
        request: Request<SetTenantRequest>,
    ) -> Result<Response<SetTenantResponse>, Status> {
        self.audited("SetTenant", request, |request| async move {
            self.set_weight(request.name, request.weight).await?;
            Ok(SetTenantResponse {})
        })
        .await
    }

    async fn set_fan(
        &self,
        request: Request<SetSpreadRequest>,
    ) -> Result<Response<SetSpreadResponse>, Status> {
        self.audited("SetFan", request, |request| async move {
            self.spread(&request.site, request.slot_count).await?;
            Ok(SetSpreadResponse {})
        })
        .await
    }

    async fn add_domain(
        &self,
        request: Request<AddDomainRequest>,
    ) -> Result<Response<Domain>, Status> {
        self.audited("AddDomain", request, |request| self.new_domain(request))
            .await
    }

    async fn remove_domain(
        &self,
        request: Request<RemoveDomainRequest>,
    ) -> Result<Response<RemoveDomainResponse>, Status> {
        self.audited("RemoveDomain", request, |request| async move {
            self.forget_domain(&request.name).await?;
            Ok(RemoveDomainResponse {})
        })
        .await
    }

    async fn explain_tls(
        &self,
        request: Request<ExplainTlsRequest>,
    ) -> Result<Response<ExplainTlsResponse>, Status> {
        let explained = self.tls_of(&request.into_inner().domain).await?;
        Ok(self.answer(explained).await)
    }

    async fn list_tls_policies(
        &self,
        request: Request<ListTlsPoliciesRequest>,
    ) -> Result<Response<ListTlsPoliciesResponse>, Status> {
        let listed = self.tls_policy_list(&request.into_inner());
        Ok(self.answer(listed).await)
    }

    async fn get_tls_policy(
        &self,
        request: Request<GetTlsPolicyRequest>,
    ) -> Result<Response<TlsPolicyEntry>, Status> {
        let found = self.tls_policy(&request.into_inner().domain)?;
        Ok(self.answer(found).await)
    }

    async fn flush_tls_policy(
        &self,
        request: Request<FlushTlsPolicyRequest>,
    ) -> Result<Response<FlushTlsPolicyResponse>, Status> {
        self.audited("FlushTlsPolicy", request, |request| async move {
            self.flushed_tls_policy(&request.domain).await
        })
        .await
    }

    async fn list_tls_reports(
        &self,
        request: Request<ListTlsReportsRequest>,
    ) -> Result<Response<ListTlsReportsResponse>, Status> {
        let listed = self.tls_report_list(request.into_inner().limit);
        Ok(self.answer(listed).await)
    }

    async fn send_tls_reports(
        &self,
        request: Request<SendTlsReportsRequest>,
    ) -> Result<Response<SendTlsReportsResponse>, Status> {
        self.audited("SendTlsReports", request, |request| async move {
            self.sent_tls_reports(&request.day).await
        })
        .await
    }

    async fn list_domains(
        &self,
        request: Request<ListDomainsRequest>,
    ) -> Result<Response<ListDomainsResponse>, Status> {
        let listed = self.domain_list(&request.into_inner());
        Ok(self.answer(listed).await)
    }

    async fn get_domain(
        &self,
        request: Request<GetDomainRequest>,
    ) -> Result<Response<Domain>, Status> {
        let found = self.domain(&request.into_inner().name)?;
        Ok(self.answer(found).await)
    }

    async fn check_domain(
        &self,
        request: Request<CheckDomainRequest>,
    ) -> Result<Response<CheckDomainResponse>, Status> {
        let checked = self.checked_domain(&request.into_inner().name).await?;
        Ok(Response::new(checked))
    }

    async fn rotate_domain_key(
        &self,
        request: Request<RotateDomainKeyRequest>,
    ) -> Result<Response<RotateDomainKeyResponse>, Status> {
        self.audited("RotateDomainKey", request, |request| async move {
            self.rotated_domain(&request).await
        })
        .await
    }

    async fn rewrap_keys(
        &self,
        request: Request<RewrapKeysRequest>,
    ) -> Result<Response<RewrapKeysResponse>, Status> {
        self.audited("RewrapKeys", request, |_| self.rewrapped_keys())
            .await
    }
}

impl AdminService {
    /// Makes a change that is written down.
    async fn audited<Q: Serialize, A, F>(
        &self,
        call: &str,
        request: Request<Q>,
        change: impl FnOnce(Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let changed = self.audit.change(call, request, change).await?;
        Ok(Response::new(changed))
    }

    async fn delete(&self, id: &str) -> Result<DeleteMessageResponse, Status> {
        let id = self.message_id(id)?;
        if !self.spools.contains_key(&id.group()) {
            return Err(Status::not_found(format!(
                "id: there is no message {id}: its group {} is none of this cluster; is the id mistyped?",
                id.group()
            )));
        }
        let command = Command::Delete {
            message: id,
            by: access::caller(),
        };
        match self.commit(id.group(), &command).await? {
            SpoolResponse::Count(recipients) => Ok(DeleteMessageResponse { recipients }),
            SpoolResponse::Done => Ok(DeleteMessageResponse { recipients: 0 }),
            SpoolResponse::Refused(_) => Err(no_message(id)),
        }
    }

    /// The id that a message has here. One that was told before a restore into fewer groups still finds its message.
    fn message_id(&self, text: &str) -> Result<MessageId, Status> {
        let told = text.parse::<MessageId>();
        let told = told.map_err(|error| Status::invalid_argument(format!("id: {error}")))?;
        let here = told.among(self.config.spool_groups);
        let spool = self.spools.get(&here.group());
        let is_known = spool.is_some_and(|spool| query::message(&spool.reader, here).is_some());
        Ok(if is_known { here } else { told })
    }

    /// Why this node's replicas may be old: it is cut off, or what it asks has no leader.
    async fn stale(&self) -> Option<String> {
        let meta = &self.forward.groups[&GroupId::META];
        let mut told = meta
            .out_of_touch()
            .await
            .map(|why| format!("of meta, this node {why}"));
        for (id, group) in self.forward.groups.iter() {
            if told.is_none() && *id != GroupId::META {
                let why = group.out_of_touch().await;
                told = why.map(|why| format!("of {}, this node {why}", group_name(*id)));
            }
        }
        told
    }

    /// An answer from this node's replicas.
    async fn answer<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        if let Some(why) = self.stale().await
            && let Ok(why) = why.parse()
        {
            response.metadata_mut().insert(STALE, why);
        }
        response
    }

    async fn commit(&self, group: GroupId, command: &Command) -> Result<SpoolResponse, Status> {
        let reply = self.forward.propose(group, codec::encode(command)).await?;
        codec::decode(&reply).map_err(|error| Status::internal(error.to_string()))
    }
}

fn page(limit: u32, default: usize) -> usize {
    if limit == 0 {
        default
    } else {
        (limit as usize).min(PAGE_MAX)
    }
}

fn no_message(id: MessageId) -> Status {
    Status::not_found(format!(
        "no message {id} is open; finished messages are known for a day, older ones by the event log"
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
        last_class: BounceClass::of_reply(row.last_reply.as_ref()).into(),
        domain: row.domain.to_string(),
        site: row.site().to_owned(),
    }
}

//! What senders call: each call is read, and answered by what this node knows or commits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use skein_model::automation;
use skein_model::lease::LEASE;
use skein_model::meta::{self, Command, Process};
use skein_model::{GroupId, SessionId};
use skein_wire::convert;
use skein_wire::internal::sessions_server::Sessions;
use skein_wire::internal::{
    CloseSessionReply, CloseSessionRequest, GetForcesReply, GetForcesRequest, GetPolicyReply,
    GetPolicyRequest, GetSigningChangesReply, GetSigningChangesRequest, GetSigningReply,
    GetSigningRequest, GetStsPolicyReply, GetStsPolicyRequest, GrantWarmupReply,
    GrantWarmupRequest, HeartbeatReply, HeartbeatRequest, OpenSessionReply, OpenSessionRequest,
    PolicyResource, ReportLimitsReply, ReportLimitsRequest, TellGuessesReply, TellGuessesRequest,
    TellIpChecksReply, TellIpChecksRequest, TellRepliesReply, TellRepliesRequest, TellTlsReply,
    TellTlsRequest, TellWaitsReply, TellWaitsRequest, WatchReply, WatchRequest,
};
use tonic::{Request, Response, Status};

use super::sessions::SessionsService;
use super::{replies, source_ips, warmup};
use crate::{access, clock, domains};

/// A sender gives a heartbeat up after 2 s.
const CONFIRM_WITHIN: Duration = Duration::from_millis(1500);
/// Of where a process says that it runs: a host's name, a number and a path.
const PLACE_CHARS_MAX: usize = 300;

/// A process as it says of itself, and as it is seen from here.
fn process_at(number: u64, place: &str, from: Option<SocketAddr>) -> Process {
    let place: String = place.chars().take(PLACE_CHARS_MAX).collect();
    let place = match from {
        Some(from) => format!("{} ({place})", from.ip()),
        None => place,
    };
    Process { number, place }
}

impl SessionsService {
    async fn open_session(
        &self,
        request: OpenSessionRequest,
        from: Option<SocketAddr>,
        lends_only: bool,
    ) -> Result<Response<OpenSessionReply>, Status> {
        let OpenSessionRequest {
            sender,
            order,
            process,
            place,
        } = request;
        let process = process_at(process, &place, from);
        let address = match process.place.as_str() {
            "" => "this node".to_owned(),
            place => place.to_owned(),
        };
        if sender.is_empty() {
            return Err(Status::invalid_argument(
                "sender: a session needs the sender's name",
            ));
        }
        self.openings.asked(Instant::now(), &sender, &address);
        self.check_name(&sender, &process)?;
        let name = sender.clone();
        let session = SessionId(rand::random::<u64>().max(1));
        let open = match lends_only {
            true => Command::OpenEgress {
                session,
                node: sender,
                order,
            },
            false => Command::OpenSession {
                session,
                sender,
                order,
            },
        };
        if let meta::Response::Refused(refusal) = self.propose(open).await? {
            return Err(Status::failed_precondition(refusal.to_string()));
        }
        self.openings.opened(&name, &address);
        // A session that is new is not being ended.
        let _ = self.heard_from(session, None);
        self.leases.lock().is_of(session, process);
        Ok(Response::new(OpenSessionReply {
            session: session.0,
            // Before the shared sites, see there.
            slots: Some(self.slots(session)),
            lease_ms: LEASE.0,
            shared_sites: self.limits.shared_sites(None),
        }))
    }

    /// Whether the caller may speak for a session: a node that only lends its source IPs speaks for none of a sender.
    fn check_owner(&self, session: SessionId) -> Result<(), Status> {
        let row = meta::session(&self.reader, session);
        if access::only_lends() && row.is_some_and(|row| row.is_senders()) {
            return Err(Status::permission_denied(
                "session: a sender has it, and the certificate is that of an egress node",
            ));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Sessions for SessionsService {
    type WatchStream = BoxStream<'static, Result<WatchReply, Status>>;

    async fn open(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionReply>, Status> {
        let from = access::address(&request);
        self.open_session(request.into_inner(), from, false).await
    }

    async fn open_egress(
        &self,
        request: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionReply>, Status> {
        let from = access::address(&request);
        self.open_session(request.into_inner(), from, true).await
    }

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        let from = access::address(&request);
        let request = request.into_inner();
        let session = SessionId(request.session);
        self.check_owner(session)?;
        // Confirmed by a majority: one that was cut off must not keep a session that another leader ends.
        let leads = tokio::time::timeout(CONFIRM_WITHIN, self.meta.leads()).await;
        if !leads.unwrap_or(false) {
            return Err(Status::unavailable(
                "this node does not lead the meta group",
            ));
        }
        let Some(row) = meta::session(&self.reader, session) else {
            return Ok(Response::new(HeartbeatReply::default()));
        };
        let unreachable = request.unreachable_groups.iter();
        let unreachable = unreachable.filter_map(|group| u16::try_from(*group).ok().map(GroupId));
        if !self.heard_from(session, Some(unreachable.collect())) {
            return Ok(Response::new(HeartbeatReply::default()));
        }
        let process = process_at(request.process, &request.place, from);
        self.leases.lock().is_of(session, process);
        if request.retiring && !row.retiring {
            self.propose(Command::Retire(session)).await?;
        }
        let slots = convert::slots(&request.released)
            .map_err(|error| Status::invalid_argument(format!("released: {error}")))?;
        if !slots.is_empty() {
            self.propose(Command::Release { session, slots }).await?;
        }
        self.note_ips(session, &request).await?;
        self.note_policy(session, request.policy_version);
        let has_moved = meta::placements_version(&self.reader) != request.placements_version;
        let has_changed = meta::assignments_version(&self.reader) != request.version;
        let slots = has_changed.then(|| self.slots(session));
        // Read after the slots: the owner of a slot knows at least what its owner before it was to know.
        let shared = self.limits.shared_sites(Some(request.shared_version));
        let full = self.full_tenants.now();
        let full_quotas = full.iter().map(|(tenant, held)| {
            let held = held.name().to_owned();
            (tenant.clone(), held)
        });
        Ok(Response::new(HeartbeatReply {
            alive: true,
            full_tenants: full.keys().cloned().collect(),
            full_quotas: full_quotas.collect(),
            slots,
            drained: meta::drained(&self.reader).contains(&row.sender),
            spreads: self.spreads(),
            policy_version: meta::policy_version(&self.reader),
            placements: has_moved.then(|| source_ips::placements(&self.reader)),
            actions_version: automation::actions_version(&self.reader),
            shared_sites: shared,
            broken_tls: self
                .broken_tls
                .since(request.broken_tls_version, clock::now()),
            signing_version: meta::domains::signing_version(&self.reader),
            sts_version: meta::sts::version(&self.reader),
            tls_reports: self.tls_reports.is_on(),
        }))
    }

    async fn watch(
        &self,
        _request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (mut applied, reader) = (self.applied.clone(), self.reader.clone());
        applied.mark_changed();
        let state = (applied, None);
        let versions = futures::stream::unfold(state, move |(mut applied, told)| {
            let reader = reader.clone();
            async move {
                loop {
                    applied.changed().await.ok()?;
                    let now = WatchReply {
                        version: meta::assignments_version(&reader),
                        placements_version: meta::placements_version(&reader),
                        actions_version: automation::actions_version(&reader),
                        policy_version: meta::policy_version(&reader),
                        signing_version: meta::domains::signing_version(&reader),
                    };
                    if told != Some(now) {
                        return Some((Ok(now), (applied, Some(now))));
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(versions)))
    }

    async fn get_policy(
        &self,
        _request: Request<GetPolicyRequest>,
    ) -> Result<Response<GetPolicyReply>, Status> {
        // Confirmed by a majority: a session that is opened after a policy came into force must not begin by an earlier one.
        let leads = tokio::time::timeout(CONFIRM_WITHIN, self.meta.leads()).await;
        if !leads.unwrap_or(false) {
            return Err(Status::unavailable(
                "this node does not lead the meta group",
            ));
        }
        // Read first: a change that comes between is asked for again.
        let version = meta::policy_version(&self.reader);
        let resources = meta::policy(&self.reader).into_iter();
        let resources = resources.map(|(key, text)| PolicyResource { key, text });
        Ok(Response::new(GetPolicyReply {
            version,
            resources: resources.collect(),
        }))
    }

    async fn tell_waits(
        &self,
        request: Request<TellWaitsRequest>,
    ) -> Result<Response<TellWaitsReply>, Status> {
        let request = request.into_inner();
        self.check_owner(SessionId(request.session))?;
        let row = meta::session(&self.reader, SessionId(request.session));
        let row = row.ok_or_else(|| Status::not_found("session: it has ended"))?;
        self.broken_tls.tell(request.broken_tls, clock::now())?;
        let probes = self.waits.tell(row.sender, request.waits, request.health);
        Ok(Response::new(TellWaitsReply { probes }))
    }

    async fn tell_replies(
        &self,
        request: Request<TellRepliesRequest>,
    ) -> Result<Response<TellRepliesReply>, Status> {
        replies::tell(&self.meta, request.into_inner()).await?;
        Ok(Response::new(TellRepliesReply {}))
    }

    async fn get_forces(
        &self,
        _request: Request<GetForcesRequest>,
    ) -> Result<Response<GetForcesReply>, Status> {
        Ok(Response::new(replies::active_actions(&self.reader)))
    }

    async fn tell_ip_checks(
        &self,
        request: Request<TellIpChecksRequest>,
    ) -> Result<Response<TellIpChecksReply>, Status> {
        let request = request.into_inner();
        self.check_owner(SessionId(request.session))?;
        let command = Command::SetIpChecks {
            session: SessionId(request.session),
            checks: source_ips::read_checks(request.checks)?,
        };
        if let meta::Response::Refused(refusal) = self.propose(command).await? {
            return Err(Status::failed_precondition(refusal.to_string()));
        }
        Ok(Response::new(TellIpChecksReply {}))
    }

    async fn report_limits(
        &self,
        request: Request<ReportLimitsRequest>,
    ) -> Result<Response<ReportLimitsReply>, Status> {
        let reply = self.limits.report(request.into_inner()).await?;
        Ok(Response::new(reply))
    }

    async fn grant_warmup(
        &self,
        request: Request<GrantWarmupRequest>,
    ) -> Result<Response<GrantWarmupReply>, Status> {
        let granted = warmup::grant(&self.meta, &self.reader, request.into_inner()).await?;
        Ok(Response::new(granted))
    }

    async fn get_signing(
        &self,
        request: Request<GetSigningRequest>,
    ) -> Result<Response<GetSigningReply>, Status> {
        let signing = domains::signing(&self.reader, &request.into_inner().domains)?;
        Ok(Response::new(signing))
    }

    async fn get_signing_changes(
        &self,
        request: Request<GetSigningChangesRequest>,
    ) -> Result<Response<GetSigningChangesReply>, Status> {
        let changes = domains::changes(&self.reader, request.into_inner().since);
        Ok(Response::new(changes))
    }

    async fn get_sts_policy(
        &self,
        request: Request<GetStsPolicyRequest>,
    ) -> Result<Response<GetStsPolicyReply>, Status> {
        let answer = self.tls_policies.answer(request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn tell_tls(
        &self,
        request: Request<TellTlsRequest>,
    ) -> Result<Response<TellTlsReply>, Status> {
        let request = request.into_inner();
        self.check_owner(SessionId(request.session))?;
        self.tls_reports.tell(request).await?;
        Ok(Response::new(TellTlsReply {}))
    }

    async fn tell_guesses(
        &self,
        request: Request<TellGuessesRequest>,
    ) -> Result<Response<TellGuessesReply>, Status> {
        if !self.meta.is_leader() {
            return Err(Status::unavailable(
                "this node does not lead the meta group",
            ));
        }
        let heard = self.guesses.tell(request.into_inner(), &self.reader)?;
        Ok(Response::new(heard))
    }

    async fn close(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionReply>, Status> {
        let session = SessionId(request.into_inner().session);
        self.check_owner(session)?;
        self.propose(Command::CloseSession(session)).await?;
        Ok(Response::new(CloseSessionReply {}))
    }
}

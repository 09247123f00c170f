//! Sessions of senders: kept in the meta group, kept alive by its leader.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use parking_lot::Mutex;
use skein_model::automation;
use skein_model::lease::{GRACE, LEASE};
use skein_model::meta::{self, Command, Leases, Process, StillHeld};
use skein_model::{Epoch, GroupId, SessionId, codec};
use skein_store::Reader;
use skein_wire::convert;
use skein_wire::internal::sessions_server::Sessions;
use skein_wire::internal::{
    CloseSessionReply, CloseSessionRequest, GetForcesReply, GetForcesRequest, GetPolicyReply,
    GetPolicyRequest, GetWaitsReply, GrantWarmupReply, GrantWarmupRequest, HeartbeatReply,
    HeartbeatRequest, OpenSessionReply, OpenSessionRequest, PolicyResource, ReportLimitsReply,
    ReportLimitsRequest, SessionPolicy, SiteSpread, Slots, TellIpChecksReply, TellIpChecksRequest,
    TellRepliesReply, TellRepliesRequest, TellWaitsReply, TellWaitsRequest, WatchReply,
    WatchRequest,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::access;
use crate::broken_tls::BrokenTlsMemory;
use crate::clock;
use crate::contested::ContestedNames;
use crate::ips;
use crate::limits::Limits;
use crate::raft::{Group, ProposeError};
use crate::reopened::Openings;
use crate::replies;
use crate::waits::SenderWaits;
use crate::warmup;

/// A sender gives a heartbeat up after 2 s.
const CONFIRM_WITHIN: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(500);
/// Of where a process says that it runs: a host's name, a number and a path.
const PLACE_CHARS_MAX: usize = 300;

#[derive(Clone)]
pub struct SessionsService {
    meta: Arc<Group>,
    pub(crate) reader: Reader,
    applied: watch::Receiver<()>,
    leases: Arc<Mutex<Leases>>,
    /// What the leases are counted from.
    started: Instant,
    waits: SenderWaits,
    contested: ContestedNames,
    broken_tls: BrokenTlsMemory,
    /// The policy that each session goes by, as it last said.
    policies: Arc<Mutex<BTreeMap<SessionId, u64>>>,
    openings: Openings,
    limits: Limits,
}

impl SessionsService {
    pub fn start(meta: Arc<Group>, reader: Reader, applied: watch::Receiver<()>) -> Self {
        let service = Self {
            limits: Limits::start(meta.clone(), reader.clone()),
            meta,
            reader,
            applied,
            leases: Arc::default(),
            started: Instant::now(),
            waits: SenderWaits::default(),
            contested: ContestedNames::default(),
            broken_tls: BrokenTlsMemory::default(),
            policies: Arc::default(),
            openings: Openings::default(),
        };
        skein_runtime::task("sessions", look_after(service.clone()));
        let (meta, reader) = (service.meta.clone(), service.reader.clone());
        let look_after_ips = ips::look_after(meta, reader, service.applied.clone());
        skein_runtime::task("source-ips", look_after_ips);
        service
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<meta::Response, Status> {
        propose(&self.meta, command).await
    }

    fn slots(&self, session: SessionId) -> Slots {
        // Read first: a change that comes between is told again.
        let version = meta::assignments_version(&self.reader);
        let assigned = meta::assignments(&self.reader);
        let (mut slots, mut leaving) = (Vec::new(), Vec::new());
        for (slot, held) in assigned {
            if held.session == session {
                let place = match held.moving_to {
                    Some(_) => &mut leaving,
                    None => &mut slots,
                };
                place.push((slot, held.epoch));
            }
        }
        Slots {
            version,
            slots: convert::owned_slots(&slots),
            leaving: convert::owned_slots(&leaving),
        }
    }

    fn spreads(&self) -> Vec<SiteSpread> {
        let spreads = meta::spreads(&self.reader).into_iter();
        spreads
            .map(|(site, spread)| SiteSpread {
                site,
                slots: spread.slots.into(),
            })
            .collect()
    }

    /// What a sender says of the addresses of its node, and of source IPs.
    async fn note_ips(&self, id: SessionId, request: &HeartbeatRequest) -> Result<(), Status> {
        if let Some(told) = &request.addresses {
            let addresses = ips::read_addresses(told)?;
            if meta::addresses(&self.reader).get(&id) != Some(&addresses) {
                let session = id;
                self.propose(Command::SetAddresses { session, addresses })
                    .await?;
            }
        }
        let released = request.released_ips.iter();
        let ips: Vec<(String, Epoch)> = released
            .map(|ip| (ip.name.clone(), Epoch(ip.epoch)))
            .collect();
        if !ips.is_empty() {
            let session = id;
            self.propose(Command::ReleaseIps { session, ips }).await?;
        }
        Ok(())
    }

    /// What senders said of late, if this node leads the meta group. They are to try to connect to `probe` from now on, if
    /// it names a host.
    pub fn waits(&self, probe: &str) -> GetWaitsReply {
        if !probe.is_empty() {
            self.waits.ask_probe(probe);
        }
        GetWaitsReply {
            senders: self.waits.all(),
            contested: self.contested.all(),
            broken_tls: self.broken_tls.all(clock::now()),
            policies: self.policies(),
            reopened: self.openings.recent(Instant::now()),
        }
    }

    /// Whether a process may register under a name: not while another one lives that has.
    fn check_name(&self, sender: &str, process: &Process) -> Result<(), Status> {
        let sessions = meta::sessions(&self.reader).into_iter();
        let mut held = sessions.filter(|(_, row)| row.sender == sender);
        let Some((session, _)) = held.next() else {
            return Ok(());
        };
        let (now, term) = (self.started.elapsed().into(), self.meta.view().term);
        let mut leases = self.leases.lock();
        let Some(holder) = leases.holder(now, term, session, process.number) else {
            return Ok(());
        };
        self.contested
            .refused(sender, &holder.place, &process.place);
        Err(Status::already_exists(format!(
            "sender: the name {sender} is in use from {}, and this process is at {}; set cluster.name to another one for \
             each sender",
            holder.place, process.place
        )))
    }

    fn policies(&self) -> Vec<SessionPolicy> {
        let policies = self.policies.lock();
        let policies = policies.iter().map(|(session, version)| SessionPolicy {
            session: session.0,
            version: *version,
        });
        policies.collect()
    }

    fn note_policy(&self, session: SessionId, version: Option<u64>) {
        let Some(version) = version else { return };
        let mut policies = self.policies.lock();
        if policies.insert(session, version).is_none() {
            let live = meta::sessions(&self.reader);
            policies.retain(|id, _| live.contains_key(id));
        }
    }

    fn heard_from(&self, session: SessionId, unreachable: Option<BTreeSet<GroupId>>) -> bool {
        let (now, term) = (self.started.elapsed().into(), self.meta.view().term);
        let mut leases = self.leases.lock();
        leases.heard_from(now, term, session, unreachable)
    }

    /// Whether a new leader of the meta group would make the slots of a dead sender wait.
    pub fn is_somebody_silent(&self) -> bool {
        let now = self.started.elapsed().into();
        self.leases.lock().is_somebody_silent(now)
    }

    /// Ends the session of a sender that an operator takes out, and forgets that it was drained. Says how many slots
    /// others get now.
    ///
    /// # Errors
    /// It lives, or its lease has not ended and nobody says that its process has.
    pub async fn end_sender(&self, name: &str, is_dead: bool) -> Result<u64, Status> {
        // With the leases of this term, and every session that an earlier leader opened.
        if !self.meta.leads().await {
            return Err(Status::unavailable(
                "this node does not lead the meta group; try again",
            ));
        }
        let sessions = meta::sessions(&self.reader).into_iter();
        let session = sessions
            .filter(|(_, row)| row.sender == name)
            .map(|(id, _)| id)
            .next();
        let is_drained = meta::drained(&self.reader).contains(name);
        let mut slots = 0;
        if let Some(session) = session {
            let assigned = meta::assignments(&self.reader).into_values();
            slots = assigned.filter(|held| held.session == session).count() as u64;
            let (now, term) = (self.started.elapsed().into(), self.meta.view().term);
            let ended = self.leases.lock().end(now, term, session, is_dead);
            ended.map_err(|held| still_held(name, held))?;
            self.propose(Command::CloseSession(session)).await?;
        } else if !is_drained {
            return Err(Status::not_found(format!(
                "name: no sender {name:?} has a session or is drained; list them with `skeinctl node list`"
            )));
        }
        if is_drained {
            let (sender, drained) = (name.to_owned(), false);
            self.propose(Command::SetDrained { sender, drained })
                .await?;
        }
        Ok(slots)
    }

    /// What follows from what was heard, and was not.
    fn due(&self) -> Vec<Command> {
        let (now, term) = (self.started.elapsed().into(), self.meta.view().term);
        let due = self.leases.lock().due(now, term, &self.reader);
        for command in &due {
            tracing::warn!(
                ?command,
                "a sender is silent, or reaches other groups than before"
            );
        }
        due
    }
}

/// A process as it says of itself, and as it is seen from here.
fn process_at(number: u64, place: &str, from: Option<SocketAddr>) -> Process {
    let place: String = place.chars().take(PLACE_CHARS_MAX).collect();
    let place = match from {
        Some(from) => format!("{} ({place})", from.ip()),
        None => place,
    };
    Process { number, place }
}

/// Commits a command of the meta group, if this node leads it.
pub(crate) async fn propose(meta: &Group, command: Command) -> Result<meta::Response, Status> {
    let reply = meta.propose(codec::encode(&command)).await;
    let reply = reply.map_err(|error| match error {
        ProposeError::Invalid(_) => error.status(),
        _ => Status::unavailable(error.to_string()),
    })?;
    codec::decode(&reply).map_err(|error| Status::internal(error.to_string()))
}

fn still_held(name: &str, held: StillHeld) -> Status {
    Status::failed_precondition(match held {
        StillHeld::Lives(silent) => format!(
            "name: {name} was heard of {} s ago, so it lives; stop its process, which hands its slots over, and remove \
             it then; `skeinctl node drain {name}` takes it out of service and lets it run",
            silent.0 / 1000
        ),
        StillHeld::MayLive(silent) => format!(
            "name: nothing was heard of {name} for {} s, and its lease ends after {} s: others get its slots by \
             themselves then; if its process has surely ended, --force does it now",
            silent.0 / 1000,
            (LEASE.0 + GRACE.0) / 1000
        ),
    })
}

/// Ends sessions of which nothing is heard, and takes slots from those that cannot work, while this node leads.
async fn look_after(service: SessionsService) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !service.meta.is_leader() {
            continue;
        }
        for command in service.due() {
            if let Err(status) = service.propose(command.clone()).await {
                tracing::warn!(?command, reason = status.message(), "not possible yet");
            }
        }
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
        let OpenSessionRequest {
            sender,
            order,
            process,
            place,
        } = request.into_inner();
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
        let open = Command::OpenSession {
            session,
            sender,
            order,
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

    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatReply>, Status> {
        let from = access::address(&request);
        let request = request.into_inner();
        let session = SessionId(request.session);
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
        // Read after the slots: who has a slot knows at least what its owner before it was to know.
        let shared = self.limits.shared_sites(Some(request.shared_version));
        Ok(Response::new(HeartbeatReply {
            alive: true,
            slots,
            drained: meta::drained(&self.reader).contains(&row.sender),
            spreads: self.spreads(),
            policy_version: meta::policy_version(&self.reader),
            placements: has_moved.then(|| ips::placements(&self.reader)),
            actions_version: automation::actions_version(&self.reader),
            shared_sites: shared,
            broken_tls: self
                .broken_tls
                .since(request.broken_tls_version, clock::now()),
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
        replies::tell(self, request.into_inner()).await?;
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
        let command = Command::SetIpChecks {
            session: SessionId(request.session),
            checks: ips::read_checks(request.checks)?,
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
        let granted = warmup::grant(self, request.into_inner()).await?;
        Ok(Response::new(granted))
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

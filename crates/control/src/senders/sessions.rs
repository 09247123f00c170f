//! Sessions of senders: kept in the meta group, kept alive by its leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::lease::{GRACE, LEASE};
use skein_model::meta::{self, Command, Leases, Process, StillHeld};
use skein_model::{DurationMs, Epoch, GroupId, SessionId};
use skein_store::Reader;
use skein_wire::convert;
use skein_wire::internal::{
    GetWaitsReply, HeartbeatRequest, LocksReply, SessionPolicy, SiteSpread, Slots,
};
use tokio::sync::watch;
use tonic::Status;

use super::broken_tls::BrokenTlsMemory;
use super::contested::ContestedNames;
use super::guesses::GuessMemory;
use super::known_clients;
use super::limits::Limits;
use super::openings::Openings;
use super::source_ips;
use super::waits::SenderWaits;
use crate::clock;
use crate::policy::FullTenants;
use crate::raft::{Group, VersionGate, propose};
use crate::tls_policies::TlsPolicies;
use crate::tls_reports::TlsReports;

const LOOK: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub struct SessionsService {
    pub(super) meta: Arc<Group>,
    pub(super) reader: Reader,
    pub(super) applied: watch::Receiver<()>,
    pub(super) leases: Arc<Mutex<Leases>>,
    /// What the leases are counted from.
    started: Instant,
    pub(super) waits: SenderWaits,
    contested: ContestedNames,
    pub(super) broken_tls: BrokenTlsMemory,
    /// The policy that each session goes by, as it last said.
    policies: Arc<Mutex<BTreeMap<SessionId, u64>>>,
    pub(super) openings: Openings,
    pub(super) limits: Limits,
    versions: VersionGate,
    pub(super) tls_policies: TlsPolicies,
    pub(super) tls_reports: TlsReports,
    pub(super) full_tenants: FullTenants,
    pub(super) guesses: GuessMemory,
}

impl SessionsService {
    pub fn start(
        meta: Arc<Group>,
        reader: Reader,
        applied: watch::Receiver<()>,
        versions: VersionGate,
        tls_policies: TlsPolicies,
        tls_reports: TlsReports,
        full_tenants: FullTenants,
    ) -> Self {
        let service = Self {
            limits: Limits::start(meta.clone(), reader.clone(), versions.clone()),
            versions,
            tls_policies,
            tls_reports,
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
            full_tenants,
            guesses: GuessMemory::default(),
        };
        skein_runtime::task("sessions", look_after(service.clone()));
        skein_runtime::task("known-clients", known_clients::keep(service.clone()));
        let (meta, reader) = (service.meta.clone(), service.reader.clone());
        let look_after_ips = source_ips::look_after(meta, reader, service.applied.clone());
        skein_runtime::task("source-ips", look_after_ips);
        service
    }

    /// Who is locked out of logging in, as far as this node was told; after unlocking one.
    pub fn locks(&self, unlock: &str) -> LocksReply {
        self.guesses.locks(unlock)
    }

    pub(super) async fn propose(&self, command: Command) -> Result<meta::Response, Status> {
        if let Some(feature) = command.feature() {
            self.versions.pass(feature).await?;
        }
        propose(&self.meta, command).await
    }

    pub(super) fn slots(&self, session: SessionId) -> Slots {
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

    pub(super) fn spreads(&self) -> Vec<SiteSpread> {
        let spreads = meta::spreads(&self.reader).into_iter();
        spreads
            .map(|(site, spread)| SiteSpread {
                site,
                slots: spread.slots.into(),
            })
            .collect()
    }

    /// What a sender says of the addresses of its node, and of source IPs.
    pub(super) async fn note_ips(
        &self,
        id: SessionId,
        request: &HeartbeatRequest,
    ) -> Result<(), Status> {
        if let Some(told) = &request.addresses {
            let addresses = source_ips::read_addresses(told)?;
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
    pub(super) fn check_name(&self, sender: &str, process: &Process) -> Result<(), Status> {
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

    pub(super) fn note_policy(&self, session: SessionId, version: Option<u64>) {
        let Some(version) = version else { return };
        let mut policies = self.policies.lock();
        if policies.insert(session, version).is_none() {
            let live = meta::sessions(&self.reader);
            policies.retain(|id, _| live.contains_key(id));
        }
    }

    pub(super) fn heard_from(
        &self,
        session: SessionId,
        unreachable: Option<BTreeSet<GroupId>>,
    ) -> bool {
        let (now, term) = (self.started.elapsed().into(), self.meta.view().term);
        let mut leases = self.leases.lock();
        leases.heard_from(now, term, session, unreachable)
    }

    /// For how long each session has been silent, as far as this leader has heard of it in its term.
    pub fn silent(&self) -> Vec<(SessionId, DurationMs)> {
        let now: DurationMs = self.started.elapsed().into();
        let leases = self.leases.lock();
        let heard = leases.heard();
        heard
            .map(|(session, at)| (session, DurationMs(now.0.saturating_sub(at.0))))
            .collect()
    }

    /// Whether a new leader of the meta group would make the slots of a dead sender wait.
    pub fn is_sender_silent(&self) -> bool {
        let now = self.started.elapsed().into();
        self.leases.lock().is_somebody_silent(now)
    }

    /// Ends the session of a sender that an operator takes out, and forgets that it was drained. Says how many slots
    /// others get now.
    ///
    /// # Errors
    /// It lives, or its lease has not ended and the operator does not say that its process has.
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

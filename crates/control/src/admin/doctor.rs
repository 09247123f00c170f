//! What the doctor looks at, gathered from all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use skein_model::doctor::{self, Facts, SenderFacts};
use skein_model::spool::query;
use skein_model::{GroupId, Slot, meta};
use skein_store::Reader;
use skein_wire::internal::{GetWaitsReply, GetWaitsRequest};
use skein_wire::v1::{
    Check, ExamineResponse, Finding, FindingLevel, Health, SenderNode, SenderState,
};
use tonic::Status;

use super::AdminService;
use crate::senders::health;

/// Between two looks at a cluster in which something is wrong: longer than an election.
const LOOK_AGAIN: Duration = Duration::from_secs(4);
/// A sender hears of a probe within 2 s, takes up to 10 s for it, and tells within 2 s more.
const PROBED_WITHIN: Duration = Duration::from_secs(15);
/// A host name and a port.
const PROBE_BYTES_MAX: usize = 260;
/// An explanation without them is better than none.
const WAITS_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks whether senders have said what came of a probe.
const PROBED_YET: Duration = Duration::from_millis(500);

impl AdminService {
    /// What the control nodes say, and what this node's replicas hold.
    pub(super) async fn facts(&self) -> Facts {
        let mut facts = self.members.survey_in_detail().await;
        facts.stale = self.stale().await;
        facts.invited = meta::invited(&self.meta);
        facts.is_alone = facts.founding.is_none() && meta::cluster(&self.meta).is_none();
        (facts.unplaced_ips, facts.ip_faults) = self.ip_facts();
        let senders = self.senders().await;
        for group in facts.groups.values_mut() {
            for session in &mut group.waits_for {
                let known = senders.iter().find(|sender| sender.session == *session);
                if let Some(sender) = known {
                    session.clone_from(&sender.name);
                }
            }
        }
        self.note_senders(&mut facts, senders).await;
        let meta = self.meta.clone();
        let readers: BTreeMap<GroupId, Reader> = self
            .spools
            .iter()
            .map(|(id, spool)| (*id, spool.reader.clone()))
            .collect();
        skein_runtime::blocking(move || {
            look_at_rows(&mut facts, &meta, &readers);
            facts
        })
        .await
    }

    /// The senders, and what they say of themselves to the leader of the meta group.
    async fn note_senders(&self, facts: &mut Facts, senders: Vec<SenderNode>) {
        let told = self.heard_from_senders("").await;
        let leader = facts.groups.get(&GroupId::META);
        let leader = leader.and_then(|meta| facts.nodes.get(&meta.leader?)?.answer.as_ref());
        let leader_ahead_ms = leader.map_or(0, |answer| answer.clock_ahead_ms);
        let mut healths: BTreeMap<String, doctor::SenderHealth> = told
            .senders
            .into_iter()
            .filter_map(|one| {
                let ahead_ms = one.clock_ahead_ms.saturating_add(leader_ahead_ms);
                Some((one.sender, health::read(one.health?, ahead_ms)))
            })
            .collect();
        let senders = senders.into_iter().map(|sender| SenderFacts {
            has_session: !sender.session.is_empty(),
            is_fit: sender.state() != SenderState::Unfit,
            is_drained: matches!(sender.state(), SenderState::Drained | SenderState::Absent),
            is_egress: sender.is_egress,
            slots: sender.slots,
            health: healths.remove(&sender.name),
            name: sender.name,
        });
        facts.senders = senders.collect();
        let reopened = told.reopened.into_iter().map(|one| doctor::Reopened {
            name: one.sender,
            times: one.times,
            addresses: one.addresses,
        });
        facts.reopened = reopened.collect();
    }

    /// What is wrong at two looks, if anything is at the first; and, of a host that an operator names, which senders get no
    /// connection to it.
    pub(super) async fn examination(&self, port_25: &str) -> Result<ExamineResponse, Status> {
        let target = probe_target(port_25)?;
        let (examined, probed) = tokio::join!(self.look_twice(), self.probe(target.as_deref()));
        let mut examined = examined;
        examined.checks.extend(probed);
        Ok(examined)
    }

    /// Every sender tries to connect to the target.
    async fn probe(&self, target: Option<&str>) -> Option<Check> {
        let target = target?;
        let senders = self.senders().await.into_iter();
        let senders = senders.filter(|sender| !sender.session.is_empty());
        let mut waits_for: BTreeSet<String> = senders.map(|sender| sender.name).collect();
        let (mut findings, until) = (Vec::new(), Instant::now() + PROBED_WITHIN);
        let problem = |sender: &str, what: String| {
            Finding {
            level: FindingLevel::Problem.into(),
            subject: format!("sender {sender}"),
            what,
            todo: "if that host takes mail, a firewall or the provider of the network is between; ask for port 25 to be \
                   opened, or set delivery.smarthost"
                .into(),
        }
        };
        while !waits_for.is_empty() && Instant::now() < until {
            for told in self.heard_from_senders(target).await.senders {
                let probed = told.health.into_iter().flat_map(|health| health.probed);
                let found = probed.into_iter().find(|one| one.target == target);
                let Some(found) = found.filter(|_| waits_for.remove(&told.sender)) else {
                    continue;
                };
                if !found.fault.is_empty() {
                    let what = format!("gets no connection to {target}: {}", found.fault);
                    findings.push(problem(&told.sender, what));
                }
            }
            tokio::time::sleep(PROBED_YET).await;
        }
        for sender in waits_for {
            let seconds = PROBED_WITHIN.as_secs();
            findings.push(problem(
                &sender,
                format!("has not said within {seconds} s whether it gets a connection to {target}"),
            ));
        }
        Some(Check {
            name: "port-25".into(),
            meaning: format!("every sender gets a connection to {target}"),
            findings,
            unknown: false,
        })
    }

    async fn look_twice(&self) -> ExamineResponse {
        let mut checks = doctor::examine(&self.facts().await);
        if checks.iter().any(|check| !check.findings.is_empty()) {
            tokio::time::sleep(LOOK_AGAIN).await;
            checks = doctor::lasting(&checks, doctor::examine(&self.facts().await));
        }
        ExamineResponse {
            verdict: doctor::verdict(&checks),
            health: health(&checks).into(),
            checks: checks.into_iter().map(check).collect(),
        }
    }

    /// What only the leader of the meta group has heard from senders: what tasks wait for, how senders are, what they know of
    /// hosts, which names are asked for twice. They are to try to connect to `probe`, if it names a host. Empty
    /// while there is no leader.
    pub(super) async fn heard_from_senders(&self, probe: &str) -> GetWaitsReply {
        if self.forward.groups[&GroupId::META].is_leader() {
            return self.sessions.waits(probe);
        }
        let Ok(mut leader) = self.meta_leader() else {
            return GetWaitsReply::default();
        };
        let probe = probe.to_owned();
        let asked = leader.get_waits(GetWaitsRequest { probe });
        match tokio::time::timeout(WAITS_WITHIN, asked).await {
            Ok(Ok(answer)) => answer.into_inner(),
            _ => GetWaitsReply::default(),
        }
    }
}

/// `host:port`; 25 unless a port is named.
fn probe_target(text: &str) -> Result<Option<String>, Status> {
    let has_port = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            if port.parse::<u16>().is_err() {
                return Err(Status::invalid_argument(format!(
                    "port-25: {text:?} is not a host such as mx.example.com, or host:port"
                )));
            }
            true
        }
        _ => false,
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match (text.is_empty(), has_port) {
        (true, _) => Ok(None),
        _ if text.len() > PROBE_BYTES_MAX || !text.chars().all(is_host) => {
            Err(Status::invalid_argument(format!(
                "port-25: {:?} is not a host such as mx.example.com, or host:port",
                text.chars().take(PROBE_BYTES_MAX).collect::<String>()
            )))
        }
        (_, true) => Ok(Some(text.to_owned())),
        (_, false) => Ok(Some(format!("{text}:25"))),
    }
}

/// What every replica holds: slots and events.
fn look_at_rows(facts: &mut Facts, meta: &Reader, readers: &BTreeMap<GroupId, Reader>) {
    let sessions = meta::sessions(meta);
    let assigned = meta::assignments(meta);
    let owned = assigned
        .iter()
        .filter(|(_, held)| sessions.contains_key(&held.session));
    facts.slots_without_owner = u64::from(Slot::COUNT) - owned.clone().count() as u64;
    for (id, rows) in readers {
        let Some(group) = facts.groups.get_mut(id) else {
            continue;
        };
        let is_unopened = |slot: Slot, held: &meta::Assignment| {
            query::slot(rows, slot).is_none_or(|row| row.epoch < held.epoch)
        };
        let staying = owned.clone().filter(|(_, held)| held.moving_to.is_none());
        group.slots_unopened = staying
            .filter(|(slot, held)| is_unopened(**slot, held))
            .count() as u64;
        let state = query::state(rows);
        group.events_waiting = state.next_seq.saturating_sub(state.first_seq);
    }
}

pub(super) fn health(checks: &[doctor::Check]) -> Health {
    match doctor::is_healthy(checks) {
        true => Health::Healthy,
        false => Health::Degraded,
    }
}

fn check(check: doctor::Check) -> Check {
    let findings = check.findings.into_iter().map(|finding| Finding {
        level: FindingLevel::from(finding.level).into(),
        subject: finding.subject,
        what: finding.what,
        todo: finding.todo,
    });
    Check {
        name: check.name.into(),
        meaning: check.meaning.into(),
        findings: findings.collect(),
        unknown: !check.is_known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_goes_to_port_25_unless_another_is_named() {
        for (text, target) in [
            ("", Some("")),
            ("mx.example.com", Some("mx.example.com:25")),
            ("mx.example.com:587", Some("mx.example.com:587")),
            ("192.0.2.1", Some("192.0.2.1:25")),
            ("[2001:db8::1]", Some("[2001:db8::1]:25")),
            ("[2001:db8::1]:26", Some("[2001:db8::1]:26")),
            ("mx.example.com:smtp", None),
            ("mx.example.com:99999", None),
            ("mx example.com", None),
            ("mx.example.com/25", None),
        ] {
            let read = probe_target(text).map(Option::unwrap_or_default).ok();
            assert_eq!(read.as_deref(), target, "{text:?}");
        }
    }
}

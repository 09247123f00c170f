//! What the control nodes say of themselves and of the groups, put together.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use skein_model::doctor::{self, Answer, Facts, GroupFacts, Mark, NodeFacts, Replica};
use skein_model::feature::WireVersion;
use skein_model::{GroupId, NodeId, UnixMs, meta};
use skein_wire::convert;
use skein_wire::internal::{self, CertificateEnd, GroupView, HelloReply, HelloRequest};

use super::members::Members;
use crate::clock;
use crate::raft::Group;

/// A stretch of the log takes longer than this to write, so replicas are seen at the same one.
const COMPARE: Duration = Duration::from_secs(5);

/// Which commands this node reads.
fn wire_version() -> u32 {
    fail::fail_point!("control-wire-version", |told| {
        told.and_then(|told| told.parse().ok()).unwrap_or_default()
    });
    WireVersion::CURRENT.0
}

impl Members {
    /// What this node says of itself.
    pub fn hello(&self, in_detail: bool) -> HelloReply {
        let groups = self.forward.groups.iter();
        let disk = self.disk.status();
        HelloReply {
            disk_room: convert::disk_room(disk.room).into(),
            disk_used_percent: disk.used_percent.into(),
            disk_soft_mark: self.disk.policy().soft_mark.into(),
            events_fault: self.own_health.events_fault().unwrap_or_default(),
            certificates: match in_detail {
                true => self.own_health.certificates(),
                false => Vec::new(),
            },
            wire_version: wire_version(),
            node: self.node.0,
            is_member: self.forward.groups[&GroupId::META].is_member(),
            version: self.config.version.clone(),
            address: self.config.address.clone(),
            groups: groups
                .map(|(id, group)| self.view(*id, group, in_detail))
                .collect(),
            now_ms: clock::now().0,
            is_stopping: self.is_stopping.load(std::sync::atomic::Ordering::Acquire),
            policy_version: meta::policy_version(&self.meta),
        }
    }

    fn view(&self, id: GroupId, group: &Group, in_detail: bool) -> GroupView {
        let view = group.view();
        let reader = self
            .spools
            .get(&id)
            .map_or(&self.meta, |spool| &spool.reader);
        let mark = reader.mark().map(|mark| internal::Mark {
            index: mark.index,
            crc32c: mark.crc32c,
            version: mark.version,
        });
        let view = GroupView { mark, ..view };
        let Some(spool) = self.spools.get(&id) else {
            return view;
        };
        let absent = spool.dispatch.absent().into_iter();
        let ready_since = in_detail.then(|| spool.dispatch.ready_since()).flatten();
        GroupView {
            ready_since_ms: ready_since.map_or(0, |since| since.0),
            bodies_complete: spool.bodies_needed.is_complete(&spool.bodies),
            bodies_missing: spool.bodies_needed.missing(&spool.bodies),
            waits_for: absent.map(|session| session.0).collect(),
            in_flight: spool.dispatch.in_flight() as u64,
            ..view
        }
    }

    /// Asks all control nodes; those that do not answer within a second are passed over.
    pub async fn survey(&self) -> Facts {
        self.ask_all(false).await
    }

    /// The same, with what costs reading.
    pub async fn survey_in_detail(&self) -> Facts {
        self.ask_all(true).await
    }

    async fn ask_all(&self, in_detail: bool) -> Facts {
        let wanted = self.wanted();
        let mut asked: BTreeMap<NodeId, String> = wanted.clone();
        for group in self.forward.groups.values() {
            let members = group.view().members.into_iter();
            asked.extend(members.map(|one| (NodeId(one.node), one.address)));
        }
        let asked = asked
            .into_iter()
            .map(|(id, address)| async move { (id, self.ask(id, &address, in_detail).await) });
        let (mut answers, mut silences) = (BTreeMap::new(), BTreeMap::new());
        for (id, answer) in join_all(asked).await {
            match answer {
                Ok(answer) => {
                    answers.insert(id, answer);
                }
                Err(why) => {
                    silences.insert(id, why);
                }
            }
        }
        let nodes = wanted.into_iter().map(|(id, address)| {
            let answer = answers.get(&id);
            if answer.is_some_and(|(hello, _)| !hello.is_stopping) {
                self.own_health.note_alive(id);
            }
            let facts = NodeFacts {
                address,
                answer: answer.map(|(hello, ahead)| read_answer(hello, *ahead)),
                silence: silences.remove(&id).unwrap_or_default(),
                stopped_for: self.own_health.stopped_for(id),
            };
            (id, facts)
        });
        Facts {
            now: clock::now(),
            nodes: nodes.collect(),
            groups: self.merge(&answers),
            founding: self.own_health.founding(),
            ..Facts::default()
        }
    }

    /// Completes when a majority has other rows of a group than this node: what it holds must not count any more.
    pub async fn outvoted(&self) -> GroupId {
        loop {
            tokio::time::sleep(COMPARE).await;
            let facts = self.survey().await;
            let mut groups = facts.groups.into_iter();
            if let Some((group, _)) = groups.find(|(_, group)| group.is_outvoted(self.node)) {
                return group;
            }
        }
    }

    /// The members of the cluster. Before they are written down, and on a node that is alone, those of the meta group.
    fn wanted(&self) -> BTreeMap<NodeId, String> {
        let nodes = meta::nodes(&self.meta);
        if nodes.is_empty() {
            let members = self.forward.groups[&GroupId::META].view().members;
            return members
                .into_iter()
                .map(|one| (NodeId(one.node), one.address))
                .collect();
        }
        nodes
            .into_iter()
            .map(|(id, row)| (id, row.address))
            .collect()
    }

    /// What a node says, and by how much its clock is ahead of this node's; or why it does not.
    async fn ask(
        &self,
        id: NodeId,
        address: &str,
        in_detail: bool,
    ) -> Result<(HelloReply, i64), String> {
        if id == self.node {
            return Ok((self.hello(in_detail), 0));
        }
        let sent = clock::now().0;
        let request = HelloRequest {
            in_detail,
            ..HelloRequest::default()
        };
        let hello = self.forward.peers.ask_hello(address, request).await?;
        let middle = sent.midpoint(clock::now().0);
        let ahead = hello
            .now_ms
            .cast_signed()
            .wrapping_sub(middle.cast_signed());
        match hello.node == id.0 {
            true => Ok((hello, ahead)),
            false => Err(format!(
                "another node is at its address, {:016x}",
                hello.node
            )),
        }
    }

    /// Each group as the member describes it that should know best: the latest term, and in it the leader.
    fn merge(
        &self,
        answers: &BTreeMap<NodeId, (HelloReply, i64)>,
    ) -> BTreeMap<GroupId, GroupFacts> {
        let mut groups = BTreeMap::new();
        for id in self.forward.groups.keys() {
            let views = answers.iter().filter_map(|(node, (hello, _))| {
                let mut views = hello.groups.iter();
                let view = views.find(|view| view.group == u32::from(id.0))?;
                Some((*node, view))
            });
            let replicas = views.clone().map(|(node, view)| (node, replica(view)));
            let best = views
                .max_by_key(|(node, view)| (view.term, view.leader == node.0, view.leader != 0));
            if let Some((_, view)) = best {
                let group = GroupFacts {
                    replicas: replicas.collect(),
                    ..facts(view)
                };
                groups.insert(*id, group);
            }
        }
        groups
    }
}

fn read_answer(hello: &HelloReply, clock_ahead_ms: i64) -> Answer {
    let fault = hello.events_fault.clone();
    Answer {
        version: hello.version.clone(),
        clock_ahead_ms,
        is_stopping: hello.is_stopping,
        room: convert::room(hello.disk_room()),
        disk_used_percent: hello.disk_used_percent,
        disk_soft_mark: hello.disk_soft_mark,
        events_fault: (!fault.is_empty()).then_some(fault),
        certificates: certificates(hello.certificates.clone()),
    }
}

fn replica(view: &GroupView) -> Replica {
    Replica {
        stopped: (!view.stopped.is_empty()).then(|| view.stopped.clone()),
        log_end: view.log_end,
        applied: view.applied,
        bodies_missing: view.bodies_missing,
        mark: view.mark.clone().map(|mark| Mark {
            index: mark.index,
            crc32c: mark.crc32c,
            version: mark.version,
        }),
    }
}

fn facts(view: &GroupView) -> GroupFacts {
    let (voters, learners): (Vec<_>, Vec<_>) = view.members.iter().partition(|one| one.voter);
    let ids = |members: Vec<&skein_wire::internal::Member>| {
        members.into_iter().map(|one| NodeId(one.node)).collect()
    };
    GroupFacts {
        term: view.term,
        leader: (view.leader != 0).then_some(NodeId(view.leader)),
        voters: ids(voters),
        learners: ids(learners),
        waits_for: view
            .waits_for
            .iter()
            .map(|session| format!("{session:016x}"))
            .collect(),
        in_flight: view.in_flight,
        ready_since: (view.ready_since_ms > 0).then_some(UnixMs(view.ready_since_ms)),
        ..GroupFacts::default()
    }
}

/// Certificates as the model has them.
pub fn certificates(ends: Vec<CertificateEnd>) -> Vec<doctor::CertificateEnd> {
    let ends = ends.into_iter().map(|end| doctor::CertificateEnd {
        setting: end.setting,
        path: end.path,
        at: UnixMs(end.at_ms),
    });
    ends.collect()
}

//! Nodes, slots and groups, as operators see them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use skein_model::spool::query;
use skein_model::{SessionId, Slot, meta};
use skein_wire::v1::{ControlNode, GroupDetail, GroupMember, SenderNode, SenderState, SlotView};
use tonic::Status;

use super::AdminService;

pub(super) fn node_id(node: u64) -> String {
    format!("{node:016x}")
}

impl AdminService {
    pub(super) async fn control_nodes(&self) -> Vec<ControlNode> {
        let mut members = BTreeMap::new();
        let mut leads: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for group in self.forward.groups.values() {
            let view = group.view();
            leads.entry(view.leader).or_default().push(view.group);
            members.extend(view.members.into_iter().map(|one| (one.node, one.address)));
        }
        let mut nodes = members.into_iter().collect::<Vec<_>>();
        nodes.sort_by(|a, b| a.1.cmp(&b.1));
        let counts = meta::policy_version(&self.meta);
        let nodes = nodes.into_iter().map(|(node, address)| {
            let leads = leads.remove(&node).unwrap_or_default();
            async move {
                let versions = self.versions_of(node, &address).await;
                let policy_version = versions.as_ref().map(|(_, policy)| *policy);
                ControlNode {
                    node_id: node_id(node),
                    version: versions.map(|(version, _)| version).unwrap_or_default(),
                    address,
                    leads,
                    policy_version,
                    is_behind: policy_version.is_none_or(|version| version < counts),
                }
            }
        });
        join_all(nodes).await
    }

    /// Of a node's program, and of the policy that it has.
    async fn versions_of(&self, node: u64, address: &str) -> Option<(String, u64)> {
        if node == self.node.0 {
            let policy = self.members.policy_in_force();
            return Some((self.config.version.clone(), policy));
        }
        let hello = self.forward.peers.hello(address).await?;
        (hello.node == node).then_some((hello.version, hello.policy_version))
    }

    pub(super) async fn senders(&self) -> Vec<SenderNode> {
        let heard = self.heard_from_senders("").await;
        let contested = heard.contested.into_iter().map(|name| name.sender);
        let contested: BTreeSet<String> = contested.collect();
        let policies = heard.policies.into_iter();
        let policies: BTreeMap<u64, u64> = policies.map(|one| (one.session, one.version)).collect();
        let counts = meta::policy_version(&self.meta);
        let assigned = meta::assignments(&self.meta);
        let mut drained = meta::drained(&self.meta);
        let mut senders = Vec::new();
        for (id, row) in meta::sessions(&self.meta) {
            let mine = assigned.values().filter(|held| held.session == id);
            let leaving = mine.clone().filter(|held| held.moving_to.is_some());
            let state = match (drained.remove(&row.sender), row.retiring, row.fit) {
                (true, _, _) => SenderState::Drained,
                (_, true, _) => SenderState::Stopping,
                (_, _, false) => SenderState::Unfit,
                _ if contested.contains(&row.sender) => SenderState::Contested,
                _ => SenderState::Active,
            };
            let is_senders = row.is_senders();
            let policy_version = policies.get(&id.0).copied();
            senders.push(SenderNode {
                name: row.sender,
                session: node_id(id.0),
                opened_at_ms: row.opened_at.0,
                slots: mine.count() as u64,
                leaving: leaving.count() as u64,
                state: state.into(),
                policy_version,
                is_behind: policy_version.is_none_or(|version| version < counts),
                is_egress: !is_senders,
            });
        }
        senders.extend(drained.into_iter().map(|name| SenderNode {
            name,
            state: SenderState::Absent.into(),
            ..SenderNode::default()
        }));
        senders.sort_by(|a, b| a.name.cmp(&b.name));
        senders
    }

    fn session_of(&self, sender: &str) -> Option<SessionId> {
        let sessions = meta::sessions(&self.meta);
        let mut sessions = sessions.into_iter();
        sessions
            .find(|(_, row)| row.sender == sender)
            .map(|(id, _)| id)
    }

    pub(super) async fn set_drained(&self, sender: String, drained: bool) -> Result<(), Status> {
        let lends_only = |row: &meta::SessionRow| row.sender == sender && !row.is_senders();
        if drained && meta::sessions(&self.meta).values().any(lends_only) {
            return Err(Status::failed_precondition(format!(
                "name: {sender} is an egress node, which has no slots to give up; stop its process, and others get its IPs"
            )));
        }
        let is_known =
            self.session_of(&sender).is_some() || meta::drained(&self.meta).contains(&sender);
        if !is_known {
            return Err(no_sender("name", &sender));
        }
        self.forward
            .commit_meta(&meta::Command::SetDrained { sender, drained })
            .await
            .map(|_| ())
    }

    pub(super) async fn move_one(&self, slot: u32, to: &str) -> Result<(), Status> {
        let slot = u16::try_from(slot)
            .ok()
            .filter(|slot| *slot < Slot::COUNT)
            .ok_or_else(|| Status::invalid_argument("slot: from 0 to 1023"))?;
        let session = self.session_of(to).ok_or_else(|| no_sender("to", to))?;
        let command = meta::Command::MoveSlot {
            slot: Slot(slot),
            to: session,
        };
        match self.forward.commit_meta(&command).await? {
            meta::Response::Refused(_) => Err(no_sender("to", to)),
            _ => Ok(()),
        }
    }

    pub(super) fn slots(&self, sender: &str) -> Vec<SlotView> {
        let sessions = meta::sessions(&self.meta);
        let name = |id: SessionId| {
            let row = sessions.get(&id);
            row.map(|row| row.sender.clone()).unwrap_or_default()
        };
        let tasks = self.tasks_of_slots();
        let assigned = meta::assignments(&self.meta).into_iter();
        let slots = assigned.map(|(slot, held)| SlotView {
            slot: slot.0.into(),
            sender: name(held.session),
            epoch: held.epoch.0,
            moving_to: held.moving_to.map(name).unwrap_or_default(),
            tasks: tasks.get(&slot).copied().unwrap_or(0),
        });
        slots
            .filter(|view| sender.is_empty() || view.sender == sender)
            .collect()
    }

    fn tasks_of_slots(&self) -> BTreeMap<Slot, u64> {
        let mut tasks = BTreeMap::new();
        self.each_queue(|_, row| *tasks.entry(row.slot).or_default() += row.tasks);
        tasks
    }

    pub(super) fn groups(&self) -> Vec<GroupDetail> {
        let groups = self.forward.groups.iter().map(|(id, group)| {
            let view = group.view();
            let state = self.spools.get(id);
            let state = state.map(|spool| query::state(&spool.reader));
            let state = state.unwrap_or_default();
            GroupDetail {
                group: view.group,
                term: view.term,
                leader: group.leader_address().unwrap_or_default(),
                members: view
                    .members
                    .into_iter()
                    .map(|member| GroupMember {
                        node_id: node_id(member.node),
                        address: member.address,
                        voter: member.voter,
                    })
                    .collect(),
                open_messages: state.open_messages,
                open_tasks: state.open_tasks,
                open_body_bytes: state.open_body_bytes,
            }
        });
        groups.collect()
    }
}

fn no_sender(field: &str, name: &str) -> Status {
    Status::not_found(format!(
        "{field}: no sender {name:?} has a session; list them with `skeinctl node list`"
    ))
}

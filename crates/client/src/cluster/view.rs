//! Groups as their members describe them.

use std::collections::BTreeMap;

use skein_model::disk::Room;
use skein_model::{GroupId, NodeId};
use skein_wire::convert;
use skein_wire::internal::{GroupView, HelloReply};

/// A spool or meta group, as its members describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupInfo {
    pub term: u64,
    pub leader: Option<NodeId>,
    /// Voters by where they are reached.
    pub voters: BTreeMap<NodeId, String>,
    /// Members on their way to being voters.
    pub learners: BTreeMap<NodeId, String>,
    /// What the disks of these nodes have room for, where it is not everything.
    pub filled: BTreeMap<NodeId, Room>,
}

impl GroupInfo {
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    pub fn room(&self, node: NodeId) -> Room {
        self.filled.get(&node).copied().unwrap_or_default()
    }

    /// Whether a majority of the voters takes new mail, and the leader takes it over.
    pub fn has_room(&self) -> bool {
        let with_room = self.voters.keys();
        let with_room = with_room.filter(|node| self.room(**node) == Room::Enough);
        with_room.count() >= self.majority()
            && self
                .leader
                .is_none_or(|leader| self.room(leader) < Room::Hard)
    }
}

pub type View = BTreeMap<GroupId, GroupInfo>;

/// What these nodes say together.
pub(super) fn of_replies(replies: &[HelloReply]) -> View {
    let mut view = merge(replies.iter().flat_map(|reply| &reply.groups));
    let filled = filled(replies);
    for info in view.values_mut() {
        info.filled.clone_from(&filled);
    }
    view
}

/// Members may be behind: the highest term counts, and within it who knows a leader.
fn merge<'r>(views: impl Iterator<Item = &'r GroupView>) -> View {
    let mut merged = View::new();
    for group in views {
        let Ok(id) = u16::try_from(group.group) else {
            continue;
        };
        let info = GroupInfo {
            term: group.term,
            leader: (group.leader != 0).then_some(NodeId(group.leader)),
            voters: members(group, true),
            learners: members(group, false),
            filled: BTreeMap::new(),
        };
        let known = merged.entry(GroupId(id)).or_default();
        if (info.term, info.leader.is_some()) > (known.term, known.leader.is_some()) {
            *known = info;
        }
    }
    merged
}

fn filled(replies: &[HelloReply]) -> BTreeMap<NodeId, Room> {
    let rooms = replies.iter().filter_map(|reply| {
        let room = convert::room(reply.disk_room())?;
        (room > Room::Enough).then_some((NodeId(reply.node), room))
    });
    rooms.collect()
}

fn members(group: &GroupView, voters: bool) -> BTreeMap<NodeId, String> {
    let members = group.members.iter();
    members
        .filter(|member| member.voter == voters)
        .map(|member| (NodeId(member.node), member.address.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(term: u64, leader: u64) -> GroupView {
        GroupView {
            group: 1,
            term,
            leader,
            ..GroupView::default()
        }
    }

    #[test]
    fn a_group_takes_mail_while_a_majority_and_its_leader_have_room() {
        use Room::{Enough, Hard, Soft};
        for (rooms, takes) in [
            (vec![Enough], true),
            (vec![Soft], false),
            (vec![Hard, Enough, Enough], false),
            (vec![Soft, Enough, Enough], true),
            (vec![Enough, Hard, Enough], true),
            (vec![Enough, Soft, Hard], false),
            (vec![Enough, Hard, Soft, Enough, Enough], true),
        ] {
            let nodes = || (1..).map(NodeId).zip(&rooms);
            let info = GroupInfo {
                leader: Some(NodeId(1)),
                voters: nodes().map(|(node, _)| (node, String::new())).collect(),
                filled: nodes().map(|(node, room)| (node, *room)).collect(),
                ..GroupInfo::default()
            };
            assert_eq!(info.has_room(), takes, "{rooms:?}, led by the first");
        }
    }

    #[test]
    fn the_latest_term_names_the_leader() {
        for (views, leader) in [
            (vec![view(3, 7), view(2, 8)], Some(7)),
            (vec![view(2, 8), view(3, 7)], Some(7)),
            (vec![view(3, 0), view(3, 7), view(3, 0)], Some(7)),
            (vec![view(4, 0), view(3, 7)], None),
            (vec![], None),
        ] {
            let merged = merge(views.iter());
            let found = merged.get(&GroupId(1)).and_then(|info| info.leader);
            assert_eq!(found, leader.map(NodeId), "{views:?}");
        }
    }
}

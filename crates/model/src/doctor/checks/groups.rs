//! Raft groups and their replicas.

use super::{note, problem};
use crate::doctor::Finding;
use crate::doctor::facts::{Facts, GroupFacts, group_name};
use crate::id::{GroupId, NodeId};

/// A replica that is further behind does not keep up: this is what the groups write in some seconds under load.
const BEHIND_MAX: u64 = 1000;

pub(super) fn each_group(
    facts: &Facts,
    look: impl Fn(GroupId, &GroupFacts) -> Option<Finding>,
) -> Vec<Finding> {
    let groups = facts.groups.iter();
    groups.filter_map(|(id, group)| look(*id, group)).collect()
}

fn each_replica(
    facts: &Facts,
    look: impl Fn(GroupId, &GroupFacts, NodeId, String) -> Option<Finding>,
) -> Vec<Finding> {
    let replicas = facts.groups.iter().flat_map(|(id, group)| {
        let members = group.voters.iter().chain(&group.learners);
        members.map(move |node| (*id, group, *node))
    });
    let looked = replicas.filter_map(|(id, group, node)| {
        let name = format!("{} at {}", group_name(id), facts.node_name(node));
        look(id, group, node, name)
    });
    looked.collect()
}

/// A group whose worker has ended on a node: nothing of it is written or answered there any more.
pub(super) fn stopped(facts: &Facts) -> Vec<Finding> {
    let replicas = facts.groups.iter().flat_map(|(id, group)| {
        let replicas = group.replicas.iter();
        replicas.filter_map(|(node, replica)| Some((*id, *node, replica.stopped.as_ref()?)))
    });
    let stopped = replicas.map(|(id, node, why)| {
        let name = format!("{} at {}", group_name(id), facts.node_name(node));
        let todo = "restart skein there; if it stops again, keep its log and its data directory for a report";
        problem(name, format!("has stopped: {why}"), todo)
    });
    stopped.collect()
}

pub(super) fn leaders(facts: &Facts) -> Vec<Finding> {
    each_group(facts, |id, group| {
        if group.leader.is_some() {
            return None;
        }
        let (answer, all) = (group.answering_voters(), group.voters.len());
        let what = format!(
            "has no leader: {answer} of {all} voters answer, and {} are needed",
            group.majority()
        );
        let todo = match answer < group.majority() {
            true => {
                "start the control nodes that do not answer; nothing is lost, and mail is taken again then"
            }
            false => {
                "an election takes some seconds; if it lasts, look at the logs of the control nodes"
            }
        };
        Some(problem(group_name(id), what, todo))
    })
}

pub(super) fn quorum(facts: &Facts) -> Vec<Finding> {
    each_group(facts, |id, group| {
        let (answer, all) = (group.answering_voters(), group.voters.len());
        let name = group_name(id);
        match answer.checked_sub(group.majority()) {
            // Told by another check, with what it means.
            None => None,
            Some(0) if all == 1 => {
                let what = "has one voter: the loss of its disk is the loss of its mail".to_owned();
                Some(note(name, what, more_nodes(facts)))
            }
            Some(0) if answer == all => {
                let what = format!("has {all} voters, and stops when one is lost");
                let todo = "add a control node: `skeinctl cluster add HOST:PORT`";
                Some(note(name, what, todo))
            }
            Some(0) => {
                let what = format!("has {answer} of {all} voters, and stops when one more is lost");
                let silent = group.silent_voters();
                if silent.iter().all(|node| facts.is_restarting(*node)) {
                    return Some(note(name, what, "wait: a node is being restarted"));
                }
                Some(problem(
                    name,
                    what,
                    "bring back the control nodes that do not answer",
                ))
            }
            Some(_) => None,
        }
    })
}

/// A node that belongs to no cluster has no address in one.
fn more_nodes(facts: &Facts) -> &'static str {
    match facts.is_alone {
        true => {
            "make backups, `skeinctl backup create FILE`; or start it again with `cluster.listen`, and add two control \
             nodes: `skeinctl cluster add HOST:PORT`"
        }
        false => "add two control nodes: `skeinctl cluster add HOST:PORT`",
    }
}

pub(super) fn members(facts: &Facts) -> Vec<Finding> {
    let mut found = each_replica(facts, |_, group, node, name| {
        let is_member = facts.nodes.contains_key(&node);
        match (group.voters.contains(&node), is_member) {
            (_, false) => {
                let what = "was removed, and is still in the group".to_owned();
                Some(note(
                    name,
                    what,
                    "wait: the group goes on without it once the others vote",
                ))
            }
            (false, true) => {
                let behind = group.behind(node).unwrap_or(group.log_end());
                let what = format!("does not vote yet: it lacks {behind} entries or some bodies");
                Some(note(name, what, "wait until it has caught up"))
            }
            (true, true) => None,
        }
    });
    for (id, group) in &facts.groups {
        let is_in = |node: &NodeId| group.voters.contains(node) || group.learners.contains(node);
        for node in facts.nodes.keys().filter(|node| !is_in(node)) {
            let name = format!("{} at {}", group_name(*id), facts.node_name(*node));
            let what = "is not in the group yet".to_owned();
            found.push(note(name, what, "wait: the group's leader takes it in"));
        }
    }
    found
}

pub(super) fn replicas(facts: &Facts) -> Vec<Finding> {
    each_replica(facts, |_, group, node, name| {
        let behind = group.behind(node)?;
        if !group.voters.contains(&node) || behind <= BEHIND_MAX {
            return None;
        }
        let what = format!("is {behind} entries behind");
        let todo = "if it does not fall: look at that node's disk and processor";
        Some(problem(name, what, todo))
    })
}

pub(super) fn bodies(facts: &Facts) -> Vec<Finding> {
    each_replica(facts, |_, group, node, name| {
        let missing = group.replicas.get(&node)?.bodies_missing;
        if missing == 0 || !group.voters.contains(&node) {
            return None;
        }
        let what = format!("lacks the bytes of {missing} messages, which other replicas have");
        let todo =
            "they are copied by themselves; if the number does not fall, look at that node's log";
        Some(problem(name, what, todo))
    })
}

pub(super) fn state(facts: &Facts) -> Vec<Finding> {
    each_replica(facts, |_, group, node, name| {
        let (same, against) = group.agreement(node)?;
        if against == 0 || against < same {
            return None;
        }
        let what = format!("wrote other rows than {against} other voters");
        let todo = match group.is_outvoted(node) {
            true => {
                "its node stops by itself; start it with an empty data directory, and keep the old one for a report"
            }
            false => "nobody can say which is right: stop taking mail in, and report it",
        };
        Some(problem(name, what, todo))
    })
}

pub(super) fn spread(facts: &Facts) -> Vec<Finding> {
    match facts.leading(BEHIND_MAX).is_even() {
        true => Vec::new(),
        false => {
            let what = "some node leads more groups than its share".to_owned();
            vec![note(
                "leaders",
                what,
                "wait: they move one by one, one in half a minute",
            )]
        }
    }
}

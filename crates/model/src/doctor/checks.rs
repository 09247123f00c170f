//! The invariants of a cluster that can be looked at while it runs.

use super::facts::{Facts, GroupFacts, group_name};
use super::{Check, Finding, Level};
use crate::disk::Room;
use crate::id::{GroupId, NodeId};

/// A replica that is further behind does not keep up: this is what the groups write in some seconds under load.
const BEHIND_MAX: u64 = 1000;
/// What NTP keeps with a wide margin. Due times and ages come from the leader's clock.
const CLOCKS_APART_MAX_MS: u64 = 2000;
/// Events are a few hundred bytes, and stay on disk until a sink has them.
const EVENTS_WAITING_MAX: u64 = 100_000;
/// A task that came due this long ago and is with no sender waits for something.
const DUE_MAX_MS: u64 = 60_000;

type Look = fn(&Facts) -> Vec<Finding>;

const CHECKS: [(&str, &str, Look); 17] = [
    (
        "view",
        "the asked node hears from the leader of the meta group",
        view,
    ),
    ("nodes", "every control node answers", nodes),
    ("leaders", "every group has a leader", leaders),
    ("quorum", "every group survives the loss of a node", quorum),
    (
        "members",
        "every control node votes in every group",
        members,
    ),
    ("replicas", "every replica keeps up", replicas),
    (
        "bodies",
        "every replica has the bytes of every message",
        bodies,
    ),
    ("state", "replicas have written the same", state),
    (
        "senders",
        "every sender reaches every spool group and is in service",
        senders,
    ),
    (
        "slots",
        "every slot has an owner, and is open at every spool group",
        slots,
    ),
    ("ips", "every source IP is at a node that has it", ips),
    ("due", "due mail is with a sender", due),
    ("events", "sinks take the events", events),
    ("disks", "every control node has room on its disk", disks),
    ("clocks", "clocks agree", clocks),
    ("versions", "control nodes run one version", versions),
    ("spread", "leaders are spread evenly", spread),
];

/// Looks at everything.
pub fn examine(facts: &Facts) -> Vec<Check> {
    let checks = CHECKS.iter().map(|(name, meaning, look)| Check {
        name,
        meaning,
        findings: look(facts),
    });
    checks.collect()
}

fn finding(
    level: Level,
    subject: impl Into<String>,
    what: String,
    todo: impl Into<String>,
) -> Finding {
    Finding {
        level,
        subject: subject.into(),
        what,
        todo: todo.into(),
    }
}

fn problem(subject: impl Into<String>, what: String, todo: impl Into<String>) -> Finding {
    finding(Level::Problem, subject, what, todo)
}

fn note(subject: impl Into<String>, what: String, todo: impl Into<String>) -> Finding {
    finding(Level::Note, subject, what, todo)
}

fn view(facts: &Facts) -> Vec<Finding> {
    let told = facts.stale.iter().map(|why| {
        let todo =
            "ask another control node with --server; if all say this, start those that do not run";
        problem("the asked node", why.clone(), todo)
    });
    told.collect()
}

fn nodes(facts: &Facts) -> Vec<Finding> {
    let silent = facts.nodes.values().filter(|node| node.answer.is_none());
    let silent = silent.map(|node| {
        let at = &node.address;
        let todo = format!(
            "start skein there; if its disk is lost, with an empty data directory and the same address; if the \
             machine is gone for good, `skeinctl cluster remove {at}`"
        );
        problem(at, "does not answer".to_owned(), todo)
    });
    let invited = facts.invited.iter().map(|at| {
        let todo = format!("start skein there, or take it back: `skeinctl cluster remove {at}`");
        note(at, "may join, and has not yet".to_owned(), todo)
    });
    silent.chain(invited).collect()
}

fn each_group(
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

fn leaders(facts: &Facts) -> Vec<Finding> {
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

fn quorum(facts: &Facts) -> Vec<Finding> {
    each_group(facts, |id, group| {
        let (answer, all) = (group.answering_voters(), group.voters.len());
        let name = group_name(id);
        match answer.checked_sub(group.majority()) {
            // Told by another check, with what it means.
            None => None,
            Some(0) if all == 1 => {
                let what = "has one voter: the loss of its disk is the loss of its mail".to_owned();
                let todo = "add two control nodes: `skeinctl cluster add HOST:PORT`";
                Some(note(name, what, todo))
            }
            Some(0) if answer == all => {
                let what = format!("has {all} voters, and stops when one is lost");
                let todo = "add a control node: `skeinctl cluster add HOST:PORT`";
                Some(note(name, what, todo))
            }
            Some(0) => {
                let what = format!("has {answer} of {all} voters, and stops when one more is lost");
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

fn members(facts: &Facts) -> Vec<Finding> {
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

fn replicas(facts: &Facts) -> Vec<Finding> {
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

fn bodies(facts: &Facts) -> Vec<Finding> {
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

fn state(facts: &Facts) -> Vec<Finding> {
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

fn senders(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if !facts.senders.iter().any(|sender| sender.has_session) {
        let what = "none has a session, so no mail goes out".to_owned();
        let todo = "start a node with role \"sender\" whose cluster.peers names the control nodes";
        found.push(problem("senders", what, todo));
    }
    for sender in &facts.senders {
        let name = format!("sender {}", sender.name);
        if sender.has_session && !sender.is_fit {
            let what = "does not reach the leader of some spool group that others reach".to_owned();
            let todo = "look at the network between it and the control nodes; its slots are with others meanwhile";
            found.push(problem(name, what, todo));
        } else if sender.is_drained {
            let what = match sender.has_session {
                true => "is out of service".to_owned(),
                false => "is out of service, and gone".to_owned(),
            };
            let todo = match sender.has_session {
                true => format!(
                    "`skeinctl node resume {}` when it may work again",
                    sender.name
                ),
                false => format!(
                    "`skeinctl node remove {}` if it does not come back",
                    sender.name
                ),
            };
            found.push(note(name, what, todo));
        }
    }
    found
}

fn slots(facts: &Facts) -> Vec<Finding> {
    let mut found = each_group(facts, |id, group| {
        if group.slots_unopened == 0 {
            return None;
        }
        let what = format!(
            "has {} slots that their owners have not opened",
            group.slots_unopened
        );
        let todo = "look at the logs of the senders that own them: `skeinctl slot list --all`";
        Some(problem(group_name(id), what, todo))
    });
    if facts.slots_without_owner > 0 {
        let what = format!(
            "{} have no owner, and their mail waits",
            facts.slots_without_owner
        );
        let todo = "start a sender, or resume a drained one: `skeinctl node list`";
        found.push(problem("slots", what, todo));
    }
    found
}

fn ips(facts: &Facts) -> Vec<Finding> {
    let unplaced = facts.unplaced_ips.iter().map(|ip| {
        let todo = format!(
            "give its address to a node, or take it out: `skeinctl policy get ip {ip}`; mail of its pools goes through \
             other members, or waits"
        );
        problem(format!("ip {ip}"), "is at no node".to_owned(), todo)
    });
    let faults = facts.ip_faults.iter().map(|(ip, fault)| {
        let todo = format!(
            "hosts may take mail from it for spam: `skeinctl ip check {ip}` says more; it goes on sending"
        );
        note(format!("ip {ip}"), format!("is not fit to send: {fault}"), todo)
    });
    unplaced.chain(faults).collect()
}

fn due(facts: &Facts) -> Vec<Finding> {
    each_group(facts, |id, group| {
        let name = group_name(id);
        if !group.waits_for.is_empty() {
            let what = format!(
                "hands nothing out before it has heard from {}",
                group.waits_for.join(", ")
            );
            return Some(problem(
                name,
                what,
                "it goes on after 12 s without them; look at those senders' logs",
            ));
        }
        let since = facts.now.since(group.oldest_due?);
        if since.0 < DUE_MAX_MS || group.in_flight > 0 {
            return None;
        }
        let what = format!(
            "has a task that came due {} s ago, and no sender has any",
            since.0 / 1000
        );
        Some(problem(
            name,
            what,
            "look at what is due, `skeinctl queue list`, and who owns its slots",
        ))
    })
}

fn events(facts: &Facts) -> Vec<Finding> {
    each_group(facts, |id, group| {
        if group.events_waiting <= EVENTS_WAITING_MAX {
            return None;
        }
        let what = format!(
            "keeps {} events that no sink has taken",
            group.events_waiting
        );
        Some(problem(
            group_name(id),
            what,
            "look at the event sink on the node that leads the group",
        ))
    })
}

fn disks(facts: &Facts) -> Vec<Finding> {
    let answers = facts.nodes.iter();
    let answers = answers.filter_map(|(id, node)| Some((*id, node.answer.as_ref()?)));
    let filled = answers.filter_map(|(id, answer)| {
        let takes = match answer.room? {
            Room::Enough => return None,
            Room::Soft => "no new mail",
            Room::Hard => "nothing but results",
        };
        let what = format!(
            "has filled {} % of its disk, and takes {takes}",
            answer.disk_used_percent
        );
        let todo = "make room beside the data directory, or give it a larger disk; delivered mail makes room too";
        Some(problem(facts.node_name(id), what, todo))
    });
    filled.collect()
}

fn clocks(facts: &Facts) -> Vec<Finding> {
    let answers = facts.nodes.iter();
    let answers = answers.filter_map(|(id, node)| Some((*id, node.answer.as_ref()?)));
    let apart =
        answers.filter(|(_, answer)| answer.clock_ahead_ms.unsigned_abs() > CLOCKS_APART_MAX_MS);
    let told = apart.map(|(id, answer)| {
        let ahead = answer.clock_ahead_ms;
        let word = if ahead > 0 { "ahead" } else { "behind" };
        let what = format!(
            "has a clock that is {} ms {word} of the asked node's",
            ahead.unsigned_abs()
        );
        problem(
            facts.node_name(id),
            what,
            "let NTP keep both clocks; due times follow the leader's",
        )
    });
    told.collect()
}

fn versions(facts: &Facts) -> Vec<Finding> {
    let answers = facts.nodes.values().filter_map(|node| node.answer.as_ref());
    let mut versions: Vec<&str> = answers.map(|answer| answer.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    match versions.len() {
        0 | 1 => Vec::new(),
        _ => {
            let what = format!("run {}", versions.join(" and "));
            vec![note(
                "control nodes",
                what,
                "finish the upgrade: a node at a time",
            )]
        }
    }
}

fn spread(facts: &Facts) -> Vec<Finding> {
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

use super::Level::{Note, Problem};
use super::*;
use crate::disk::Room;
use crate::id::{GroupId, NodeId};
use crate::time::UnixMs;

pub(super) const NOW: UnixMs = UnixMs(1_000_000_000);

pub(super) fn nodes(ids: &[u64]) -> std::collections::BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn mark(index: u64, crc32c: u32) -> Option<Mark> {
    let version = "1".into();
    Some(Mark {
        index,
        crc32c,
        version,
    })
}

pub(super) fn name_server(address: &str, fault: Option<&str>) -> NameServer {
    NameServer {
        address: address.into(),
        fault: fault.map(str::to_owned),
    }
}

/// Three nodes that lead a group each, and two senders.
pub(super) fn healthy() -> Facts {
    let node = |id: u64| {
        let facts = NodeFacts {
            address: format!("n{id}:7000"),
            answer: Some(Answer {
                version: "1".into(),
                room: Some(Room::Enough),
                disk_used_percent: 30,
                disk_soft_mark: 80,
                ..Answer::default()
            }),
            ..NodeFacts::default()
        };
        (NodeId(id), facts)
    };
    let replica = Replica {
        log_end: 5000,
        applied: 5000,
        bodies_missing: 0,
        mark: mark(4000, 7),
        stopped: None,
    };
    let group = |number: u16| {
        let facts = GroupFacts {
            term: 3,
            leader: Some(NodeId(u64::from(number) + 1)),
            voters: nodes(&[1, 2, 3]),
            replicas: (1..=3).map(|id| (NodeId(id), replica.clone())).collect(),
            ..GroupFacts::default()
        };
        (GroupId(number), facts)
    };
    let sender = |name: &str| SenderFacts {
        name: name.into(),
        has_session: true,
        is_fit: true,
        is_egress: false,
        is_drained: false,
        slots: 512,
        health: Some(SenderHealth {
            name_servers: vec![name_server("10.0.0.53:53", None)],
            needs_dns: true,
            connects: Connects {
                minutes: 10,
                hosts: 40,
                connected: 38,
                sites: 30,
                last_fault: "connecting to mx.b.test [192.0.2.9]:25: timed out".into(),
            },
            ..SenderHealth::default()
        }),
    };
    Facts {
        now: NOW,
        nodes: (1..=3).map(node).collect(),
        groups: (0..=2).map(group).collect(),
        senders: vec![sender("s1"), sender("s2")],
        ..Facts::default()
    }
}

pub(super) fn group(facts: &mut Facts, number: u16) -> &mut GroupFacts {
    facts.groups.get_mut(&GroupId(number)).expect("it is there")
}

/// The node's process is gone.
pub(super) fn silence(facts: &mut Facts, id: u64) {
    facts
        .nodes
        .get_mut(&NodeId(id))
        .expect("it is there")
        .answer = None;
    for group in facts.groups.values_mut() {
        group.replicas.remove(&NodeId(id));
    }
}

fn found(facts: &Facts) -> Vec<(&'static str, Level)> {
    let checks = examine(facts).into_iter();
    checks
        .filter_map(|check| Some((check.name, check.level()?)))
        .collect()
}

type Change = fn(&mut Facts);

const FAULTS: [(Change, &[(&str, Level)]); 24] = [
    (|_| {}, &[]),
    (
        |f| f.stale = Some("hears from no leader".into()),
        &[("view", Problem)],
    ),
    (
        |f| silence(f, 2),
        &[("nodes", Problem), ("quorum", Problem)],
    ),
    (
        |f| {
            silence(f, 2);
            silence(f, 3);
            f.groups.values_mut().for_each(|group| group.leader = None);
        },
        &[("nodes", Problem), ("leaders", Problem)],
    ),
    (
        |f| f.invited = ["n4:7000".to_owned()].into(),
        &[("nodes", Note)],
    ),
    (|f| group(f, 1).leader = None, &[("leaders", Problem)]),
    (
        |f| {
            f.nodes.retain(|id, _| *id == NodeId(1));
            for group in f.groups.values_mut() {
                group.leader = Some(NodeId(1));
                group.voters = nodes(&[1]);
            }
        },
        &[("quorum", Note)],
    ),
    (
        |f| {
            group(f, 1).voters = nodes(&[1, 2]);
            group(f, 1).learners = nodes(&[3]);
        },
        &[("quorum", Note), ("members", Note)],
    ),
    (
        |f| {
            f.nodes.remove(&NodeId(3));
        },
        &[("members", Note), ("spread", Note)],
    ),
    (
        |f| {
            group(f, 2)
                .replicas
                .get_mut(&NodeId(1))
                .expect("there")
                .applied = 3000;
        },
        &[("replicas", Problem)],
    ),
    (
        |f| {
            group(f, 2)
                .replicas
                .get_mut(&NodeId(1))
                .expect("there")
                .bodies_missing = 3;
        },
        &[("bodies", Problem)],
    ),
    (|f| f.senders.clear(), &[("senders", Problem)]),
    (|f| f.senders[0].is_fit = false, &[("senders", Problem)]),
    (|f| f.senders[1].is_drained = true, &[("senders", Note)]),
    (|f| group(f, 1).slots_unopened = 4, &[("slots", Problem)]),
    (|f| f.slots_without_owner = 4, &[("slots", Problem)]),
    (|f| f.unplaced_ips.push("a1".into()), &[("ips", Problem)]),
    (
        |f| f.ip_faults.push(("a1".into(), "no name".into())),
        &[("ips", Note)],
    ),
    (
        |f| group(f, 1).waits_for = vec!["s1".into()],
        &[("due", Problem)],
    ),
    (
        |f| group(f, 1).ready_since = Some(UnixMs(NOW.0 - 61_000)),
        &[("due", Problem)],
    ),
    (
        |f| {
            group(f, 1).ready_since = Some(UnixMs(NOW.0 - 61_000));
            group(f, 1).in_flight = 1;
        },
        &[],
    ),
    (
        |f| group(f, 1).events_waiting = 1_000_000,
        &[("events", Problem)],
    ),
    (
        |f| {
            let node = f.nodes.get_mut(&NodeId(3)).expect("there");
            node.answer.as_mut().expect("it answers").room = Some(Room::Soft);
        },
        &[("disks", Problem)],
    ),
    (
        |f| {
            let node = f.nodes.get_mut(&NodeId(3)).expect("there");
            node.answer = Some(Answer {
                version: "2".into(),
                clock_ahead_ms: -2500,
                ..Answer::default()
            });
        },
        &[("clocks", Problem), ("versions", Note)],
    ),
];

#[test]
fn each_fault_is_found_by_its_check() {
    for (number, (change, expected)) in FAULTS.into_iter().enumerate() {
        let mut facts = healthy();
        change(&mut facts);
        assert_eq!(found(&facts), expected, "case {number}");
    }
}

#[test]
fn a_lost_node_is_named_with_what_to_do() {
    let mut facts = healthy();
    silence(&mut facts, 2);
    let checks = examine(&facts);
    let nodes = checks.iter().find(|check| check.name == "nodes");
    let lost = &nodes.expect("it is looked at").findings[0];
    assert_eq!(lost.subject, "n2:7000");
    assert!(lost.todo.contains("skeinctl cluster remove n2:7000"));
    let verdict = verdict(&checks);
    assert!(
        verdict.starts_with("degraded: n2:7000 does not answer"),
        "{verdict}"
    );
    assert_eq!(super::verdict(&examine(&healthy())), "healthy");
}

#[test]
fn what_passes_is_no_fault() {
    let (before, mut after) = (healthy(), healthy());
    group(&mut after, 1).leader = None;
    let seen = lasting(&examine(&before), examine(&after));
    assert!(seen.iter().all(|check| check.findings.is_empty()));
    let seen = lasting(&examine(&after), examine(&after));
    assert_eq!(seen, examine(&after));
}

#[test]
fn who_stops_or_lacks_something_is_not_given_a_group() {
    let mut facts = healthy();
    assert_eq!(facts.leading(0).able[&GroupId(1)], nodes(&[1, 2, 3]));
    let answer = facts
        .nodes
        .get_mut(&NodeId(1))
        .and_then(|node| node.answer.as_mut());
    answer.expect("it answers").is_stopping = true;
    group(&mut facts, 1)
        .replicas
        .get_mut(&NodeId(2))
        .expect("there")
        .applied -= 1;
    assert_eq!(facts.leading(0).able[&GroupId(1)], nodes(&[3]));
    assert_eq!(facts.leading(1).able[&GroupId(1)], nodes(&[2, 3]));
    facts.nodes.remove(&NodeId(3));
    assert_eq!(facts.leading(1).leaving, nodes(&[3]));
}

#[test]
fn a_replica_that_differs_is_outvoted_by_a_majority_at_the_same_place() {
    let at = |index, crc32c| mark(index, crc32c);
    for (marks, outvoted, told) in [
        ([at(1, 7), at(1, 7), at(1, 7)], vec![], 0),
        ([at(1, 7), at(1, 7), at(1, 8)], vec![3], 1),
        ([at(1, 8), at(1, 7), at(1, 7)], vec![1], 1),
        ([at(1, 7), at(1, 7), at(2, 8)], vec![], 0),
        ([at(1, 7), at(1, 7), None], vec![], 0),
        // Two that differ, while the third is elsewhere.
        ([at(1, 7), at(1, 8), at(2, 8)], vec![], 2),
        ([at(1, 7), at(1, 8), at(1, 9)], vec![], 3),
    ] {
        let mut facts = healthy();
        let group = group(&mut facts, 1);
        for (replica, mark) in group.replicas.values_mut().zip(marks.clone()) {
            replica.mark = mark;
        }
        let nodes = (1..=3).filter(|id| group.is_outvoted(NodeId(*id)));
        assert_eq!(nodes.collect::<Vec<u64>>(), outvoted, "{marks:?}");
        let checks = examine(&facts);
        let state = checks.iter().find(|check| check.name == "state");
        assert_eq!(
            state.expect("it is looked at").findings.len(),
            told,
            "{marks:?}"
        );
    }
}

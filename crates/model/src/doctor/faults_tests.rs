//! What the doctor says of faults that were planted, and of states in which nothing is wrong.

use super::tests::{NOW, group, healthy, name_server, nodes, silence};
use super::*;
use crate::disk::Room;
use crate::id::NodeId;
use crate::time::{DurationMs, UnixMs};

type Change = fn(&mut Facts);

const DAY_MS: u64 = 24 * 3600 * 1000;

fn node(facts: &mut Facts, id: u64) -> &mut NodeFacts {
    facts.nodes.get_mut(&NodeId(id)).expect("it is there")
}

fn answer(facts: &mut Facts, id: u64) -> &mut Answer {
    node(facts, id).answer.as_mut().expect("it answers")
}

fn replica(facts: &mut Facts, number: u16, id: u64) -> &mut Replica {
    let replicas = &mut group(facts, number).replicas;
    replicas.get_mut(&NodeId(id)).expect("it is there")
}

fn health(facts: &mut Facts, nth: usize) -> &mut SenderHealth {
    facts.senders[nth].health.as_mut().expect("it was heard")
}

fn ends_in(days: u64) -> CertificateEnd {
    CertificateEnd {
        setting: "smtp.tls.certificate".into(),
        path: "/etc/skein/mx.pem".into(),
        at: UnixMs(NOW.0 + days * DAY_MS + 1),
    }
}

fn founding(missing: &[&str]) -> Option<Founding> {
    let missing = missing.iter().map(|address| MissingPeer {
        address: (*address).into(),
        why: "connection refused".into(),
    });
    Some(Founding {
        missing: missing.collect(),
        refused: String::new(),
    })
}

/// What is found, as one text.
fn said(checks: &[Check], level: Level) -> String {
    let findings = checks.iter().flat_map(|check| {
        let found = check.findings.iter();
        found.map(move |finding| (check.name, finding))
    });
    let told = findings.filter(|(_, finding)| finding.level == level);
    let lines = told.map(|(check, finding)| {
        let Finding {
            subject,
            what,
            todo,
            ..
        } = finding;
        format!("{check}: {subject} {what} ({todo})\n")
    });
    lines.collect()
}

const FAULTS: &[(Change, &[&str])] = &[
    (
        |f| f.stale = Some("has heard nothing from the leader for 9 s".into()),
        &["view: the asked node has heard nothing from the leader for 9 s"],
    ),
    (
        |f| {
            silence(f, 2);
            node(f, 2).silence = "connection refused".into();
        },
        &[
            "nodes: n2:7000 does not answer: connection refused",
            "quorum: meta has 2 of 3",
        ],
    ),
    (
        |f| {
            silence(f, 2);
            node(f, 2).silence = "no route to host".into();
            node(f, 2).stopped_for = Some(DurationMs::from_secs(61));
        },
        &[
            "nodes: n2:7000 does not answer: no route to host; it said 61 s ago that it stops",
            "cluster remove",
        ],
    ),
    (
        |f| {
            f.founding = founding(&["10.0.0.2:7000", "10.0.0.3:7000"]);
            f.stale = Some("sees no leader".into());
            f.groups
                .values_mut()
                .for_each(|group| *group = GroupFacts::default());
        },
        &[
            "nodes: 10.0.0.2:7000 is missing, so there is no cluster yet: connection refused",
            "nodes: 10.0.0.3:7000 is missing",
        ],
    ),
    (
        |f| {
            f.founding = Some(Founding {
                missing: vec![],
                refused: "spool_groups is 2".into(),
            })
        },
        &["nodes: the cluster is not joined: spool_groups is 2"],
    ),
    (
        |f| {
            f.founding = founding(&["10.0.0.5:7000"]);
            if let Some(founding) = &mut f.founding {
                founding.refused = "10.0.0.2:7000 does not answer".into();
            }
        },
        &[
            "nodes: the cluster is not joined: 10.0.0.2:7000 does not answer",
            "nodes: 10.0.0.5:7000 is missing: connection refused",
        ],
    ),
    (
        |f| {
            silence(f, 2);
            silence(f, 3);
            f.groups.values_mut().for_each(|group| group.leader = None);
        },
        &[
            "leaders: spool 1 has no leader: 1 of 3 voters answer, and 2 are needed",
            "n2:7000",
            "n3:7000",
        ],
    ),
    (
        |f| group(f, 1).leader = None,
        &["leaders: spool 1 has no leader"],
    ),
    (
        |f| replica(f, 2, 3).stopped = Some("panicked".into()),
        &["groups: spool 2 at n3:7000 has stopped: panicked"],
    ),
    (
        |f| replica(f, 2, 1).applied = 3000,
        &["replicas: spool 2 at n1:7000 is 2000 entries behind"],
    ),
    (
        |f| replica(f, 2, 1).bodies_missing = 3,
        &["bodies: spool 2 at n1:7000 lacks the bytes of 3"],
    ),
    (
        |f| replica(f, 1, 3).mark.as_mut().expect("it has one").crc32c = 8,
        &["state: spool 1 at n3:7000 wrote other rows"],
    ),
    (
        |f| f.senders.clear(),
        &["senders: senders none has a session"],
    ),
    (
        |f| f.senders[0].is_fit = false,
        &["senders: sender s1 does not reach the leader"],
    ),
    (
        |f| {
            f.reopened.push(Reopened {
                name: "s1".into(),
                times: 36,
                addresses: vec!["10.0.0.4:5001".into(), "10.0.0.5:5002".into()],
            });
        },
        &[
            "sessions: sender s1 asked for a session 36 times",
            "10.0.0.4:5001 and 10.0.0.5:5002",
            "cluster.name",
        ],
    ),
    (
        |f| group(f, 1).slots_unopened = 4,
        &["slots: spool 1 has 4 slots"],
    ),
    (
        |f| f.slots_without_owner = 4,
        &["slots: slots 4 have no owner"],
    ),
    (
        |f| f.unplaced_ips.push("a1".into()),
        &["ips: ip a1 is at no node"],
    ),
    (
        |f| group(f, 1).waits_for = vec!["s1".into()],
        &["due: spool 1 hands nothing out before it has heard from s1"],
    ),
    (
        |f| group(f, 1).ready_since = Some(UnixMs(NOW.0 - 61_000)),
        &["due: spool 1 has a task that came due 61 s ago and that nothing holds back"],
    ),
    (
        |f| {
            let servers = &mut health(f, 0).name_servers;
            servers.push(name_server("10.0.0.54:53", Some("timed out after 3 s")));
        },
        &["dns: name server 10.0.0.54:53 of sender s1 does not do its work: timed out after 3 s"],
    ),
    (
        |f| {
            health(f, 1).name_servers = vec![
                name_server("10.0.0.53:53", Some("answers REFUSED")),
                name_server("10.0.0.54:53", Some("connection refused")),
            ];
        },
        &[
            "10.0.0.53:53 of sender s2 does not do its work, and no other one does: answers REFUSED",
            "10.0.0.54:53",
        ],
    ),
    (
        |f| {
            let connects = &mut health(f, 1).connects;
            (connects.hosts, connects.connected, connects.sites) = (12, 0, 6);
        },
        &[
            "connections: sender s2 got no connection in 10 min",
            "12 hosts of 6",
            "--port-25",
        ],
    ),
    (
        |f| group(f, 1).events_waiting = 1_000_000,
        &["events: spool 1 keeps 1000000 events"],
    ),
    (
        |f| answer(f, 3).events_fault = Some("/var/log/events.jsonl: permission denied".into()),
        &["events: n3:7000 cannot write events: /var/log/events.jsonl: permission denied"],
    ),
    (
        |f| {
            (answer(f, 3).room, answer(f, 3).disk_used_percent) = (Some(Room::Soft), 81);
        },
        &["disks: n3:7000 has filled 81 % of its disk, and takes no new mail"],
    ),
    (
        |f| {
            (answer(f, 3).room, answer(f, 3).disk_used_percent) = (Some(Room::Hard), 93);
        },
        &["disks: n3:7000 has filled 93 %", "nothing but results"],
    ),
    (
        |f| answer(f, 2).clock_ahead_ms = -2500,
        &["clocks: n2:7000 has a clock that is 2500 ms behind"],
    ),
    (
        |f| health(f, 0).clock_ahead_ms = 7_200_000,
        &["clocks: sender s1 has a clock that is 7200000 ms ahead"],
    ),
    (
        |f| health(f, 0).certificates.push(ends_in(3)),
        &["certificates: smtp.tls.certificate of sender s1 ends in 3 days: /etc/skein/mx.pem"],
    ),
    (
        |f| {
            let at = UnixMs(NOW.0 - 1);
            answer(f, 1)
                .certificates
                .push(CertificateEnd { at, ..ends_in(0) });
        },
        &["certificates: smtp.tls.certificate of n1:7000 has ended"],
    ),
    (
        |f| {
            health(f, 0).files.push(FileFault {
                setting: "delivery.route.token_file".into(),
                path: "/run/token".into(),
                fault: "is not there".into(),
            });
        },
        &["files: delivery.route.token_file of sender s1 /run/token is not there"],
    ),
];

#[test]
fn every_planted_fault_is_named() {
    assert!(FAULTS.len() >= 20);
    for (number, (plant, parts)) in FAULTS.iter().enumerate() {
        let mut facts = healthy();
        plant(&mut facts);
        let checks = examine(&facts);
        let said = said(&checks, Level::Problem);
        for part in *parts {
            assert!(
                said.contains(part),
                "fault {number}: {part:?} is not in\n{said}"
            );
        }
        assert!(verdict(&checks).starts_with("degraded: "), "fault {number}");
    }
}

/// States in which nothing is wrong, and what a note says of them.
const STATES: &[(&str, Change, &str)] = &[
    ("all is well", |_| {}, ""),
    (
        "limits, rules, suspensions or a warm-up hold all due mail back",
        |f| {
            for group in f.groups.values_mut() {
                (group.ready_since, group.in_flight) = (None, 0);
            }
        },
        "",
    ),
    (
        "a task that was held for minutes has just been let go",
        |f| {
            group(f, 1).ready_since = Some(UnixMs(NOW.0 - 600_000));
            group(f, 1).in_flight = 1;
        },
        "",
    ),
    (
        "one of two senders is drained",
        |f| f.senders[1].is_drained = true,
        "sender s2 is out of service",
    ),
    (
        "every sender is drained",
        |f| {
            f.senders
                .iter_mut()
                .for_each(|sender| sender.is_drained = true);
            f.slots_without_owner = 1024;
            group(f, 1).ready_since = Some(UnixMs(NOW.0 - 600_000));
        },
        "because every sender is out of service",
    ),
    (
        "a node that is alone",
        |f| {
            f.is_alone = true;
            f.senders.truncate(1);
            f.nodes.retain(|id, _| *id == NodeId(1));
            for group in f.groups.values_mut() {
                (group.leader, group.voters) = (Some(NodeId(1)), nodes(&[1]));
                group.replicas.retain(|id, _| *id == NodeId(1));
            }
        },
        "skeinctl backup create",
    ),
    (
        "a cluster without mail",
        |f| {
            for group in f.groups.values_mut() {
                for replica in group.replicas.values_mut() {
                    *replica = Replica::default();
                }
            }
            f.senders.iter_mut().for_each(|sender| sender.health = None);
        },
        "",
    ),
    (
        "a million tasks are queued, and senders are full",
        |f| {
            for group in f.groups.values_mut() {
                group.in_flight = 2048;
                group.ready_since = Some(UnixMs(NOW.0 - 3_600_000));
                group.events_waiting = 50_000;
                for (nth, replica) in group.replicas.values_mut().enumerate() {
                    replica.log_end = 9_000_000;
                    replica.applied = 9_000_000 - 300 * nth as u64;
                }
            }
        },
        "",
    ),
    (
        "some hosts give no connection and are tried again",
        |f| {
            let connects = &mut health(f, 0).connects;
            (connects.hosts, connects.connected) = (40, 1);
        },
        "",
    ),
    (
        "the only destinations are down",
        |f| {
            let connects = &mut health(f, 0).connects;
            (connects.hosts, connects.connected, connects.sites) = (3, 0, 2);
        },
        "3 hosts of 2 destinations",
    ),
    (
        "a control node is being restarted",
        |f| {
            silence(f, 2);
            node(f, 2).silence = "connection refused".into();
            node(f, 2).stopped_for = Some(DurationMs::from_secs(20));
        },
        "it is being restarted",
    ),
    (
        "a control node is about to stop",
        |f| answer(f, 2).is_stopping = true,
        "",
    ),
    (
        "a sender is started again, twice within a minute",
        |f| {
            f.reopened.push(Reopened {
                name: "s1".into(),
                times: 3,
                addresses: vec!["10.0.0.4:5001".into()],
            });
        },
        "",
    ),
    (
        "all mail goes to a smarthost, and no name server answers",
        |f| {
            health(f, 0).needs_dns = false;
            health(f, 0).name_servers = vec![name_server("10.0.0.53:53", Some("timed out"))];
        },
        "so it may need none",
    ),
    (
        "a disk is well filled, and takes mail",
        |f| answer(f, 1).disk_used_percent = 72,
        "beyond 80 %",
    ),
    (
        "a certificate is to be renewed in three weeks",
        |f| answer(f, 1).certificates.push(ends_in(21)),
        "ends in 21 days",
    ),
    (
        "a node is invited",
        |f| f.invited = ["n4:7000".to_owned()].into(),
        "may join",
    ),
    (
        "an upgrade is under way",
        |f| answer(f, 3).version = "2".into(),
        "run 1 and 2",
    ),
    (
        "a new node is catching up",
        |f| {
            group(f, 1).voters = nodes(&[1, 2]);
            group(f, 1).learners = nodes(&[3]);
            replica(f, 1, 3).applied = 10;
        },
        "does not vote yet",
    ),
    (
        "mail goes out without DANE",
        |f| {
            let fault = "DANE off: the resolver does not validate: the signed name org comes without the AD bit";
            health(f, 1).validation_fault = Some(fault.into());
        },
        "dns: sender s2 DANE off: the resolver does not validate",
    ),
];

#[test]
fn what_is_as_it_should_be_gives_no_alarm() {
    assert!(STATES.len() >= 10);
    for (state, change, note) in STATES {
        let mut facts = healthy();
        change(&mut facts);
        let checks = examine(&facts);
        assert_eq!(said(&checks, Level::Problem), "", "{state}");
        assert_eq!(verdict(&checks), "healthy", "{state}");
        let noted = said(&checks, Level::Note);
        assert!(noted.contains(note), "{state}: {note:?} is not in\n{noted}");
        assert_eq!(noted.is_empty(), note.is_empty(), "{state}: {noted}");
    }
}

#[test]
fn what_nobody_knows_before_there_is_a_cluster_is_not_called_well() {
    let mut facts = healthy();
    facts.founding = founding(&["n2:7000"]);
    let checks = examine(&facts);
    let unknown = checks.iter().filter(|check| !check.is_known);
    let unknown: Vec<&str> = unknown.map(|check| check.name).collect();
    for name in ["leaders", "quorum", "members", "senders", "slots", "due"] {
        assert!(unknown.contains(&name), "{name}: {unknown:?}");
    }
    assert!(!unknown.contains(&"nodes"));
}

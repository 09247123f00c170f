//! An IP is used by one node at a time, and goes where it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{Addresses, Command, Placement, Response, Wanted, apply, place, placements};
use crate::rows::MemoryRows;
use crate::{Epoch, SessionId, UnixMs};

fn address(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, n).into()
}

fn ip(n: u8) -> Wanted {
    Wanted {
        name: format!("ip{n}"),
        bind: address(n),
        home: None,
    }
}

fn open(rows: &mut MemoryRows, session: u64, has: &[u8]) {
    let session = SessionId(session);
    let open = Command::OpenSession {
        session,
        sender: format!("node-{}", session.0),
        order: session.0,
    };
    assert_eq!(apply(rows, UnixMs(1), &open), Response::Done);
    tell(rows, session, has);
}

fn tell(rows: &mut MemoryRows, session: SessionId, has: &[u8]) {
    let addresses = Addresses {
        local: has.iter().map(|n| address(*n)).collect(),
        egress: None,
    };
    let told = Command::SetAddresses { session, addresses };
    assert_eq!(apply(rows, UnixMs(1), &told), Response::Done);
}

fn decide(rows: &mut MemoryRows, wanted: &[Wanted]) -> usize {
    let moves = place(wanted, rows);
    let count = moves.len();
    assert_eq!(
        apply(rows, UnixMs(1), &Command::MoveIps(moves)),
        Response::Done
    );
    count
}

fn close(rows: &mut MemoryRows, session: u64) {
    apply(rows, UnixMs(1), &Command::CloseSession(SessionId(session)));
}

fn at(rows: &MemoryRows, name: &str) -> Placement {
    placements(rows)[name]
}

fn release(rows: &mut MemoryRows, session: u64, name: &str, epoch: Epoch) {
    let session = SessionId(session);
    let ips = vec![(name.to_owned(), epoch)];
    apply(rows, UnixMs(1), &Command::ReleaseIps { session, ips });
}

#[test]
fn an_ip_is_where_its_address_is_and_moves_when_that_turns_up_elsewhere() {
    let mut rows = MemoryRows::default();
    let wanted = [ip(1)];
    open(&mut rows, 7, &[2]);
    assert_eq!(decide(&mut rows, &wanted), 0, "nobody has it");
    open(&mut rows, 8, &[1, 2]);
    assert_eq!(decide(&mut rows, &wanted), 1);
    assert_eq!(
        (at(&rows, "ip1").session, at(&rows, "ip1").epoch),
        (SessionId(8), Epoch(1))
    );
    assert_eq!(decide(&mut rows, &wanted), 0, "it stays");

    tell(&mut rows, SessionId(7), &[1]);
    assert_eq!(decide(&mut rows, &wanted), 0, "both have it, so it stays");
    tell(&mut rows, SessionId(8), &[2]);
    assert_eq!(decide(&mut rows, &wanted), 1);
    let moving = at(&rows, "ip1");
    assert_eq!(
        (moving.session, moving.moving_to),
        (SessionId(8), Some(SessionId(7)))
    );
    release(&mut rows, 8, "ip1", Epoch(0));
    assert_eq!(at(&rows, "ip1"), moving, "a release of another epoch");
    release(&mut rows, 8, "ip1", Epoch(1));
    assert_eq!(
        (at(&rows, "ip1").session, at(&rows, "ip1").epoch),
        (SessionId(7), Epoch(2))
    );

    close(&mut rows, 7);
    assert_eq!(
        at(&rows, "ip1").session,
        SessionId::NONE,
        "its holder is dead"
    );
    assert_eq!(at(&rows, "ip1").epoch, Epoch(3));
    assert_eq!(decide(&mut rows, &wanted), 0, "nobody has it");
    assert_eq!(decide(&mut rows, &[]), 0, "it is nowhere already");
}

#[test]
fn a_home_is_kept_to_and_nodes_get_equally_many() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 7, &[1, 2, 3, 4]);
    open(&mut rows, 8, &[1, 2, 3, 4]);
    let at_home = Wanted {
        home: Some("node-8".into()),
        ..ip(1)
    };
    let elsewhere = Wanted {
        home: Some("node-9".into()),
        ..ip(2)
    };
    let wanted = [at_home, elsewhere, ip(3), ip(4)];
    assert_eq!(decide(&mut rows, &wanted), 3);
    assert_eq!(at(&rows, "ip1").session, SessionId(8));
    assert!(!placements(&rows).contains_key("ip2"));
    let held = |id: u64| {
        let all = placements(&rows).into_values();
        all.filter(|placement| placement.session == SessionId(id))
            .count()
    };
    assert_eq!(held(7).abs_diff(held(8)), 1);
}

#[test]
fn a_sender_that_registers_anew_keeps_its_ips_and_lets_go_of_those_that_leave() {
    let mut rows = MemoryRows::default();
    open(&mut rows, 7, &[1, 2]);
    assert_eq!(decide(&mut rows, &[ip(1), ip(2)]), 2);
    open(&mut rows, 8, &[1, 2]);
    tell(&mut rows, SessionId(7), &[1]);
    assert_eq!(decide(&mut rows, &[ip(1), ip(2)]), 1);
    let again = Command::OpenSession {
        session: SessionId(9),
        sender: "node-7".to_owned(),
        order: 9,
    };
    apply(&mut rows, UnixMs(2), &again);
    let (kept, leaving) = (at(&rows, "ip1"), at(&rows, "ip2"));
    assert_eq!((kept.session, kept.epoch), (SessionId(9), Epoch(2)));
    assert_eq!(leaving.session, SessionId(9), "the process before may live");
    assert_eq!(leaving.moving_to, Some(SessionId(8)));
    assert_eq!(
        decide(&mut rows, &[ip(1), ip(2)]),
        0,
        "it has not said what it has"
    );
    release(&mut rows, 9, "ip2", Epoch(2));
    assert_eq!(at(&rows, "ip2").session, SessionId(8));
    tell(&mut rows, SessionId(9), &[]);
    assert_eq!(
        decide(&mut rows, &[ip(1), ip(2)]),
        1,
        "it has nothing any more"
    );
}

#[derive(Debug, Clone)]
enum Step {
    Open(u64, Vec<u8>),
    Tell(u64, Vec<u8>),
    Close(u64),
    Decide(Vec<u8>),
    Release(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let has = || prop::collection::vec(1..6_u8, 0..5);
    prop_oneof![
        (1..5_u64, has()).prop_map(|(id, has)| Step::Open(id, has)),
        (1..5_u64, has()).prop_map(|(id, has)| Step::Tell(id, has)),
        (1..5_u64).prop_map(Step::Close),
        has().prop_map(Step::Decide),
        (1..5_u64).prop_map(Step::Release),
    ]
}

proptest! {
    /// A holder that lives loses an IP only by letting go of it, and whoever gets it has a higher epoch.
    #[test]
    fn an_ip_changes_hands_only_when_nobody_uses_it(steps in prop::collection::vec(step(), 0..60)) {
        let mut rows = MemoryRows::default();
        let mut live = BTreeSet::new();
        for step in steps {
            let before = placements(&rows);
            let mut let_go = BTreeSet::new();
            match step {
                Step::Open(id, has) if !live.contains(&id) => {
                    live.insert(id);
                    open(&mut rows, id, &has);
                }
                Step::Tell(id, has) if live.contains(&id) => tell(&mut rows, SessionId(id), &has),
                Step::Close(id) => {
                    live.remove(&id);
                    close(&mut rows, id);
                }
                Step::Decide(ips) => {
                    let ips: BTreeSet<u8> = ips.into_iter().collect();
                    let wanted: Vec<Wanted> = ips.into_iter().map(ip).collect();
                    decide(&mut rows, &wanted);
                }
                Step::Release(id) => {
                    let leaving: BTreeMap<String, Placement> = before
                        .iter()
                        .filter(|(_, at)| at.session == SessionId(id) && at.moving_to.is_some())
                        .map(|(name, at)| (name.clone(), *at))
                        .collect();
                    for (name, placement) in leaving {
                        release(&mut rows, id, &name, placement.epoch);
                        let_go.insert(name);
                    }
                }
                Step::Open(..) | Step::Tell(..) => {}
            }
            for (name, now) in placements(&rows) {
                let was = before.get(&name).copied();
                let Some(was) = was.filter(|was| was.session != now.session) else {
                    continue;
                };
                prop_assert!(now.epoch > was.epoch);
                prop_assert!(let_go.contains(&name) || !live.contains(&was.session.0));
            }
        }
    }
}

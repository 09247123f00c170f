use std::collections::BTreeMap;

use super::*;
use crate::id::NodeId;
use crate::rows::MemoryRows;
use crate::time::UnixMs;

fn run(rows: &mut MemoryRows, command: Command) -> Response {
    apply(rows, UnixMs(1), &command)
}

fn join(node: u64, address: &str) -> Command {
    Command::Join(Join {
        node: NodeId(node),
        address: address.into(),
        version: "1".into(),
        spool_groups: 4,
    })
}

fn founded() -> MemoryRows {
    let mut rows = MemoryRows::default();
    let nodes = [(1, "a"), (2, "b"), (3, "c")];
    let found = |id| Command::Found {
        cluster: ClusterRow {
            id,
            spool_groups: 4,
        },
        nodes: nodes.map(|(id, at)| (NodeId(id), at.into())).to_vec(),
    };
    run(&mut rows, found(7));
    run(&mut rows, found(8));
    assert_eq!(cluster(&rows).map(|row| row.id), Some(7), "made once");
    rows
}

fn members(rows: &MemoryRows) -> Vec<(u64, String)> {
    let nodes = nodes(rows).into_iter();
    nodes.map(|(id, row)| (id.0, row.address)).collect()
}

#[test]
fn a_wiped_node_comes_back_as_a_new_one_and_its_old_id_never_does() {
    let mut rows = founded();
    assert_eq!(run(&mut rows, join(9, "c")), Response::Done);
    assert_eq!(
        members(&rows),
        [(1, "a".into()), (2, "b".into()), (9, "c".into())]
    );
    for address in ["c", "d"] {
        let refused = run(&mut rows, join(3, address));
        assert_eq!(refused, Response::Refused(Refusal::Removed));
    }
}

#[test]
fn a_member_may_move_and_a_stranger_needs_an_invitation() {
    let mut rows = founded();
    assert_eq!(run(&mut rows, join(3, "d")), Response::Done);
    assert_eq!(members(&rows)[2], (3, "d".into()));
    let stranger = join(4, "e");
    let refused = run(&mut rows, stranger.clone());
    assert_eq!(refused, Response::Refused(Refusal::NotInvited));
    run(&mut rows, Command::Invite("e".into()));
    assert_eq!(run(&mut rows, stranger.clone()), Response::Done);
    assert_eq!(run(&mut rows, stranger), Response::Done);
    let refused = run(&mut rows, join(5, "f"));
    assert_eq!(refused, Response::Refused(Refusal::NotInvited));
}

#[test]
fn a_stranger_is_who_was_neither_seen_nor_invited() {
    let mut rows = founded();
    run(&mut rows, Command::Invite("e".into()));
    run(&mut rows, Command::RemoveNode(NodeId(3)));
    for (node, address, spool_groups, expected) in [
        (4, "d", 4, true),
        // Members, also one that moves, and one that comes to a member's address with an empty disk.
        (1, "a", 4, false),
        (1, "d", 4, false),
        (4, "a", 4, false),
        // Invited; removed; of another number of groups, which the join itself is told.
        (4, "e", 4, false),
        (3, "c", 4, false),
        (3, "d", 4, false),
        (4, "d", 1, false),
    ] {
        let Command::Join(join) = join(node, address) else {
            unreachable!()
        };
        let join = Join {
            spool_groups,
            ..join
        };
        assert_eq!(is_stranger(&rows, &join), expected, "{join:?}");
    }
    let Command::Join(join) = join(4, "d") else {
        unreachable!()
    };
    assert!(!is_stranger(&MemoryRows::default(), &join), "no cluster");
}

#[test]
fn there_are_at_most_five_nodes_and_those_that_may_come() {
    let mut rows = founded();
    let invite = |rows: &mut MemoryRows, at: &str| run(rows, Command::Invite(at.into()));
    let full = Response::Refused(Refusal::Full);
    assert_eq!(invite(&mut rows, "a"), Response::Refused(Refusal::IsMember));
    for (at, expected) in [("d", Response::Done), ("e", Response::Done), ("f", full)] {
        assert_eq!(invite(&mut rows, at), expected, "{at}");
    }
    assert_eq!(invite(&mut rows, "d"), Response::Done, "again is no more");
    run(&mut rows, Command::Withdraw("d".into()));
    assert_eq!(invited(&rows), ["e".to_owned()].into());
    assert_eq!(invite(&mut rows, "f"), Response::Done);
}

#[test]
fn nodes_are_removed_but_for_the_last() {
    let mut rows = founded();
    for node in [1, 2] {
        let removed = run(&mut rows, Command::RemoveNode(NodeId(node)));
        assert_eq!(removed, Response::Done);
    }
    let last = run(&mut rows, Command::RemoveNode(NodeId(3)));
    assert_eq!(last, Response::Refused(Refusal::LastNode));
    let gone = run(&mut rows, Command::RemoveNode(NodeId(1)));
    assert_eq!(gone, Response::Refused(Refusal::NoNode));
}

/// Members by id: (votes, is ready).
type Have<'a> = &'a [(u64, bool, bool)];

fn step(wanted: &[u64], have: Have<'_>) -> Option<Step> {
    let row = |_| NodeRow {
        address: "x".into(),
        version: String::new(),
    };
    let wanted = wanted.iter().map(|id| (NodeId(*id), row(id))).collect();
    let member = |(id, is_voter, is_ready): &(u64, bool, bool)| {
        let member = Member {
            address: "x".into(),
            is_voter: *is_voter,
            is_ready: *is_ready,
        };
        (NodeId(*id), member)
    };
    next_step(&wanted, &have.iter().map(member).collect())
}

#[test]
fn members_change_step_by_step() {
    let voters = |ids: &[u64]| Some(Step::Voters(ids.iter().copied().map(NodeId).collect()));
    let cases: [(&[u64], Have<'_>, Option<Step>); 9] = [
        (
            &[1, 2, 3],
            &[(1, true, true), (2, true, false), (3, true, true)],
            None,
        ),
        // A lost node and the one in its place.
        (
            &[1, 2, 9],
            &[(1, true, true), (2, true, true), (3, true, false)],
            Some(Step::AddLearner(NodeId(9), "x".into())),
        ),
        (
            &[1, 2, 9],
            &[
                (1, true, true),
                (2, true, true),
                (3, true, false),
                (9, false, false),
            ],
            None,
        ),
        (
            &[1, 2, 9],
            &[
                (1, true, true),
                (2, true, true),
                (3, true, false),
                (9, false, true),
            ],
            voters(&[1, 2, 9]),
        ),
        (
            &[1, 2, 9],
            &[
                (1, true, true),
                (2, true, true),
                (3, false, false),
                (9, true, true),
            ],
            Some(Step::Remove(vec![NodeId(3)])),
        ),
        // Two come, one is ready.
        (
            &[1, 8, 9],
            &[
                (1, true, true),
                (2, true, true),
                (8, false, true),
                (9, false, false),
            ],
            voters(&[1, 2, 8]),
        ),
        // One goes.
        (
            &[1, 2],
            &[(1, true, true), (2, true, true), (3, true, true)],
            voters(&[1, 2]),
        ),
        // A learner that is not wanted any more.
        (
            &[1, 2],
            &[(1, true, true), (2, true, true), (9, false, false)],
            Some(Step::Remove(vec![NodeId(9)])),
        ),
        (&[7], &[(1, true, true), (7, false, false)], None),
    ];
    for (wanted, have, expected) in cases {
        assert_eq!(step(wanted, have), expected, "{wanted:?} {have:?}");
    }
}

#[test]
fn a_moved_member_is_followed_first() {
    let wanted = BTreeMap::from([(
        NodeId(1),
        NodeRow {
            address: "new".into(),
            version: String::new(),
        },
    )]);
    let have = BTreeMap::from([(
        NodeId(1),
        Member {
            address: "old".into(),
            is_voter: true,
            is_ready: true,
        },
    )]);
    let expected = Step::Move(BTreeMap::from([(NodeId(1), "new".into())]));
    assert_eq!(next_step(&wanted, &have), Some(expected));
}

#[test]
fn a_node_goes_if_the_others_go_on_without_it() {
    let quorum = |left, answering, needed| {
        Err(CannotRemove::Quorum {
            left,
            answering,
            needed,
        })
    };
    for (answers, node, expected) in [
        (&[true, true, true][..], 1, Ok(())),
        // The normal case: the dead one of three.
        (&[true, true, false], 3, Ok(())),
        (&[true, true, false], 1, quorum(2, 1, 2)),
        (&[true, true], 2, Ok(())),
        (&[true], 1, Err(CannotRemove::Last)),
        (&[true, true, true, false, false], 5, Ok(())),
        (&[true, true, true, false, false], 1, quorum(4, 2, 3)),
        (&[true, true, true, true, false], 1, Ok(())),
    ] {
        let nodes = (1..).map(NodeId).zip(answers.iter().copied()).collect();
        assert_eq!(may_remove(&nodes, NodeId(node)), expected, "{answers:?}");
    }
}

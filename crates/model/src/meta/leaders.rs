//! Which node should lead which group: as even as it can be, with as few moves as that takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{GroupId, NodeId, mix};

/// A group that another of its voters is to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub group: GroupId,
    pub to: NodeId,
}

/// The leaders, and the voters that could lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leading {
    pub leaders: BTreeMap<GroupId, NodeId>,
    /// Voters of each group that have its log and bodies and will be there for a while; no other may be given it.
    pub able: BTreeMap<GroupId, BTreeSet<NodeId>>,
    /// Nodes that are about to go: what they lead goes to others, even or not.
    pub leaving: BTreeSet<NodeId>,
}

impl Leading {
    fn loads(&self) -> BTreeMap<NodeId, usize> {
        let able = self.able.values().flatten();
        let mut loads: BTreeMap<NodeId, usize> = able.map(|node| (*node, 0)).collect();
        for leader in self.leaders.values() {
            *loads.entry(*leader).or_default() += 1;
        }
        loads
    }

    /// The one move that does most for an even spread; none if nothing would become more even.
    ///
    /// Everybody who sees the same decides the same. Of moves that do equally much, the one goes first whose group and
    /// node have the highest hash together, so that groups tend to come back to the node that they were on.
    pub fn next_move(&self) -> Option<Move> {
        let loads = self.loads();
        let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
        let mut best: Option<((bool, usize, u64), Move)> = None;
        for (group, leader) in &self.leaders {
            let must_go = self.leaving.contains(leader);
            let able = self.able.get(group).into_iter().flatten();
            for to in able.filter(|to| *to != leader && !self.leaving.contains(to)) {
                // What the leader would still have more than the other, if nothing moved.
                let gain = match must_go {
                    true => usize::MAX - load(to),
                    false => load(leader).saturating_sub(load(to)),
                };
                if gain < 2 {
                    continue;
                }
                let rank = (must_go, gain, mix(to.0 ^ (u64::from(group.0) << 48)));
                if best.as_ref().is_none_or(|(highest, _)| rank > *highest) {
                    let group = *group;
                    best = Some((rank, Move { group, to: *to }));
                }
            }
        }
        best.map(|(_, step)| step)
    }

    /// Whether some node leads at least two groups more than another that could lead one of them.
    pub fn is_even(&self) -> bool {
        self.next_move().is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leading(leaders: &[u64], able: &[&[u64]], leaving: &[u64]) -> Leading {
        let groups = (0..).map(GroupId);
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
        Leading {
            leaders: groups
                .clone()
                .zip(leaders.iter().copied().map(NodeId))
                .collect(),
            able: groups.zip(able.iter().map(|able| ids(able))).collect(),
            leaving: ids(leaving),
        }
    }

    /// Moves until nothing is to be moved; how often that was.
    fn move_all(mut leading: Leading) -> (Leading, usize) {
        for moves in 0.. {
            let Some(Move { group, to }) = leading.next_move() else {
                return (leading, moves);
            };
            leading.leaders.insert(group, to);
        }
        unreachable!("the range has no end")
    }

    fn spread(leading: &Leading) -> Vec<usize> {
        let mut loads: Vec<usize> = leading.loads().into_values().collect();
        loads.sort_unstable();
        loads
    }

    #[test]
    fn leaders_spread_with_as_few_moves_as_it_takes() {
        let all: &[u64] = &[1, 2, 3];
        let (first, last): (&[u64], &[u64]) = (&[1, 2], &[2, 3]);
        for (leaders, able, leaving, expected, moves) in [
            // A new cluster: the founder leads everything.
            (
                &[1, 1, 1, 1, 1][..],
                &[all; 5][..],
                &[][..],
                vec![1, 2, 2],
                3,
            ),
            (&[1, 2, 3, 1, 2], &[all; 5], &[], vec![1, 2, 2], 0),
            // One node was down and is back.
            (&[1, 1, 2, 2, 2], &[all; 5], &[], vec![1, 2, 2], 1),
            // One more or less is not worth a move.
            (&[1, 1, 2], &[first; 3], &[], vec![1, 2], 0),
            // Only who is able is given a group.
            (
                &[1, 1, 1, 1],
                &[&[1, 2], &[1], &[1], &[1]],
                &[],
                vec![1, 3],
                1,
            ),
            (&[1, 1, 1], &[&[1], &[1], &[1]], &[], vec![3], 0),
            // A removed node gives away what it leads, even to who has as much.
            (&[1, 2, 3], &[last; 3], &[1], vec![1, 2], 1),
            (&[1, 1], &[first; 2], &[1], vec![0, 2], 2),
            (&[1, 1], &[first; 2], &[1, 2], vec![0, 2], 0),
            (&[], &[], &[], vec![], 0),
        ] {
            let start = leading(leaders, able, leaving);
            let (end, took) = move_all(start.clone());
            assert_eq!((spread(&end), took), (expected, moves), "{start:?}");
            assert!(end.is_even());
        }
    }

    proptest! {
        #[test]
        fn any_start_settles_and_stays(
            leaders in prop::collection::vec(1u64..6, 0..8),
            able in prop::collection::vec(prop::collection::btree_set(1u64..6, 0..6), 8),
            leaving in prop::collection::btree_set(1u64..6, 0..3),
        ) {
            let able: Vec<Vec<u64>> = able.into_iter().map(|set| set.into_iter().collect()).collect();
            let able: Vec<&[u64]> = able.iter().map(Vec::as_slice).collect();
            let leaving: Vec<u64> = leaving.into_iter().collect();
            let start = leading(&leaders, &able, &leaving);
            let mut now = start.clone();
            let mut moves = 0;
            while let Some(Move { group, to }) = now.next_move() {
                prop_assert!(now.able[&group].contains(&to) && !now.leaving.contains(&to));
                now.leaders.insert(group, to);
                moves += 1;
                prop_assert!(moves <= 64, "each makes the sum of squares smaller");
            }
            prop_assert_eq!(now.next_move(), None);
        }

        #[test]
        fn where_everybody_is_able_nobody_leads_two_more_than_another(leaders in prop::collection::vec(1u64..6, 0..12)) {
            let all: Vec<&[u64]> = vec![&[1, 2, 3, 4, 5]; leaders.len()];
            let (end, _) = move_all(leading(&leaders, &all, &[]));
            let loads = spread(&end);
            prop_assert!(loads.last().unwrap_or(&0) - loads.first().unwrap_or(&0) <= 1, "{:?}", loads);
        }
    }
}

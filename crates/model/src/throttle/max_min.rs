//! The fair division of what is not enough for all.

use std::collections::BTreeMap;

use crate::id::SessionId;

/// Divides `total` by demand, max-min fair: no session gets more than it demands while another demands more than it gets, but
/// for one that cannot be divided.
///
/// Ones that are left over go to neighbours in a circle, and move on by one place with each `turn`: after as many turns
/// as there are sessions that want more, each has had them equally often, and a turn moves a single one. What no session
/// demands stays with those who had it `before`, since to move it costs time.
pub fn max_min(
    total: u64,
    demands: &BTreeMap<SessionId, u64>,
    before: &BTreeMap<SessionId, u64>,
    turn: u64,
) -> BTreeMap<SessionId, u64> {
    let mut by_demand: Vec<(u64, SessionId)> =
        demands.iter().map(|(id, demand)| (*demand, *id)).collect();
    by_demand.sort_unstable();
    let mut shares = BTreeMap::new();
    let mut left = total;
    let mut hungry: Vec<SessionId> = Vec::new();
    for (nth, (demand, id)) in by_demand.iter().enumerate() {
        let level = left / (by_demand.len() - nth) as u64;
        if *demand > level {
            hungry = by_demand[nth..].iter().map(|(_, id)| *id).collect();
            break;
        }
        shares.insert(*id, *demand);
        left -= demand;
    }
    if hungry.is_empty() {
        keep(&mut shares, before, left);
        return shares;
    }
    hungry.sort_unstable();
    let many = hungry.len() as u64;
    let (level, rest) = (left / many, left % many);
    for (place, id) in (0..).zip(hungry) {
        let from_turn = (place + many - turn % many) % many;
        shares.insert(id, level + u64::from(from_turn < rest));
    }
    shares
}

fn keep(shares: &mut BTreeMap<SessionId, u64>, before: &BTreeMap<SessionId, u64>, mut left: u64) {
    for (id, share) in shares {
        let had = before.get(id).copied().unwrap_or(0);
        let kept = had.saturating_sub(*share).min(left);
        *share += kept;
        left -= kept;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(numbers: &[u64]) -> BTreeMap<SessionId, u64> {
        (1..).map(SessionId).zip(numbers.iter().copied()).collect()
    }

    #[test]
    fn shares_go_by_demand() {
        for (total, demands, before, turn, expected) in [
            (10, &[][..], &[][..], 0, &[][..]),
            (0, &[5, 5], &[5, 5], 3, &[0, 0]),
            (10, &[2, 20, 20], &[], 0, &[2, 4, 4]),
            (10, &[4, 4], &[], 0, &[4, 4]),
            (10, &[4, 0], &[0, 9], 0, &[4, 6]),
            (10, &[9, 0], &[5, 5], 0, &[9, 1]),
            (10, &[9, 9], &[9, 1], 0, &[5, 5]),
            (2, &[1, 1, 1], &[], 0, &[1, 1, 0]),
            (2, &[1, 1, 1], &[1, 1, 0], 1, &[0, 1, 1]),
            (2, &[1, 1, 1], &[0, 1, 1], 2, &[1, 0, 1]),
            (7, &[9, 9, 1], &[], u64::MAX, &[3, 3, 1]),
            (
                u64::MAX,
                &[u64::MAX, u64::MAX],
                &[],
                1,
                &[u64::MAX / 2, u64::MAX / 2 + 1],
            ),
        ] {
            let shares = max_min(total, &map(demands), &map(before), turn);
            assert_eq!(
                shares,
                map(expected),
                "{total} for {demands:?} in turn {turn}"
            );
        }
    }

    proptest! {
        #[test]
        fn shares_are_max_min_fair_and_dividing_again_changes_nothing(
            total in 0u64..100,
            demands in prop::collection::vec(0u64..50, 0..9),
            before in prop::collection::vec(0u64..50, 0..9),
            turn: u64,
        ) {
            let demands = map(&demands);
            let shares = max_min(total, &demands, &map(&before), turn);
            prop_assert!(shares.values().sum::<u64>() <= total);
            prop_assert!(shares.keys().eq(demands.keys()));
            for (id, share) in &shares {
                if share < &demands[id] {
                    prop_assert!(shares.values().all(|other| *other <= share + 1));
                    prop_assert_eq!(shares.values().sum::<u64>(), total, "nothing is left while somebody wants it");
                }
            }
            prop_assert_eq!(max_min(total, &demands, &shares, turn), shares);
        }

        #[test]
        fn everybody_has_its_time(total in 0u64..20, sessions in 1usize..9, first in 0u64..1_000_000) {
            let demands = map(&vec![100; sessions]);
            let mut had = map(&vec![0; sessions]);
            let mut before = BTreeMap::new();
            for turn in first * sessions as u64..(first + 1) * sessions as u64 {
                let shares = max_min(total, &demands, &before, turn);
                let moved: u64 = shares.iter().map(|(id, share)| share.saturating_sub(*before.get(id).unwrap_or(share))).sum();
                prop_assert!(moved <= 1);
                for (id, share) in &shares {
                    *had.get_mut(id).expect("same sessions") += share;
                }
                before = shares;
            }
            prop_assert!(had.values().all(|sum| *sum == total));
        }
    }
}

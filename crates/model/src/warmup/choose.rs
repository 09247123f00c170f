//! Which source IP a task goes out from.
//!
//! Each turn belongs to one usable member, by weight. A member that has its turn and no budget gives it to the warm members of
//! its pool. Without any, to members that are warming up and have budget; else to the warm members of the overflow pool;
//! else the task waits. No budget is ever exceeded, however old the message is.

use std::net::IpAddr;

use crate::time::{DurationMs, UnixMs};

/// More than any pool has; what is beyond takes no part.
pub const MEMBERS_MAX: usize = 1024;
/// When it is not known when an IP may be used again, as after a quarantine.
const LOOK_AGAIN: DurationMs = DurationMs::from_secs(60);

/// What a member may still send to this provider now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is warm.
    Unlimited,
    /// It is warming up. 0 when the rest of the day's budget is not open yet.
    Of(u64),
    /// It sends nothing today.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub ip: IpAddr,
    /// 0 takes no part.
    pub weight: u32,
    pub left: Left,
    /// When more of a budget opens, if that is known.
    pub next_at: Option<UnixMs>,
    /// Whether its node lives and nothing else keeps it from being used.
    pub is_usable: bool,
}

impl Member {
    fn takes_part(&self) -> bool {
        self.is_usable && self.weight > 0
    }

    fn is_warm_and_takes_part(&self) -> bool {
        self.takes_part() && self.left == Left::Unlimited
    }

    fn has_budget(&self) -> bool {
        self.takes_part() && matches!(self.left, Left::Unlimited | Left::Of(1..))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// It was this member's turn.
    Turn,
    /// In place of a member that had no budget.
    Overflow,
    /// In place of the whole pool.
    OverflowPool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Send {
        ip: IpAddr,
        via: Via,
    },
    /// Nothing may carry it before then.
    Wait {
        until: UnixMs,
        /// The message is too old by then.
        is_to_expiry: bool,
    },
}

/// Chooses for one task at a time `now`. `turn` counts the tasks of the pool to this provider.
pub fn choose(
    members: &[Member],
    overflow: &[Member],
    turn: u64,
    now: UnixMs,
    expires: UnixMs,
) -> Choice {
    let send = |ip, via| Choice::Send { ip, via };
    let Some(first) = pick(members, turn, Member::takes_part) else {
        return wait(members, now, expires);
    };
    if first.has_budget() {
        return send(first.ip, Via::Turn);
    }
    if let Some(warm) = pick(members, turn, Member::is_warm_and_takes_part) {
        return send(warm.ip, Via::Overflow);
    }
    if let Some(other) = pick(members, turn, Member::has_budget) {
        return send(other.ip, Via::Overflow);
    }
    if let Some(warm) = pick(overflow, turn, Member::is_warm_and_takes_part) {
        return send(warm.ip, Via::OverflowPool);
    }
    wait(members, now, expires)
}

fn wait(members: &[Member], now: UnixMs, expires: UnixMs) -> Choice {
    let taking = members.iter().filter(|member| member.takes_part());
    let next = taking.filter_map(|member| member.next_at).min();
    let next = match next {
        // A time that has come would make the task come again at once, and again.
        Some(next) => next.max(now + DurationMs(1)),
        None => now + LOOK_AGAIN,
    };
    Choice::Wait {
        until: next.min(expires),
        is_to_expiry: next >= expires,
    }
}

/// The member whose turn it is among those that may have it, by weight.
///
/// This is a smooth weighted round robin that needs no state but the number of the turn. In a round of as many turns as
/// all weights together, a member of weight w has w turns, evenly placed: one in each w-th part of the round.
fn pick(members: &[Member], turn: u64, may: fn(&Member) -> bool) -> Option<&Member> {
    let members = members.iter().take(MEMBERS_MAX);
    let eligible: Vec<&Member> = members.filter(|member| may(member)).collect();
    let sum: u64 = eligible.iter().map(|one| u64::from(one.weight)).sum();
    let before = turn.checked_rem(sum)?;
    // What the rest comes to when all weights are equal, as they mostly are.
    if eligible.iter().all(|one| one.weight == eligible[0].weight) {
        return Some(eligible[(before % eligible.len() as u64) as usize]);
    }
    let turns_before = |n: usize, place| turns_before(n, eligible.len(), eligible[n].weight, place);
    let all_before = |place| -> u64 { (0..eligible.len()).map(|n| turns_before(n, place)).sum() };
    // The place of this turn: the first one up to which there are more turns than before it.
    let (mut low, mut high) = (0, ROUND);
    while low < high {
        let middle = low + (high - low) / 2;
        match all_before(middle + 1) > before {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    // Members that share a place have it in their order.
    let nth = before - all_before(low);
    let has_place = |n: &usize| turns_before(*n, low + 1) > turns_before(*n, low);
    let mut at_place = (0..eligible.len()).filter(has_place);
    at_place.nth(nth as usize).map(|n| eligible[n])
}

/// Places of a round: finer than the largest weight divides it.
const ROUND: u64 = 1 << 40;

/// How many turns of the n-th of some members lie before a place. Each has its own place within the parts of the round, so
/// that members of equal weight alternate.
fn turns_before(n: usize, members: usize, weight: u32, place: u64) -> u64 {
    let round = u128::from(ROUND);
    let part = 2 * members as u128;
    let passed = part * u128::from(weight) * u128::from(place);
    let turns = passed.saturating_sub((2 * n as u128 + 1) * round);
    turns.div_ceil(part * round).min(u128::from(weight)) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);
    const EXPIRES: UnixMs = UnixMs(9_000_000);

    fn ip(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn member(n: u8, weight: u32, left: Left) -> Member {
        Member {
            ip: ip(n),
            weight,
            left,
            next_at: None,
            is_usable: true,
        }
    }

    fn counts(members: &[Member], turns: u64) -> BTreeMap<IpAddr, u64> {
        let mut counts = BTreeMap::new();
        for turn in 0..turns {
            match choose(members, &[], turn, NOW, EXPIRES) {
                Choice::Send { ip, .. } => *counts.entry(ip).or_default() += 1,
                Choice::Wait { .. } => {}
            }
        }
        counts
    }

    #[test]
    fn a_share_without_budget_goes_to_warm_members() {
        let members = [
            member(1, 50, Left::Of(0)),
            member(2, 20, Left::Of(9)),
            member(3, 30, Left::Unlimited),
        ];
        let counts = counts(&members, 10_000);
        assert_eq!(
            counts,
            BTreeMap::from([(ip(2), 2_000), (ip(3), 8_000)]),
            "the member that is warming up gets no more than its own share"
        );
    }

    #[test]
    fn the_decision_names_what_happens() {
        let warm = member(1, 1, Left::Unlimited);
        let dry = member(2, 1, Left::Of(0));
        let warming = member(3, 1, Left::Of(5));
        let resting = member(4, 1, Left::None);
        let opens = |at| Member {
            next_at: Some(UnixMs(at)),
            ..dry
        };
        let down = Member {
            is_usable: false,
            ..warm
        };
        let none = Member { weight: 0, ..warm };
        let send = |n, via| Choice::Send { ip: ip(n), via };
        let wait = |until, is_to_expiry| Choice::Wait {
            until: UnixMs(until),
            is_to_expiry,
        };
        for (members, overflow, expected) in [
            (vec![warm], vec![], send(1, Via::Turn)),
            (vec![dry, warm], vec![], send(1, Via::Overflow)),
            (vec![dry, warming], vec![warm], send(3, Via::Overflow)),
            (
                vec![dry, resting],
                vec![dry, warm],
                send(1, Via::OverflowPool),
            ),
            (vec![dry], vec![warming, down, none], wait(1_060_000, false)),
            (
                vec![opens(2_000_000), opens(1_500_000)],
                vec![],
                wait(1_500_000, false),
            ),
            (vec![opens(5)], vec![], wait(1_000_001, false)),
            (vec![opens(9_000_000)], vec![], wait(9_000_000, true)),
            (vec![opens(u64::MAX)], vec![], wait(9_000_000, true)),
            // What keeps a member from being used is no matter of warm-up, so the overflow pool does not take over.
            (vec![down], vec![warm], wait(1_060_000, false)),
            (vec![down, none], vec![], wait(1_060_000, false)),
            (vec![], vec![warm], wait(1_060_000, false)),
        ] {
            let choice = choose(&members, &overflow, 0, NOW, EXPIRES);
            assert_eq!(choice, expected, "{members:?} {overflow:?}");
        }
    }

    #[test]
    fn turns_are_mixed_evenly() {
        let members = [5, 1, 1].map(|weight| member(weight as u8, weight, Left::Unlimited));
        let mut members = members;
        members[2].ip = ip(9);
        let mut run = 0;
        for turn in 0..70 {
            let Choice::Send { ip: chosen, .. } = choose(&members, &[], turn, NOW, EXPIRES) else {
                panic!("all are warm");
            };
            run = if chosen == ip(5) { run + 1 } else { 0 };
            assert!(run <= 4, "turn {turn}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn weights_are_met_within_two_percent(
            weights in prop::collection::vec(1u32..=100, 1..20),
            from in 0u64..u64::MAX / 2,
        ) {
            let members: Vec<Member> = (0u8..)
                .zip(&weights)
                .map(|(n, weight)| member(n, *weight, Left::Unlimited))
                .collect();
            let sum: u32 = weights.iter().sum();
            let mut counts = vec![0u64; members.len()];
            for turn in from..from + 10_000 {
                let choice = choose(&members, &[], turn, NOW, EXPIRES);
                let n = members.iter().position(|one| {
                    choice == Choice::Send { ip: one.ip, via: Via::Turn }
                });
                counts[n.expect("all are warm")] += 1;
            }
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = 10_000 * u64::from(*weight) / u64::from(sum);
                let differs = count.abs_diff(fair);
                // Of a small share, 2 % is less than one turn.
                prop_assert!(differs <= (fair / 50).max(2), "{count} {fair} {weights:?}");
            }
        }

        #[test]
        fn any_weights_and_any_turn_are_taken(
            weights in prop::collection::vec(any::<u32>(), 0..5),
            turn: u64,
        ) {
            let members: Vec<Member> =
                weights.iter().map(|weight| member(1, *weight, Left::Unlimited)).collect();
            let is_sent = matches!(choose(&members, &[], turn, NOW, EXPIRES), Choice::Send { .. });
            prop_assert_eq!(is_sent, weights.iter().any(|weight| *weight > 0));
        }
    }
}

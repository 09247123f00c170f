use proptest::prelude::*;

use super::*;
use crate::time::{DurationMs, UnixMs};

const DAY: DurationMs = DurationMs::from_secs(86_400);
const START: UnixMs = UnixMs(1_700_000_000_000);

fn days(count: u64) -> DurationMs {
    DurationMs(DAY.0 * count)
}

fn mailbox_full() -> Rule {
    Rule {
        times: 5,
        within: days(14),
        lasting: Some(days(30)),
    }
}

fn invalid_domain() -> Rule {
    Rule {
        times: 2,
        within: days(1),
        lasting: None,
    }
}

/// What bounces on these days lead to: how many count, or that the recipient is suppressed.
fn check(rule: &Rule, on_days: &[u64], expected: &[Option<u8>]) {
    let mut counts = BounceCounts::default();
    let found = on_days.iter().enumerate().map(|(nth, day)| {
        let outcome = counts.record(Counted::MailboxFull, rule, START + days(*day));
        match outcome {
            Outcome::Counted(count) => Some(count),
            Outcome::Suppress { expires } => {
                let latest = on_days[..=nth].iter().max();
                let latest = latest.map_or(START, |day| START + days(*day));
                assert_eq!(expires, rule.lasting.map(|lasting| latest + lasting));
                None
            }
        }
    });
    assert_eq!(found.collect::<Vec<_>>(), expected, "{on_days:?}");
}

#[test]
fn as_many_bounces_as_the_rule_says_within_its_time_suppress() {
    let (one, two, three, four) = (Some(1), Some(2), Some(3), Some(4));
    let full = mailbox_full();
    check(&full, &[0, 1, 2, 3, 4], &[one, two, three, four, None]);
    check(&full, &[0, 3, 6, 9, 13], &[one, two, three, four, None]);
    check(&full, &[0, 3, 6, 9, 14], &[one, two, three, four, four]);
    // They are forgotten then, and what follows begins anew.
    check(
        &full,
        &[0, 0, 0, 0, 0, 1],
        &[one, two, three, four, None, one],
    );
    check(&invalid_domain(), &[0, 1], &[one, one]);
    check(&invalid_domain(), &[0, 0], &[one, None]);
    for times in [0, 1] {
        let at_once = Rule { times, ..full };
        check(&at_once, &[0], &[None]);
    }
    // A clock that was set back.
    check(&full, &[9, 1, 1, 1, 1], &[one, two, three, four, None]);
}

#[test]
fn a_delivery_forgets_that_a_mailbox_was_full_and_nothing_else() {
    let mut counts = BounceCounts::default();
    let other = Rule {
        times: 3,
        within: days(30),
        lasting: None,
    };
    for class in Counted::ALL {
        assert_eq!(counts.record(class, &other, START), Outcome::Counted(1));
    }
    counts.delivered();
    for (class, count) in Counted::ALL.into_iter().zip([1, 2, 2]) {
        assert_eq!(counts.record(class, &other, START), Outcome::Counted(count));
    }
    assert!(!counts.is_empty());
    for class in Counted::ALL {
        counts.forget(class, &other, START + days(30));
    }
    assert!(counts.is_empty());
}

proptest! {
    /// A bounce suppresses if and only if the rule's number came within its time since the last suppression.
    #[test]
    fn counts_are_as_the_rule_says_and_bounded(
        steps in prop::collection::vec(0_u64..40, 1..80),
        times in 0_u8..30,
        within in 1_u64..200,
    ) {
        let rule = Rule { times, within: DurationMs(within), lasting: Some(DAY) };
        let enough = usize::from(times).clamp(1, TIMES_MAX);
        let (mut counts, mut at, mut all) = (BounceCounts::default(), START, Vec::new());
        for step in steps {
            at = at + DurationMs(step);
            all.push(at);
            all.retain(|earlier: &UnixMs| at.since(*earlier) < rule.within);
            let expected = match all.len() >= enough {
                true => Outcome::Suppress { expires: Some(at + DAY) },
                false => Outcome::Counted(all.len() as u8),
            };
            prop_assert_eq!(counts.record(Counted::Policy, &rule, at), expected);
            if all.len() >= enough {
                all.clear();
            }
            prop_assert!(crate::codec::encode(&counts).len() <= 4 + 9 * TIMES_MAX);
        }
    }
}

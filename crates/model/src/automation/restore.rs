//! What of a backup is in force in the cluster that it is restored into: what operators hold back, and what rules did.
//!
//! A backup is older than the cluster, or comes from one whose clock was another: what ended meanwhile is left out, and
//! what began later than now begins now. A backup may be restored again: what is in force already stays if it ends later.

use super::active_action::{self, ActiveAction, FORCES_MAX, Phase};
use super::apply::{of_hand, of_rule};
use super::command::{Event, What};
use super::commit::note;
use super::rule::{LASTS_MAX as RULE_LASTS_MAX, RuleAt};
use super::suspension::{self, Hold, LASTS_MAX, SUSPENSIONS_MAX, Selector, Suspension};
use crate::codec;
use crate::rows::{Rows, load};
use crate::time::UnixMs;
use crate::warmup::Order;

/// The rule in force whose row this is; nothing if it cannot be read.
pub(crate) fn read_force(key: &[u8], value: &[u8]) -> Option<(RuleAt, ActiveAction)> {
    let at = codec::decode(key.get(1..)?).ok()?;
    Some((at, codec::decode(value).ok()?))
}

/// The suspension whose row this is; nothing if it cannot be read.
pub(crate) fn read_suspension(key: &[u8], value: &[u8]) -> Option<Suspension> {
    let selector: Selector = codec::decode(key.get(1..)?).ok()?;
    let hold: Hold = codec::decode(value).ok()?;
    Some(Suspension::new(selector, hold))
}

/// Puts in force what was in force elsewhere.
pub(crate) fn restore<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    active_actions: &[(RuleAt, ActiveAction)],
    suspensions: &[Suspension],
) {
    let held = suspensions
        .iter()
        .filter_map(|one| hold(rows, now, one))
        .collect::<Vec<_>>();
    let forced = active_actions
        .iter()
        .filter_map(|(at, force)| enforce(rows, now, at, force))
        .collect::<Vec<_>>();
    note(rows, held.into_iter().chain(forced).collect());
}

fn hold<R: Rows>(rows: &mut R, now: UnixMs, one: &Suspension) -> Option<Event> {
    let selector = one.selector.normalised();
    if !selector.is_valid() {
        return None;
    }
    let all = suspension::all(rows);
    let known = all.iter().find(|known| known.selector == selector);
    let until = one.until.min(now + LASTS_MAX);
    let ends_first = known.is_some_and(|known| known.until >= until);
    if until <= now || ends_first || (known.is_none() && all.len() >= SUSPENSIONS_MAX) {
        return None;
    }
    let Order { who, why } = Order {
        who: one.who.clone(),
        why: one.why.clone(),
    }
    .bounded();
    let restored = Suspension {
        selector,
        who,
        why,
        from: one.from.min(now),
        until,
        gives_up: one.gives_up,
    };
    suspension::set(rows, &restored);
    let what = match known {
        Some(_) => What::Moved,
        None => What::Began,
    };
    Some(of_hand(now, what, &restored))
}

fn enforce<R: Rows>(rows: &mut R, now: UnixMs, at: &RuleAt, force: &ActiveAction) -> Option<Event> {
    let force = force.bounded();
    let restored = ActiveAction {
        from: force.from.min(now),
        until: force.until.min(now + RULE_LASTS_MAX),
        ..force.clone()
    };
    if !at.is_valid() || !force.is_valid(at.scope.kind()) || restored.phase(now) == Phase::Over {
        return None;
    }
    let known: Option<ActiveAction> = load(rows, &active_action::force_key(at));
    let ends_first = known
        .as_ref()
        .is_some_and(|known| known.until >= restored.until);
    if ends_first || (known.is_none() && active_action::all(rows).len() >= FORCES_MAX) {
        return None;
    }
    active_action::set(rows, at, &restored);
    let what = match known {
        Some(_) => What::Moved,
        None => What::Began,
    };
    Some(of_rule(now, what, at, &restored))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{START, order, reply, rule};
    use super::super::{
        Action, Command, Match, MatchCount, Refusal, Rules, actions_version, active_actions,
        commit, suspensions,
    };
    use super::*;
    use crate::rows::MemoryRows;
    use crate::time::DurationMs;

    const HOUR: u64 = 3_600_000;

    /// A cluster with a campaign that is held back, another that is given up, and a rule in force.
    fn lost() -> MemoryRows {
        let mut rows = MemoryRows::default();
        for (campaign, gives_up) in [("big", false), ("wrong", true)] {
            let suspend = Command::Suspend {
                selector: of_campaign(campaign),
                lasts: DurationMs(HOUR),
                order: order(),
                gives_up,
            };
            commit(&mut rows, UnixMs(START), &suspend);
        }
        let rules = Rules::from([("yahoo".to_owned(), vec![rule(1, Action::Suspend)])]);
        super::super::set_rules(&mut rows, &rules);
        let matched: Match = reply(0);
        let told = Command::MatchCount(vec![MatchCount { matched, count: 5 }]);
        commit(&mut rows, UnixMs(START), &told);
        assert_eq!(active_actions(&rows).iter().count(), 1);
        rows
    }

    fn of_campaign(name: &str) -> Selector {
        Selector {
            campaign: Some(name.to_owned()),
            ..Selector::default()
        }
    }

    fn read(rows: &MemoryRows) -> (Vec<(RuleAt, ActiveAction)>, Vec<Suspension>) {
        let of = |tag: u8| {
            rows.0
                .iter()
                .filter(move |(key, _)| key.first() == Some(&tag))
        };
        let active_actions = of(b'X').filter_map(|(key, value)| read_force(key, value));
        let held = of(b'H').filter_map(|(key, value)| read_suspension(key, value));
        (active_actions.collect(), held.collect())
    }

    #[test]
    fn what_was_in_force_is_in_force_again_and_a_second_time_changes_nothing() {
        let before = lost();
        let (forces_before, held) = read(&before);
        assert_eq!((forces_before.len(), held.len()), (1, 2));
        let mut rows = MemoryRows::default();
        restore(&mut rows, UnixMs(START + 1), &forces_before, &held);
        assert_eq!(active_actions(&rows), active_actions(&before));
        assert_eq!(suspensions(&rows), suspensions(&before));
        assert_eq!(actions_version(&rows), 1, "senders hear of it");
        let once = rows.clone();
        restore(&mut rows, UnixMs(START + 2), &forces_before, &held);
        assert_eq!(rows, once);
    }

    #[test]
    fn what_has_ended_or_cannot_be_is_left_out() {
        let (forces_before, held) = read(&lost());
        for (at, count) in [(START + 1, 3), (START + 3 * 24 * HOUR, 0)] {
            let mut rows = MemoryRows::default();
            restore(&mut rows, UnixMs(at), &forces_before, &held);
            assert_eq!(
                super::super::in_force(&rows, UnixMs(at)).len(),
                count,
                "at {at}"
            );
        }
        let mut held = held[0].clone();
        held.selector.tenant = Some("t".repeat(256));
        let mut bad = forces_before.clone();
        bad[0].0.provider.clear();
        bad.push(forces_before[0].clone());
        bad[1].1.action = Action::Connections(0);
        let mut rows = MemoryRows::default();
        restore(&mut rows, UnixMs(START), &bad, &[held]);
        assert_eq!(rows, MemoryRows::default());
    }

    #[test]
    fn a_clock_that_was_another_holds_mail_back_from_now_on_and_for_as_long_as_may_be() {
        let (forces_before, held) = read(&lost());
        let now = UnixMs(START - 40 * 24 * HOUR);
        let mut rows = MemoryRows::default();
        restore(&mut rows, now, &forces_before, &held);
        let in_force = super::super::in_force(&rows, now);
        assert_eq!(in_force.len(), 3);
        for one in in_force {
            assert!(one.from <= now && one.until <= now + LASTS_MAX, "{one:?}");
        }
    }

    #[test]
    fn rows_that_are_none_are_passed_over() {
        for (key, value) in [
            (&b""[..], &b""[..]),
            (b"X", b"x"),
            (b"H\xff", b"\xff"),
            (b"H\x80", b""),
        ] {
            assert_eq!(read_force(key, value), None);
            assert_eq!(read_suspension(key, value), None);
        }
    }

    #[test]
    fn everything_is_held_back_and_let_go_by_itself() {
        let mut rows = MemoryRows::default();
        let everything = Selector::default();
        let suspend = Command::Suspend {
            selector: everything.clone(),
            lasts: LASTS_MAX,
            order: order(),
            gives_up: false,
        };
        commit(&mut rows, UnixMs(START), &suspend);
        let resume = |selector| Command::Resume {
            selector,
            order: order(),
        };
        let of_one = commit(&mut rows, UnixMs(START), &resume(of_campaign("big")));
        assert_eq!(
            of_one,
            super::super::Response::Refused(Refusal::NotSuspended)
        );
        let task = super::super::TaskFacts::default();
        assert!(suspensions(&rows).is_held(&task, UnixMs(START)).is_some());
        commit(&mut rows, UnixMs(START), &resume(everything));
        assert!(suspensions(&rows).is_empty());
    }
}

//! How commands, and time, change the rows.

use std::collections::BTreeMap;

use super::active_action::{self, ActiveAction, FORCES_MAX, Phase, force_key};
use super::command::{
    Command, Event, MATCH_COUNTS_MAX, Match, MatchCount, Outcome, Refusal, Response, Subject, What,
};
use super::count;
use super::rule::{Rule, RuleAt, THRESHOLD_MAX};
use super::suspension::{self, LASTS_MAX, SUSPENSIONS_MAX, Selector, Suspension};
use crate::rows::{Rows, load};
use crate::time::{DurationMs, UnixMs};
use crate::warmup::Order;

/// The rules of each provider, in their order.
pub type Rules = BTreeMap<String, Vec<Rule>>;

/// Applies one command at the group's time, with the rules of the group's configuration.
pub fn apply<R: Rows>(rows: &mut R, now: UnixMs, rules: &Rules, command: &Command) -> Outcome {
    let mut events = pass(rows, now);
    let result = match command {
        Command::Tick => Ok(()),
        Command::Matches(matches) => {
            for one in matches {
                heard_times(rows, now, rules, one, 1, &mut events);
            }
            Ok(())
        }
        Command::MatchCount(told) => {
            for MatchCount { matched, count } in told.iter().take(MATCH_COUNTS_MAX) {
                heard_times(rows, now, rules, matched, *count, &mut events);
            }
            Ok(())
        }
        // The log's own.
        Command::Taken(_) => Ok(()),
        Command::Lift { at, order } => lift(rows, now, at, order).map(|event| events.push(event)),
        Command::Suspend {
            selector,
            lasts,
            order,
            gives_up,
        } => suspend(rows, now, selector, *lasts, order, *gives_up).map(|event| events.push(event)),
        Command::Resume { selector, order } => {
            resume(rows, now, selector, order).map(|event| events.push(event))
        }
    };
    let response = match result {
        Ok(()) => Response::Done,
        Err(refusal) => Response::Refused(refusal),
    };
    Outcome { response, events }
}

pub(super) fn of_rule(now: UnixMs, what: What, at: &RuleAt, force: &ActiveAction) -> Event {
    Event {
        at: now,
        what,
        subject: Subject::Rule {
            at: at.clone(),
            action: force.action,
        },
        why: force.why.clone(),
        who: None,
        from: force.from,
        until: force.until,
    }
}

pub(super) fn of_hand(now: UnixMs, what: What, one: &Suspension) -> Event {
    Event {
        at: now,
        what,
        subject: one.subject(),
        why: one.why.clone(),
        who: Some(one.who.clone()),
        from: one.from,
        until: one.until,
    }
}

/// What changes by itself.
fn pass<R: Rows>(rows: &mut R, now: UnixMs) -> Vec<Event> {
    let mut events = Vec::new();
    count::forget_old(rows, now);
    for (at, mut force) in active_action::all(rows) {
        match force.phase(now) {
            Phase::Over => {
                rows.delete(force_key(&at));
                events.push(of_rule(now, What::Ended, &at, &force));
            }
            // Of steps that passed meanwhile, the latest tells all.
            Phase::Climbing(step) if step > force.told => {
                force.told = step;
                active_action::set(rows, &at, &force);
                events.push(of_rule(now, What::Climbs(step), &at, &force));
            }
            Phase::InForce | Phase::Climbing(_) => {}
        }
    }
    for one in suspension::all(rows) {
        if one.until <= now {
            suspension::delete(rows, &one.selector);
            events.push(of_hand(now, What::Ended, &one));
        }
    }
    events
}

fn heard_times<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    rules: &Rules,
    one: &Match,
    count: u32,
    events: &mut Vec<Event>,
) {
    let rule = rules.get(&one.provider);
    let rule = rule.and_then(|rules| rules.get(usize::from(one.rule)));
    let Some(rule) = rule.filter(|rule| rule.check().is_ok()) else {
        return;
    };
    // What comes beyond a threshold at the same moment changes nothing.
    for _ in 0..count.min(THRESHOLD_MAX) {
        let before = events.len();
        heard(rows, now, rule, one, events);
        if events.len() > before {
            return;
        }
    }
}

fn heard<R: Rows>(rows: &mut R, now: UnixMs, rule: &Rule, one: &Match, events: &mut Vec<Event>) {
    let Some(at) = one.at(rule) else { return };
    let known: Option<ActiveAction> = load(rows, &force_key(&at));
    if let Some(mut force) = known
        && force.phase(now) == Phase::InForce
    {
        if force.extend(now) {
            active_action::set(rows, &at, &force);
            events.push(of_rule(now, What::Moved, &at, &force));
        }
        return;
    }
    if !count::add(rows, now, &at, rule) {
        return;
    }
    events.extend(make_room(rows, now, &at));
    let force = ActiveAction::new(rule, now, &one.reply);
    active_action::set(rows, &at, &force);
    events.push(of_rule(now, What::Began, &at, &force));
}

fn make_room<R: Rows>(rows: &mut R, now: UnixMs, at: &RuleAt) -> Option<Event> {
    let all = active_action::all(rows);
    if all.len() < FORCES_MAX || all.contains_key(at) {
        return None;
    }
    let (first, force) = all.iter().min_by_key(|(_, force)| force.until)?;
    rows.delete(force_key(first));
    Some(of_rule(now, What::GaveWay, first, force))
}

fn lift<R: Rows>(rows: &mut R, now: UnixMs, at: &RuleAt, order: &Order) -> Result<Event, Refusal> {
    let force: ActiveAction = load(rows, &force_key(at)).ok_or(Refusal::NotInForce)?;
    rows.delete(force_key(at));
    let Order { who, why } = order.bounded();
    Ok(Event {
        who: Some(who),
        why,
        ..of_rule(now, What::Lifted, at, &force)
    })
}

fn suspend<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    selector: &Selector,
    lasts: DurationMs,
    order: &Order,
    gives_up: bool,
) -> Result<Event, Refusal> {
    if !selector.is_valid() {
        return Err(Refusal::BadSelector);
    }
    if !(DurationMs(1)..=LASTS_MAX).contains(&lasts) {
        return Err(Refusal::BadDuration);
    }
    let selector = selector.normalised();
    let before = suspension::all(rows);
    let known = before.iter().find(|one| one.selector == selector);
    if known.is_none() && before.len() >= SUSPENSIONS_MAX {
        return Err(Refusal::TooMany);
    }
    let Order { who, why } = order.bounded();
    let suspension = Suspension {
        selector,
        who,
        why,
        from: known.map_or(now, |known| known.from),
        until: now + lasts,
        gives_up,
    };
    suspension::set(rows, &suspension);
    let what = match known {
        Some(_) => What::Moved,
        None => What::Began,
    };
    Ok(of_hand(now, what, &suspension))
}

fn resume<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    selector: &Selector,
    order: &Order,
) -> Result<Event, Refusal> {
    let selector = selector.normalised();
    let mut all = suspension::all(rows).into_iter();
    let known = all.find(|one| one.selector == selector);
    let known = known.ok_or(Refusal::NotSuspended)?;
    suspension::delete(rows, &selector);
    let Order { who, why } = order.bounded();
    Ok(Event {
        who: Some(who),
        why,
        ..of_hand(now, What::Lifted, &known)
    })
}

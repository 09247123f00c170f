//! How commands change domains.

use super::command::{Command, NewDomain, NewKey, Refusal, Response, Rewrapped, Seen};
use super::event::{DomainEvent, DomainEventKind, events};
use super::row::{Change, DomainRow, KeyRow, What};
use super::{
    CHANGES_TOLD_MAX, COUNT, DOMAINS_MAX, OPERATORS_MAX, VERSION, change_key, count, domain,
    due_key, operator_key, operators, row_key, signing_version,
};
use crate::meta::event_log::{self, Fact};
use crate::rotation::{Action, Alert, KeyId, Schedule, SlotState, step};
use crate::rows::{Rows, put_row};
use crate::time::{DurationMs, UnixMs};

/// Those who add a domain publish its records at once, and wait for an answer.
const FIRST_CHECK: DurationMs = DurationMs::from_secs(10);
/// Later checks of a domain that something is still to happen to, each after the one before.
const CHECKS: [DurationMs; 4] = [
    DurationMs::from_secs(60),
    DurationMs::from_secs(300),
    DurationMs::from_secs(900),
    DurationMs::from_secs(3600),
];
/// So many checks, the last ones an hour apart, and nothing has changed for a day: nobody waits for the next.
const CHECKS_MAX: u32 = 28;
/// Of domains of which all is as it should be, or nothing happens to.
const STEADY: DurationMs = DurationMs::from_secs(6 * 3600);
/// While an active key is gone: mail waits after an hour, and goes on as soon as the key is seen again.
const URGENT: DurationMs = DurationMs::from_secs(600);
/// No check comes sooner after another.
const CHECK_MIN: DurationMs = DurationMs::from_secs(1);

/// When a domain that was added, or has a new key, is looked at.
pub fn first_check(now: UnixMs) -> UnixMs {
    now + FIRST_CHECK
}

pub fn apply<R: Rows>(rows: &mut R, now: UnixMs, command: &Command) -> Response {
    let result = match command {
        Command::Add {
            name,
            new,
            schedule,
            by,
        } => add(rows, now, name, new, *schedule, by),
        Command::Remove { name, by } => remove(rows, now, name, by),
        Command::InstallKey {
            name,
            selector,
            key,
        } => change(rows, now, name, |row| install(row, now, selector, key)),
        Command::Observe { name, seen } => {
            change(rows, now, name, |row| Ok(observe(row, now, seen)))
        }
        Command::Rotate {
            name,
            is_compromised,
            by,
        } => change(rows, now, name, |row| rotate(row, now, *is_compromised, by)),
        Command::Rewrap { name, keys, by } => {
            change(rows, now, name, |row| Ok(rewrap(row, now, keys, by)))
        }
    };
    match result {
        Ok(changes) => Response::Done(changes),
        Err(refusal) => Response::Refused(refusal),
    }
}

fn add<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    name: &str,
    new: &NewDomain,
    schedule: Schedule,
    by: &str,
) -> Result<Vec<Change>, Refusal> {
    if let Some(row) = domain(rows, name) {
        return Err(Refusal::Exists(row.tenant));
    }
    if count(rows) >= DOMAINS_MAX {
        return Err(Refusal::TooMany);
    }
    if new.is_operator && operators(rows).len() >= OPERATORS_MAX {
        return Err(Refusal::TooManyOperators);
    }
    let mut row = DomainRow::new(new, schedule, now);
    row.next_check = first_check(now);
    let changes: Vec<Change> = row.note(now, What::Added, "", by).into_iter().collect();
    insert(rows, name, &row);
    log(rows, now, events(name, &row, &row, &changes));
    Ok(changes)
}

fn remove<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    name: &str,
    by: &str,
) -> Result<Vec<Change>, Refusal> {
    let row = domain(rows, name).ok_or(Refusal::NoDomain)?;
    rows.delete(row_key(name));
    rows.delete(due_key(row.next_check, name));
    rows.delete(operator_key(name));
    let left = count(rows).saturating_sub(1);
    put_row(rows, COUNT.to_vec(), &left);
    tell(rows, name, row.is_operator);
    let event = DomainEvent {
        name: name.to_owned(),
        tenant: row.tenant,
        what: DomainEventKind::Removed,
        selector: String::new(),
        who: by.to_owned(),
        findings: Vec::new(),
    };
    log(rows, now, vec![event]);
    Ok(Vec::new())
}

fn log<R: Rows>(rows: &mut R, now: UnixMs, events: Vec<DomainEvent>) {
    for event in events {
        event_log::note(rows, now, Fact::Domain(event));
    }
}

/// Puts a row for a domain that has none.
fn insert<R: Rows>(rows: &mut R, name: &str, row: &DomainRow) {
    put_row(rows, row_key(name), row);
    rows.put(due_key(row.next_check, name), Vec::new());
    if row.is_operator {
        rows.put(operator_key(name), Vec::new());
    }
    let count = count(rows).saturating_add(1);
    put_row(rows, COUNT.to_vec(), &count);
    tell(rows, name, row.is_operator);
}

fn change<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    name: &str,
    change: impl FnOnce(&mut DomainRow) -> Result<Vec<Change>, Refusal>,
) -> Result<Vec<Change>, Refusal> {
    let before = domain(rows, name).ok_or(Refusal::NoDomain)?;
    let mut row = before.clone();
    let changes = change(&mut row)?;
    row.forget_keys();
    if row == before {
        return Ok(changes);
    }
    log(rows, now, events(name, &before, &row, &changes));
    put_row(rows, row_key(name), &row);
    if row.next_check != before.next_check {
        rows.delete(due_key(before.next_check, name));
        rows.put(due_key(row.next_check, name), Vec::new());
    }
    let is_rewrapped = changes.iter().any(|change| change.what == What::Rewrapped);
    if is_rewrapped || row.signed_with() != before.signed_with() {
        tell(rows, name, row.is_operator);
    }
    Ok(changes)
}

/// Counts a change of what mail is signed with.
fn tell<R: Rows>(rows: &mut R, name: &str, is_operator: bool) {
    let version = signing_version(rows).saturating_add(1);
    put_row(rows, VERSION.to_vec(), &version);
    put_row(rows, change_key(version), &(name.to_owned(), is_operator));
    if let Some(old) = version.checked_sub(CHANGES_TOLD_MAX) {
        rows.delete(change_key(old));
    }
}

fn install(
    row: &mut DomainRow,
    now: UnixMs,
    selector: &str,
    key: &NewKey,
) -> Result<Vec<Change>, Refusal> {
    let id = KeyId(row.last_key.0.saturating_add(1));
    let wanted = row.wanted_keys(now);
    let is_wanted =
        |(algorithm, wanted): &(_, String)| *algorithm == key.algorithm && wanted == selector;
    if !wanted.iter().any(is_wanted) {
        return Err(Refusal::NoSlot);
    }
    for set in &mut row.sets {
        if set.algorithm == key.algorithm {
            (set.slots, _) = set.slots.clone().install(selector, id, now);
        }
    }
    row.last_key = id;
    row.keys.push(KeyRow {
        id,
        algorithm: key.algorithm,
        record: key.record.clone(),
        wrapped: key.wrapped.clone(),
        made_at: now,
    });
    row.checks = 0;
    row.next_check = row.next_check.min(first_check(now));
    Ok(row
        .note(now, What::Made, selector, "")
        .into_iter()
        .collect())
}

fn observe(row: &mut DomainRow, now: UnixMs, seen: &Seen) -> Vec<Change> {
    if seen.label != row.label {
        return Vec::new();
    }
    let mut noted: Vec<(What, String)> = Vec::new();
    if seen.is_owned && row.verified_at.is_none() {
        row.verified_at = Some(now);
        noted.push((What::Verified, String::new()));
    }
    for set in &mut row.sets {
        let slots = set.slots.clone().with_schedule(seen.schedule);
        let (next, actions) = step(&slots, &seen.observation, now);
        set.slots = next;
        noted.extend(actions.into_iter().filter_map(what));
    }
    if seen.findings != row.findings {
        noted.push((What::Findings, String::new()));
        row.findings.clone_from(&seen.findings);
    }
    row.checked_at = Some(now);
    let noted = noted.into_iter();
    let changes: Vec<Change> = noted
        .filter_map(|(what, selector)| row.note(now, what, &selector, ""))
        .collect();
    row.checks = match changes.is_empty() {
        true => row.checks.saturating_add(1),
        false => 0,
    };
    row.next_check = next_check(row, now, seen.jitter);
    changes
}

/// What an action of the rotation is in a domain's history; none of keys to be made and records to be published, which say so when
/// it is done.
fn what(action: Action) -> Option<(What, String)> {
    Some(match action {
        Action::Generate { .. } | Action::Publish { .. } => return None,
        Action::Activate { selector, .. } => (What::Activated, selector),
        Action::Retire { selector, .. } => (What::Retired, selector),
        Action::Revoke { selector, .. } => (What::Revoked, selector),
        Action::Remove { selector } => (What::Removed, selector),
        Action::Alert {
            selector, alert, ..
        } => match alert {
            Alert::Gone => (What::Gone, selector),
            Alert::Waiting => (What::Waiting, selector),
            Alert::Unchecked => (What::Unchecked, selector),
            Alert::RemovedEarly => (What::RemovedEarly, selector),
        },
    })
}

/// When a domain that was checked just now is checked again: often while something is about to change, and at the moment from
/// which a key that was seen may be signed with.
fn next_check(row: &DomainRow, now: UnixMs, jitter: u8) -> UnixMs {
    let states: Vec<SlotState> = row.slots().map(|(_, slot)| slot.state).collect();
    let is_gone = |state: &SlotState| matches!(state, SlotState::Active(active) if active.gone_since.is_some());
    let is_moving =
        |state: &SlotState| matches!(state, SlotState::Published { .. } | SlotState::Seen { .. });
    let nth = usize::try_from(row.checks).unwrap_or(usize::MAX);
    let step = match row.checks < CHECKS_MAX {
        true => CHECKS[nth.min(CHECKS.len() - 1)],
        false => STEADY,
    };
    let wait = match (states.iter().any(is_gone), states.iter().any(is_moving)) {
        (true, _) => URGENT.min(step),
        (false, true) => step,
        (false, false) if row.verified_at.is_none() || !row.findings.is_empty() => step,
        (false, false) => STEADY,
    };
    let jittered = DurationMs(wait.0.saturating_add(wait.0 / 1000 * u64::from(jitter)));
    let settled = row.sets.iter().flat_map(|set| {
        let ttl = set.slots.schedule().ttl.0;
        set.slots.iter().filter_map(move |slot| match slot.state {
            SlotState::Seen { since, .. } => Some(since + DurationMs(ttl.saturating_mul(2))),
            _ => None,
        })
    });
    let next = settled.fold(now + jittered, UnixMs::min);
    next.max(now + CHECK_MIN)
}

fn rotate(
    row: &mut DomainRow,
    now: UnixMs,
    is_compromised: bool,
    by: &str,
) -> Result<Vec<Change>, Refusal> {
    let is_active = |state: SlotState| matches!(state, SlotState::Active(_));
    if !row.slots().any(|(_, slot)| is_active(slot.state)) {
        return Err(Refusal::NoneActive);
    }
    for set in &mut row.sets {
        let slots = set.slots.clone();
        set.slots = match is_compromised {
            true => slots.compromised(),
            false => slots.due(),
        };
    }
    row.checks = 0;
    row.next_check = row.next_check.min(first_check(now));
    let what = match is_compromised {
        true => What::Compromised,
        false => What::Rotated,
    };
    Ok(row.note(now, what, "", by).into_iter().collect())
}

fn rewrap(row: &mut DomainRow, now: UnixMs, keys: &[Rewrapped], by: &str) -> Vec<Change> {
    let mut has_changed = false;
    for key in &mut row.keys {
        let mut rewrapped = keys.iter().filter(|other| other.key == key.id);
        // A key that was destroyed meanwhile does not come back.
        if let Some(other) = rewrapped.next().filter(|_| !key.wrapped.is_empty()) {
            has_changed |= key.wrapped != other.wrapped;
            key.wrapped.clone_from(&other.wrapped);
        }
    }
    match has_changed {
        true => row.note(now, What::Rewrapped, "", by).into_iter().collect(),
        false => Vec::new(),
    }
}

/// Takes over a domain of a backup. One that is there already stays as it is.
pub fn restore<R: Rows>(rows: &mut R, now: UnixMs, name: &str, row: &DomainRow) {
    if super::command::check_row(name, row).is_err() || domain(rows, name).is_some() {
        return;
    }
    let is_full = row.is_operator && operators(rows).len() >= OPERATORS_MAX;
    if is_full || count(rows) >= DOMAINS_MAX {
        return;
    }
    let mut row = row.clone();
    row.next_check = first_check(now);
    insert(rows, name, &row);
}

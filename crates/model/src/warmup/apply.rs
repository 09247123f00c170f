//! How commands change the rows of warm-ups.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use minicbor::{Decode, Encode};

use super::command::{
    ASKS_MAX, Ask, Command, Granted, Order, REPORTS_MAX, Refusal, Report, Response, Target,
};
use super::row::{Phase, Row, What};
use super::schedule::Plan;
use super::{spread, status};
use crate::codec;
use crate::rows::{ReadRows, Rows, load, put_row, read};
use crate::time::UnixMs;

/// 250 IPs at 40 providers. A row has some 300 bytes; with the longest table and the longest reasons 7 kB.
const ROWS_MAX: usize = 10_000;
/// Names stand in keys and tables.
const PROVIDER_BYTES_MAX: usize = 64;

const TAG: &[u8] = b"W";
/// The last answer to each session: a batch that is told again is granted once.
const ANSWERED: &[u8] = b"@W";

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Answered {
    #[n(0)]
    batch: u64,
    #[n(1)]
    granted: Vec<Granted>,
}

fn answer_key(session: u64) -> Vec<u8> {
    [ANSWERED, &session.to_be_bytes()].concat()
}

fn key(target: &Target) -> Vec<u8> {
    let ip = match target.ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    [TAG, &ip.octets(), target.provider.as_bytes()].concat()
}

fn read_key(key: &[u8]) -> Option<Target> {
    let (ip, provider) = key.strip_prefix(TAG)?.split_first_chunk::<16>()?;
    Some(Target {
        ip: Ipv6Addr::from(*ip).to_canonical(),
        provider: String::from_utf8_lossy(provider).into_owned(),
    })
}

/// The warm-up of an IP at a provider, if it ever had one.
pub fn row(rows: &(impl ReadRows + ?Sized), target: &Target) -> Option<Row> {
    load(rows, &key(target))
}

/// All warm-ups, in the order of their IPs.
pub fn rows(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<Target, Row> {
    let mut found = BTreeMap::new();
    rows.scan(TAG, &[], &mut |key, value| {
        found.extend(read_key(key).map(|target| (target, read(value))));
        true
    });
    found
}

fn is_full(rows: &(impl ReadRows + ?Sized)) -> bool {
    let mut count = 0;
    rows.scan(TAG, &[], &mut |_, _| {
        count += 1;
        count < ROWS_MAX
    });
    count >= ROWS_MAX
}

/// Applies one command at the group's time.
pub fn apply<R: Rows>(rows: &mut R, at: UnixMs, command: &Command) -> Response {
    let result = match command {
        Command::Grant { target, want } => {
            return Response::Granted(grant(rows, at, target, *want));
        }
        Command::Record { target, report } => {
            record(rows, at, target, report);
            Ok(())
        }
        Command::Start {
            target,
            plan,
            stage,
            order,
        } => start(rows, at, target, plan, *stage, order),
        Command::Replan {
            target,
            plan,
            order,
        } => change(rows, at, target, |row| replan(row, plan, order)),
        Command::Pause {
            target,
            is_sending,
            order,
        } => change(rows, at, target, |row| pause(row, *is_sending, order)),
        Command::Resume { target, order } => change(rows, at, target, |row| resume(row, order)),
        Command::Skip {
            target,
            stage,
            order,
        } => change(rows, at, target, |row| skip(row, *stage, order)),
        Command::Stop { target, order } => change(rows, at, target, |row| stop(row, order)),
        Command::Forget(target) => forget(rows, at, target),
    };
    match result {
        Ok(()) => Response::Done,
        Err(refusal) => Response::Refused(refusal),
    }
}

fn put<R: Rows>(rows: &mut R, target: &Target, row: &Row) {
    put_row(rows, key(target), row);
}

fn note(row: &mut Row, what: What, order: &Order) {
    let Order { who, why } = order.bounded();
    row.note(what, Some(who), why);
}

fn change<R: Rows>(
    rows: &mut R,
    at: UnixMs,
    target: &Target,
    change: impl FnOnce(&mut Row) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut row = row(rows, target).ok_or(Refusal::NoWarmup)?;
    row.roll(at);
    change(&mut row)?;
    put(rows, target, &row);
    Ok(())
}

fn start<R: Rows>(
    rows: &mut R,
    at: UnixMs,
    target: &Target,
    plan: &Plan,
    stage: u16,
    order: &Order,
) -> Result<(), Refusal> {
    if !(1..=PROVIDER_BYTES_MAX).contains(&target.provider.len()) {
        return Err(Refusal::BadProvider);
    }
    plan.check().map_err(Refusal::BadPlan)?;
    if stage >= plan.stages() {
        return Err(Refusal::NoStage);
    }
    let mut row = match row(rows, target) {
        Some(mut row) => {
            row.roll(at);
            if !row.phase.is_over() {
                return Err(Refusal::IsRunning);
            }
            row
        }
        None if is_full(rows) => return Err(Refusal::TooMany),
        None => Row::new(plan.clone(), at),
    };
    row.plan = plan.clone();
    row.phase = Phase::Running;
    row.stage = stage;
    row.held_days = 0;
    row.active = None;
    row.spread = None;
    note(&mut row, What::Started, order);
    put(rows, target, &row);
    Ok(())
}

fn replan(row: &mut Row, plan: &Plan, order: &Order) -> Result<(), Refusal> {
    plan.check().map_err(Refusal::BadPlan)?;
    row.plan = plan.clone();
    row.stage = row.stage.min(plan.stages().saturating_sub(1));
    // The day may be longer or shorter now.
    row.roll(row.now);
    row.spread = None;
    note(row, What::Replanned, order);
    Ok(())
}

fn pause(row: &mut Row, is_sending: bool, order: &Order) -> Result<(), Refusal> {
    if row.phase.is_over() {
        return Err(Refusal::IsOver);
    }
    row.phase = Phase::Paused { is_sending };
    note(row, What::Paused, order);
    Ok(())
}

fn resume(row: &mut Row, order: &Order) -> Result<(), Refusal> {
    let Phase::Paused { .. } = row.phase else {
        return Err(Refusal::NotPaused);
    };
    row.phase = Phase::Running;
    row.held_days = 0;
    note(row, What::Resumed, order);
    Ok(())
}

fn skip(row: &mut Row, stage: u16, order: &Order) -> Result<(), Refusal> {
    if row.phase.is_over() {
        return Err(Refusal::IsOver);
    }
    if stage >= row.plan.stages() {
        return Err(Refusal::NoStage);
    }
    row.stage = stage;
    row.held_days = 0;
    note(row, What::Skipped, order);
    Ok(())
}

fn stop(row: &mut Row, order: &Order) -> Result<(), Refusal> {
    if row.phase == Phase::Stopped {
        return Ok(());
    }
    row.phase = Phase::Stopped;
    note(row, What::Stopped, order);
    Ok(())
}

fn forget<R: Rows>(rows: &mut R, at: UnixMs, target: &Target) -> Result<(), Refusal> {
    let mut row = row(rows, target).ok_or(Refusal::NoWarmup)?;
    row.roll(at);
    if !row.phase.is_over() {
        return Err(Refusal::IsRunning);
    }
    if row.counts.granted > 0 {
        return Err(Refusal::HadMail);
    }
    rows.delete(key(target));
    Ok(())
}

fn grant<R: Rows>(rows: &mut R, at: UnixMs, target: &Target, want: u64) -> Granted {
    let Some(mut row) = row(rows, target) else {
        return Granted {
            count: want,
            day: None,
            next_at: None,
            ends: None,
        };
    };
    let day_before = row.day;
    row.roll(at);
    let count = match row.budget() {
        None => want,
        Some(budget) => {
            let ready = spread::ready(&row, budget, row.now);
            let count = want.min(ready);
            if count > 0 {
                let at = row.now;
                let ahead = ready - count;
                row.spread = Some(spread::Spread { at, ahead });
            }
            count
        }
    };
    // Senders that ask in vain write nothing.
    if count > 0 || row.day != day_before {
        row.counts.granted = row.counts.granted.saturating_add(count);
        put(rows, target, &row);
    }
    let next_at = (count < want).then(|| status::next_at(&row, row.now));
    Granted {
        count,
        day: Some(row.day),
        next_at: next_at.flatten(),
        ends: row.budget().map(|_| row.plan.calendar.ends(row.day)),
    }
}

/// Grants what a session asks for. The same batch has the same answer again, as long as it is the session's last.
pub(crate) fn grant_once<R: Rows>(
    rows: &mut R,
    at: UnixMs,
    session: u64,
    batch: u64,
    asks: &[Ask],
) -> Vec<Granted> {
    let key = answer_key(session);
    let known: Option<Answered> = load(rows, &key);
    if let Some(known) = known.filter(|known| known.batch >= batch) {
        // An earlier one is not asked for any more.
        return match known.batch == batch {
            true => known.granted,
            false => Vec::new(),
        };
    }
    let mut granted = Vec::new();
    for Ask {
        target,
        want,
        reports,
    } in asks.iter().take(ASKS_MAX)
    {
        for report in reports.iter().take(REPORTS_MAX) {
            record(rows, at, target, report);
        }
        granted.push(grant(rows, at, target, *want));
    }
    let answered = Answered { batch, granted };
    put_row(rows, key, &answered);
    answered.granted
}

/// Forgets the answers to sessions that are gone.
pub(crate) fn keep_answers<R: Rows>(rows: &mut R, lives: impl Fn(u64) -> bool) {
    let mut gone = Vec::new();
    Rows::scan(rows, ANSWERED, &[], &mut |key, _| {
        let id = key[ANSWERED.len()..].try_into().map(u64::from_be_bytes);
        if !lives(id.expect("keys are written by this module")) {
            gone.push(key.to_vec());
        }
        true
    });
    for key in gone {
        rows.delete(key);
    }
}

/// Takes over a row of a backup: it was of this kind once, and counts what it counted then.
pub(crate) fn restore<R: Rows>(rows: &mut R, target: &Target, row: &Row) {
    if row.plan.check().is_ok() && !is_full(rows) {
        put(rows, target, row);
    }
}

/// The row of a backup with this key and value.
pub(crate) fn read_row(key: &[u8], value: &[u8]) -> Option<(Target, Row)> {
    Some((read_key(key)?, codec::decode(value).ok()?))
}

fn record<R: Rows>(rows: &mut R, at: UnixMs, target: &Target, report: &Report) {
    let Some(mut row) = row(rows, target) else {
        return;
    };
    row.roll(at);
    if report.day == row.day {
        // A report that is told twice counts for no more than was granted.
        let mut room = match row.budget() {
            None => u64::MAX,
            Some(_) => row.counts.granted.saturating_sub(row.counts.attempts()),
        };
        let mut add = |count: &mut u64, more: u64| {
            let more = more.min(room);
            room -= more;
            *count = count.saturating_add(more);
        };
        // What is bad is heard first.
        add(&mut row.counts.bounced, report.bounced);
        add(&mut row.counts.deferred, report.deferred);
        add(&mut row.counts.delivered, report.delivered);
    }
    put(rows, target, &row);
}

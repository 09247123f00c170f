//! How commands change what is counted and sent.

use super::{
    BYTES_MAX, Command, DAYS_KEPT, DOMAINS_MAX, DayRow, DaySize, Reached, SentRow, TEXT_BYTES_MAX,
    counted, hurry_key, row_key, sent, sent_key, size, size_key,
};
use crate::codec;
use crate::id::SessionId;
use crate::meta::command::Refusal;
use crate::meta::state::{session, sessions};
use crate::rows::{Rows, load, put_row};
use crate::time::UnixMs;
use crate::tls_report::{Day, Told};

/// Rows of days that are over, deleted by one command: the next one goes on.
const FORGOTTEN_AT_ONCE: usize = 500;
/// More than a domain names.
const REACHED_MAX: usize = 8;

pub fn apply<R: Rows>(rows: &mut R, now: UnixMs, command: &Command) -> Result<(), Refusal> {
    forget(rows, now);
    match command {
        Command::Tell {
            session: id,
            batch,
            told,
        } => {
            session(rows, *id).ok_or(Refusal::NoSession)?;
            if is_new_batch(rows, *id, *batch) {
                told.iter().for_each(|told| count(rows, now, told));
            }
        }
        Command::Count(told) => told.iter().for_each(|told| count(rows, now, told)),
        Command::Reach {
            day,
            domain,
            place,
            fault,
        } => reach(rows, now, (*day, domain), place, fault.clone()),
        Command::Finish { day, domain } => finish(rows, now, *day, domain),
        Command::Hurry { day, by: _ } => {
            // There is nothing of other days.
            if day.0.saturating_add(DAYS_KEPT) >= Day::of(now).0 && *day <= Day::of(now) {
                rows.put(hurry_key(*day), Vec::new());
            }
        }
    }
    Ok(())
}

fn batch_key(session: SessionId) -> Vec<u8> {
    [b"Tb".as_slice(), &session.0.to_be_bytes()].concat()
}

fn is_new_batch<R: Rows>(rows: &mut R, session: SessionId, batch: u64) -> bool {
    let last: Option<u64> = load(rows, &batch_key(session));
    if last.is_some_and(|last| batch <= last) {
        return false;
    }
    put_row(rows, batch_key(session), &batch);
    true
}

/// Batches of sessions that have ended come no more.
pub(in crate::meta) fn forget_batches<R: Rows>(rows: &mut R) {
    let live = sessions(rows);
    let mut gone = Vec::new();
    Rows::scan(rows, b"Tb", &[], &mut |key, _| {
        let id = key[2..].first_chunk().map(|id| u64::from_be_bytes(*id));
        if id.is_none_or(|id| !live.contains_key(&SessionId(id))) {
            gone.push(key.to_vec());
        }
        true
    });
    for key in gone {
        rows.delete(key);
    }
}

fn count<R: Rows>(rows: &mut R, now: UnixMs, told: &Told) {
    let today = Day::of(now);
    // A sender's clock may be ahead.
    let day = told.day.min(today);
    let mut size = size(rows, day);
    let before = counted(rows, day, &told.domain);
    let row = add(before.as_ref(), told);
    let freed = before.as_ref().map_or(0, bytes_of);
    let next = DaySize {
        domains: size.domains + u64::from(before.is_none()),
        bytes: size.bytes.saturating_sub(freed) + bytes_of(&row),
        lost: size.lost,
    };
    let is_late = day.0.saturating_add(1) < today.0 || sent(rows, day, &told.domain).is_some();
    // A report that has gone somewhere says the same everywhere.
    let is_going = before.is_some_and(|row| !row.reached.is_empty());
    if is_late || is_going || next.domains > DOMAINS_MAX || next.bytes > BYTES_MAX {
        size.lost = size.lost.saturating_add(told.counts.sessions());
        if day.0.saturating_add(DAYS_KEPT) >= today.0 {
            put_row(rows, size_key(day), &size);
        }
        return;
    }
    put_row(rows, row_key(day, &told.domain), &row);
    put_row(rows, size_key(day), &next);
}

fn add(before: Option<&DayRow>, told: &Told) -> DayRow {
    let mut row = before.cloned().unwrap_or_default();
    row.counts.add(told.counts.clone());
    row
}

fn reach<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    (day, domain): (Day, &str),
    place: &str,
    fault: Option<String>,
) {
    let Some(mut row) = counted(rows, day, domain) else {
        return;
    };
    let is_known = row.reached.iter().any(|reached| reached.place == place);
    if is_known || row.reached.len() >= REACHED_MAX {
        return;
    }
    let before = bytes_of(&row);
    row.reached.push(Reached {
        place: place.to_owned(),
        at: now,
        fault: fault.map(|mut fault| {
            fault.truncate(fault.floor_char_boundary(TEXT_BYTES_MAX));
            fault
        }),
    });
    let mut size = size(rows, day);
    size.bytes = size.bytes.saturating_sub(before) + bytes_of(&row);
    put_row(rows, row_key(day, domain), &row);
    put_row(rows, size_key(day), &size);
}

fn finish<R: Rows>(rows: &mut R, now: UnixMs, day: Day, domain: &str) {
    let Some(row) = counted(rows, day, domain) else {
        return;
    };
    let mut size = size(rows, day);
    // Its place is that of the sent row: a day has so many domains, sent or not.
    size.bytes = size.bytes.saturating_sub(bytes_of(&row));
    put_row(rows, size_key(day), &size);
    rows.delete(row_key(day, domain));
    let sent = SentRow {
        at: now,
        sessions: row.counts.sessions(),
        failed: row.counts.failed(),
        reached: row.reached,
    };
    put_row(rows, sent_key(day, domain), &sent);
}

/// Deletes rows of days that are over for long.
fn forget<R: Rows>(rows: &mut R, now: UnixMs) {
    let first = Day(Day::of(now).0.saturating_sub(DAYS_KEPT));
    let mut gone = Vec::new();
    for tag in [b"Tc", b"Ts", b"Td", b"Th"] {
        Rows::scan(rows, tag, &[], &mut |key, _| {
            let day = key[2..]
                .first_chunk()
                .map_or(0, |day| u32::from_be_bytes(*day));
            let is_old = day < first.0;
            if is_old {
                gone.push(key.to_vec());
            }
            is_old && gone.len() < FORGOTTEN_AT_ONCE
        });
    }
    for key in gone {
        rows.delete(key);
    }
}

fn bytes_of(row: &DayRow) -> u64 {
    codec::encode(row).len() as u64
}

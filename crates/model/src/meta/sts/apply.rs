//! How commands change the policies that are kept.

use super::{
    BYTES_MAX, COUNT, Command, DOMAINS_MAX, FAULT_BYTES_MAX, LOOK_AGAIN, Size, StsRow, VERSION,
    due_key, next_look, policy, row_key, size, version,
};
use crate::codec;
use crate::meta::command::Refusal;
use crate::rows::{Rows, put_row};
use crate::time::UnixMs;

pub fn apply<R: Rows>(rows: &mut R, now: UnixMs, command: &Command) -> Result<(), Refusal> {
    match command {
        Command::Keep {
            domain,
            policy: found,
            asked_at,
        } => {
            let before = policy(rows, domain);
            let row = StsRow {
                policy: found.clone(),
                fetched_at: now,
                next_look: next_look(domain, found, now),
                asked_at: later(before.as_ref(), *asked_at, now),
                fault: None,
            };
            put(rows, domain, before, row)
        }
        Command::GoOn {
            domain,
            asked_at,
            fault,
        } => {
            let Some(before) = policy(rows, domain) else {
                return Ok(());
            };
            if !before.is_live(now) {
                delete(rows, domain, &before);
                return Ok(());
            }
            let mut row = before.clone();
            row.asked_at = later(Some(&before), *asked_at, now);
            row.fault = fault.clone().map(|mut fault| {
                fault.truncate(fault.floor_char_boundary(FAULT_BYTES_MAX));
                fault
            });
            row.next_look = match row.is_wanted(now) {
                true if row.fault.is_some() => (now + LOOK_AGAIN).min(row.ends_at()),
                true => next_look(domain, &row.policy, now).min(row.ends_at()),
                false => row.ends_at(),
            };
            put(rows, domain, Some(before), row)
        }
        Command::Flush { domain, by: _ } => {
            if let Some(row) = policy(rows, domain) {
                delete(rows, domain, &row);
            }
            // Senders may know a policy that is not kept here, for want of room.
            tell(rows);
            Ok(())
        }
    }
}

/// Takes over what a backup holds, unless the domain has shown a policy since.
pub fn restore<R: Rows>(rows: &mut R, now: UnixMs, domain: &str, row: &StsRow) {
    let mut row = row.clone();
    // A cluster whose clock was ahead.
    row.fetched_at = row.fetched_at.min(now);
    row.next_look = row.next_look.min(next_look(domain, &row.policy, now));
    let before = policy(rows, domain);
    let is_newer = before
        .as_ref()
        .is_none_or(|known| known.fetched_at < row.fetched_at);
    if is_newer && row.is_live(now) {
        // What there is no room for is found again.
        let _ = put(rows, domain, before, row);
    }
}

fn later(before: Option<&StsRow>, asked_at: UnixMs, now: UnixMs) -> UnixMs {
    let before = before.map_or(UnixMs(0), |row| row.asked_at);
    asked_at.min(now).max(before)
}

fn put<R: Rows>(
    rows: &mut R,
    domain: &str,
    before: Option<StsRow>,
    row: StsRow,
) -> Result<(), Refusal> {
    let Size { domains, bytes } = size(rows);
    let freed = before.as_ref().map_or(0, bytes_of);
    let next = Size {
        domains: domains + u64::from(before.is_none()),
        bytes: bytes.saturating_sub(freed) + bytes_of(&row),
    };
    if before.is_none() && (next.domains > DOMAINS_MAX || next.bytes > BYTES_MAX) {
        return Err(Refusal::TooMany);
    }
    if let Some(before) = &before {
        rows.delete(due_key(before.next_look, domain));
        let (old, new) = (&before.policy, &row.policy);
        if old.mode != new.mode || old.mx != new.mx {
            tell(rows);
        }
    }
    put_row(rows, row_key(domain), &row);
    rows.put(due_key(row.next_look, domain), Vec::new());
    put_row(rows, COUNT.to_vec(), &next);
    Ok(())
}

fn delete<R: Rows>(rows: &mut R, domain: &str, row: &StsRow) {
    let Size { domains, bytes } = size(rows);
    let left = Size {
        domains: domains.saturating_sub(1),
        bytes: bytes.saturating_sub(bytes_of(row)),
    };
    rows.delete(row_key(domain));
    rows.delete(due_key(row.next_look, domain));
    put_row(rows, COUNT.to_vec(), &left);
}

fn tell<R: Rows>(rows: &mut R) {
    let next = version(rows).saturating_add(1);
    put_row(rows, VERSION.to_vec(), &next);
}

fn bytes_of(row: &StsRow) -> u64 {
    codec::encode(row).len() as u64
}

//! Keys of rows. Names have no zero octet, so a tenant's rows are those between its name and one, its own before its streams'.

use crate::suppression::{Key, Reason, Scope, ScopeFilter, Subject};
use crate::time::UnixMs;

pub(super) const ENTRY: &[u8] = b"Se";
pub(super) const NEWEST: &[u8] = b"Sn";
pub(super) const EXPIRY: &[u8] = b"Sx";
pub(super) const COUNTS: &[u8] = b"Sk";
const TENANT: &[u8] = b"Sc";

const GLOBAL: u8 = 1;
const OF_TENANT: u8 = 2;

pub(super) fn tenant_key(tenant: &str) -> Vec<u8> {
    [TENANT, tenant.as_bytes()].concat()
}

pub(super) fn entry_key(key: &Key) -> Vec<u8> {
    let mut out = ENTRY.to_vec();
    write(key, &mut out);
    out
}

/// What the keys of all entries of these scopes begin with.
pub(super) fn scope_prefix(scopes: &ScopeFilter) -> Vec<u8> {
    let mut out = ENTRY.to_vec();
    match scopes {
        ScopeFilter::All => {}
        ScopeFilter::Global => out.push(GLOBAL),
        ScopeFilter::Tenant(tenant) => {
            out.push(OF_TENANT);
            write_name(tenant, &mut out);
        }
        ScopeFilter::Stream { tenant, stream } => write_scope(tenant, stream, &mut out),
    }
    out
}

pub(super) fn newest_key(added: UnixMs, key: &Key, reason: Reason) -> Vec<u8> {
    timed(NEWEST, !added.0, key, reason)
}

/// Where the entries begin that were added before a time.
pub(super) fn newest_before(until: UnixMs) -> Vec<u8> {
    let inverted = !until.0;
    [NEWEST, &inverted.saturating_add(1).to_be_bytes()].concat()
}

pub(super) fn expiry_key(expires: UnixMs, key: &Key, reason: Reason) -> Vec<u8> {
    timed(EXPIRY, expires.0, key, reason)
}

fn timed(tag: &[u8], time: u64, key: &Key, reason: Reason) -> Vec<u8> {
    let mut out = [tag, &time.to_be_bytes()].concat();
    write(key, &mut out);
    out.push(reason.number());
    out
}

fn write(key: &Key, out: &mut Vec<u8>) {
    match &key.scope {
        Scope::Global => out.push(GLOBAL),
        Scope::Tenant(tenant) => write_scope(tenant, "", out),
        Scope::Stream { tenant, stream } => write_scope(tenant, stream, out),
    }
    match &key.subject {
        Subject::Address(_) => out.push(b'a'),
        Subject::Domain(_) => out.push(b'd'),
    }
    out.extend_from_slice(key.subject.as_str().as_bytes());
}

/// A tenant's own scope has a stream without a name.
fn write_scope(tenant: &str, stream: &str, out: &mut Vec<u8>) {
    out.push(OF_TENANT);
    write_name(tenant, out);
    write_name(stream, out);
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

/// The key that a row of entries has; none of a row that is no such one.
pub(in crate::meta) fn read_entry_key(row_key: &[u8]) -> Option<Key> {
    read(row_key.strip_prefix(ENTRY)?)
}

/// The key and reason of a row of the newest.
pub(super) fn read_newest_key(row_key: &[u8]) -> Option<(UnixMs, Key, Reason)> {
    let (time, key, reason) = read_timed(row_key.strip_prefix(NEWEST)?)?;
    Some((UnixMs(!time), key, reason))
}

pub(super) fn read_expiry_key(row_key: &[u8]) -> Option<(UnixMs, Key, Reason)> {
    let (time, key, reason) = read_timed(row_key.strip_prefix(EXPIRY)?)?;
    Some((UnixMs(time), key, reason))
}

fn read_timed(rest: &[u8]) -> Option<(u64, Key, Reason)> {
    let (time, rest) = rest.split_first_chunk()?;
    let (reason, key) = rest.split_last()?;
    let reason = Reason::of_number(*reason)?;
    Some((u64::from_be_bytes(*time), read(key)?, reason))
}

fn read(bytes: &[u8]) -> Option<Key> {
    let (scope, rest) = match bytes.split_first()? {
        (&GLOBAL, rest) => (Scope::Global, rest),
        (&OF_TENANT, rest) => {
            let (tenant, rest) = read_name(rest)?;
            let (stream, rest) = read_name(rest)?;
            let scope = match stream.is_empty() {
                true => Scope::Tenant(tenant),
                false => Scope::Stream { tenant, stream },
            };
            (scope, rest)
        }
        _ => return None,
    };
    let (kind, text) = rest.split_first()?;
    let text = String::from_utf8(text.to_vec()).ok()?;
    let subject = match kind {
        b'a' => Subject::Address(text),
        b'd' => Subject::Domain(text),
        _ => return None,
    };
    Some(Key { scope, subject })
}

fn read_name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = String::from_utf8(bytes[..end].to_vec()).ok()?;
    Some((name, &bytes[end + 1..]))
}

//! The latest versions of the policy: who made each, when, and what each took the place of.
//!
//! A version's row holds what its change took away, so that earlier versions are found by going back from the present one.
//! There are none before the first [`ChangePolicy`](super::Command::ChangePolicy), which is proposed only when every member
//! knows that command: until then, nodes of all versions have the same rows.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::policy::{Kept, kept, policy_version};
use super::state::scan;
use crate::codec;
use crate::rows::{ReadRows, Rows, load, put_row};
use crate::time::UnixMs;

/// As many as anybody looks back over.
pub const HISTORY_VERSIONS_MAX: usize = 100;
/// Of all rows together: what a few changes of the largest policy take the place of. It is in each snapshot of the group. The
/// latest row stays, whatever it has.
pub const HISTORY_BYTES_MAX: u64 = 8 << 20;

const HEAD: &[u8] = b"m";
const ROW: &[u8] = b"h";

/// How a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Made {
    /// Resources were applied, or taken out.
    #[n(0)]
    Applied,
    /// As that version was.
    #[n(1)]
    RolledBack(#[n(0)] u64),
    /// From a backup.
    #[n(2)]
    Restored,
}

/// One version of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyVersion {
    #[n(0)]
    pub at: UnixMs,
    /// Empty for who is not known.
    #[n(1)]
    pub by: String,
    #[n(2)]
    pub made: Made,
    /// The resources that this version changed, as they were before it; none: not there.
    #[n(3)]
    pub before: BTreeMap<String, Option<Kept>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
struct Head {
    /// Of all rows.
    #[n(0)]
    bytes: u64,
}

fn row_key(version: u64) -> Vec<u8> {
    [ROW, &version.to_be_bytes()].concat()
}

/// Whether versions are kept: every member knows how.
pub fn has_history(rows: &(impl ReadRows + ?Sized)) -> bool {
    rows.get(HEAD).is_some()
}

/// The versions that are known, by number; the policy as it was before the first of them is known, too.
pub fn policy_history(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<u64, PolicyVersion> {
    scan(rows, ROW, |version| version)
}

/// The resources of a version; none: it is too old, or there never was one.
pub fn policy_at(rows: &(impl ReadRows + ?Sized), version: u64) -> Option<BTreeMap<String, Kept>> {
    let now = policy_version(rows);
    if version > now {
        return None;
    }
    let mut resources = kept(rows);
    let history = policy_history(rows);
    for later in (version + 1..=now).rev() {
        for (key, before) in &history.get(&later)?.before {
            match before {
                Some(kept) => resources.insert(key.clone(), kept.clone()),
                None => resources.remove(key),
            };
        }
    }
    Some(resources)
}

/// Versions are kept from now on.
pub(super) fn begin<R: Rows>(rows: &mut R) {
    if !has_history(rows) {
        put_row(rows, HEAD.to_vec(), &Head::default());
    }
}

/// The bytes of each row, by version.
fn sizes(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<u64, u64> {
    let mut sizes = BTreeMap::new();
    rows.scan(ROW, &[], &mut |key, value| {
        if let Ok(number) = key[ROW.len()..].try_into() {
            sizes.insert(u64::from_be_bytes(number), value.len() as u64);
        }
        true
    });
    sizes
}

/// A version has come, if versions are kept. The oldest give way.
pub(super) fn note<R: Rows>(rows: &mut R, version: u64, made: &PolicyVersion) {
    let Some(mut head) = load::<Head>(rows, HEAD) else {
        return;
    };
    let row = codec::encode(made);
    head.bytes += row.len() as u64;
    rows.put(row_key(version), row);
    let mut sizes = sizes(rows);
    while sizes.len() > HISTORY_VERSIONS_MAX || head.bytes > HISTORY_BYTES_MAX {
        let Some((oldest, bytes)) = sizes.pop_first() else {
            break;
        };
        if oldest == version {
            break;
        }
        head.bytes = head.bytes.saturating_sub(bytes);
        rows.delete(row_key(oldest));
    }
    put_row(rows, HEAD.to_vec(), &head);
}

#[cfg(test)]
#[path = "policy_history_tests.rs"]
mod tests;

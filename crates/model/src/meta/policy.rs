//! The cluster's policy: resources as their authors wrote them.
//!
//! The state machine keeps texts. What they mean was checked by the node that was asked, before they came here: nodes of
//! two versions may read one text differently, and must come to the same state.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::rows::{ReadRows, load};

/// One resource. A provider with 256 rules has about half of it.
pub const RESOURCE_BYTES_MAX: usize = 64 << 10;
/// All resources together. Every sender reads them in one message, which may have 4 MiB.
pub const POLICY_BYTES_MAX: usize = 2 << 20;
/// Of `kind/name`.
pub(super) const KEY_BYTES_MAX: usize = 128;

pub(super) const VERSION: &[u8] = b"k";

pub(super) fn resource_key(key: &str) -> Vec<u8> {
    [b"y", key.as_bytes()].concat()
}

pub(super) fn source_key(key: &str) -> Vec<u8> {
    [b"s", key.as_bytes()].concat()
}

/// The texts of all resources, by `kind/name`.
pub fn policy(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, String> {
    super::state::scan_names(rows, b"y")
}

/// Grows with every change of a resource.
pub fn policy_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

/// A resource as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Kept {
    #[n(0)]
    pub text: String,
    /// Where it is applied from, by the name that its operators gave that.
    #[n(1)]
    pub source: Option<String>,
}

/// All resources, by `kind/name`.
pub fn kept(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, Kept> {
    let mut sources = policy_sources(rows);
    let texts = policy(rows).into_iter();
    let kept = texts.map(|(key, text)| {
        let source = sources.remove(&key);
        (key, Kept { text, source })
    });
    kept.collect()
}

/// Where resources are applied from that have a source, by `kind/name`.
pub fn policy_sources(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, String> {
    super::state::scan_names(rows, b"s")
}

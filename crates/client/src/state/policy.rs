//! The policy as text.

use std::collections::BTreeMap;

/// The cluster's policy as its authors wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyTexts {
    /// Grows with every change; 0 before any was read.
    pub version: u64,
    /// By `kind/name`.
    pub resources: BTreeMap<String, String>,
}

//! What share of the cluster each tenant has.
//!
//! A tenant exists by sending mail. Only those whose weight is not 1 have a row.

use std::collections::BTreeMap;

use super::command::Refusal;
use crate::rows::{ReadRows, Rows, load, put_row};

/// A hundred to one is more than any plan of prices spreads, and keeps a round of turns short.
pub const WEIGHT_MAX: u32 = 100;
/// Names are kept in every replica and travel with every message.
const NAME_BYTES_MAX: usize = 64;
/// Weights are read as a whole when they change.
const TENANTS_MAX: usize = 10_000;

const VERSION: &[u8] = b"u";

fn weight_key(tenant: &str) -> Vec<u8> {
    [b"w", tenant.as_bytes()].concat()
}

/// Tenants whose weight is not 1.
pub fn weights(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, u32> {
    super::state::scan_names(rows, b"w")
}

/// Grows with every change of a weight.
pub fn weights_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

/// Whether this may be a tenant's name: it stands in tables, in files and on the wire.
pub fn is_tenant_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(is_plain)
}

pub(super) fn set_weight<R: Rows>(rows: &mut R, tenant: &str, weight: u32) -> Result<(), Refusal> {
    if !is_tenant_name(tenant) || !(1..=WEIGHT_MAX).contains(&weight) {
        return Err(Refusal::BadWeight);
    }
    let before = weights(rows);
    if before.get(tenant).copied().unwrap_or(1) == weight {
        return Ok(());
    }
    if before.len() >= TENANTS_MAX && weight != 1 && !before.contains_key(tenant) {
        return Err(Refusal::TooMany);
    }
    match weight {
        1 => rows.delete(weight_key(tenant)),
        weight => put_row(rows, weight_key(tenant), &weight),
    }
    let version = weights_version(rows) + 1;
    put_row(rows, VERSION.to_vec(), &version);
    Ok(())
}

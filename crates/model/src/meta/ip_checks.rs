//! What sessions found out about source IPs ([`preflight`](crate::preflight)).
//!
//! | key | value |
//! |---|---|
//! | `P` session | [`IpCheck`] of each IP that it has, by name |

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::command::Refusal;
use super::state::{scan, session, sessions};
use crate::id::SessionId;
use crate::preflight::{FAULTS_MAX, Fault};
use crate::rows::{ReadRows, Rows, put_row};
use crate::time::UnixMs;

/// As many IPs as policy may have.
const IPS_MAX: usize = 4096;
/// Of an IP's name.
const NAME_BYTES_MAX: usize = 255;
/// Of all faults together: a command is to fit into a Raft entry of 1 MiB with others.
pub const FAULTS_BYTES_MAX: usize = 512 << 10;

/// How an IP was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct IpCheck {
    /// By the clock of the node that looked.
    #[n(0)]
    pub at: UnixMs,
    #[n(1)]
    pub faults: Vec<Fault>,
}

fn key(id: SessionId) -> Vec<u8> {
    [b"P".as_slice(), &id.0.to_be_bytes()].concat()
}

/// What each session says, by the name of the IP.
pub fn ip_checks(
    rows: &(impl ReadRows + ?Sized),
) -> BTreeMap<SessionId, BTreeMap<String, IpCheck>> {
    scan(rows, b"P", SessionId)
}

pub(super) fn set_ip_checks<R: Rows>(
    rows: &mut R,
    id: SessionId,
    checks: &BTreeMap<String, IpCheck>,
) -> Result<(), Refusal> {
    session(rows, id).ok_or(Refusal::NoSession)?;
    let is_small = |(name, check): (&String, &IpCheck)| {
        name.len() <= NAME_BYTES_MAX && check.faults.len() <= FAULTS_MAX
    };
    let faults = checks.values().flat_map(|check| &check.faults);
    let bytes: usize = faults.map(|fault| fault.text.len()).sum();
    if checks.len() > IPS_MAX || bytes > FAULTS_BYTES_MAX || !checks.iter().all(is_small) {
        return Err(Refusal::TooMany);
    }
    put_row(rows, key(id), checks);
    Ok(())
}

/// After sessions have come or gone: what an ended one said counts no more.
pub(super) fn forget_ended_sessions<R: Rows>(rows: &mut R) {
    let live = sessions(rows);
    for id in ip_checks(rows).into_keys() {
        if !live.contains_key(&id) {
            rows.delete(key(id));
        }
    }
}

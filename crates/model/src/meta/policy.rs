//! The cluster's policy: resources as their authors wrote them.
//!
//! The state machine keeps texts. What they mean was checked by the node that was asked, before they came here: nodes of
//! two versions may read one text differently, and must come to the same state.

use std::collections::BTreeMap;

use super::command::Refusal;
use super::state::names;
use crate::rows::{ReadRows, Rows, load, put_row};

/// One resource. A provider with 256 rules has about half of it.
pub const RESOURCE_BYTES_MAX: usize = 64 << 10;
/// All resources together. Every sender reads them in one message, which may have 4 MiB.
pub const POLICY_BYTES_MAX: usize = 2 << 20;
/// Of `kind/name`.
const KEY_BYTES_MAX: usize = 128;

const VERSION: &[u8] = b"k";

fn resource_key(key: &str) -> Vec<u8> {
    [b"y", key.as_bytes()].concat()
}

/// All resources, by `kind/name`.
pub fn policy(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, String> {
    super::state::scan_names(rows, b"y")
}

/// Grows with every change of a resource.
pub fn policy_version(rows: &(impl ReadRows + ?Sized)) -> u64 {
    load(rows, VERSION).unwrap_or(0)
}

/// Changes resources, all or none. `base` is the version that the change was made for.
pub(super) fn set_policy<R: Rows>(
    rows: &mut R,
    base: Option<u64>,
    put: &[(String, String)],
    delete: &[String],
) -> Result<(), Refusal> {
    let version = policy_version(rows);
    if base.is_some_and(|base| base != version) {
        return Err(Refusal::PolicyChanged);
    }
    let mut bytes: BTreeMap<String, usize> = BTreeMap::new();
    for key in names(rows, b"y") {
        let text: Option<String> = load(rows, &resource_key(&key));
        bytes.insert(key, text.map_or(0, |text| text.len()));
    }
    for key in delete {
        bytes.remove(key);
    }
    for (key, text) in put {
        bytes.insert(key.clone(), text.len());
    }
    let is_small = |(key, bytes): (&String, &usize)| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && *bytes <= RESOURCE_BYTES_MAX
    };
    let total: usize = bytes.iter().map(|(key, bytes)| key.len() + bytes).sum();
    if total > POLICY_BYTES_MAX || !bytes.iter().all(is_small) {
        return Err(Refusal::PolicyTooLarge);
    }
    for key in delete {
        rows.delete(resource_key(key));
    }
    for (key, text) in put {
        put_row(rows, resource_key(key), text);
    }
    put_row(rows, VERSION.to_vec(), &(version + 1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Response, apply};
    use super::*;
    use crate::rows::MemoryRows;
    use crate::time::UnixMs;

    fn set(
        rows: &mut MemoryRows,
        base: Option<u64>,
        put: &[(&str, &str)],
        delete: &[&str],
    ) -> Response {
        let put = put.iter();
        let command = Command::SetPolicy {
            base,
            put: put.map(|(k, t)| ((*k).into(), (*t).into())).collect(),
            delete: delete.iter().map(|key| (*key).into()).collect(),
        };
        apply(rows, UnixMs(1), &command)
    }

    #[test]
    fn a_change_counts_as_a_whole_and_only_for_what_it_was_made_for() {
        let mut rows = MemoryRows::default();
        let two = [("ip/a", "1"), ("pool/p", "2")];
        assert_eq!(set(&mut rows, Some(0), &two, &[]), Response::Done);
        assert_eq!(policy_version(&rows), 1);
        let late = set(&mut rows, Some(0), &[("ip/b", "3")], &[]);
        assert_eq!(late, Response::Refused(Refusal::PolicyChanged));
        let replaced = set(&mut rows, None, &[("ip/a", "4")], &["pool/p", "ip/none"]);
        assert_eq!(replaced, Response::Done);
        assert_eq!(policy(&rows), [("ip/a".into(), "4".into())].into());
        assert_eq!(policy_version(&rows), 2);
    }

    #[test]
    fn a_policy_has_room_for_so_much_text() {
        let mut rows = MemoryRows::default();
        let large = "x".repeat(RESOURCE_BYTES_MAX);
        let too_large = format!("{large}x");
        let refused = Response::Refused(Refusal::PolicyTooLarge);
        assert_eq!(set(&mut rows, None, &[("ip/a", &too_large)], &[]), refused);
        assert_eq!(set(&mut rows, None, &[("", "x")], &[]), refused);
        let fits = POLICY_BYTES_MAX / RESOURCE_BYTES_MAX - 1;
        let names: Vec<String> = (0..=fits).map(|n| format!("ip/{n}")).collect();
        for name in &names[..fits] {
            let done = set(&mut rows, None, &[(name, &large)], &[]);
            assert_eq!(done, Response::Done, "{name}");
        }
        assert_eq!(
            set(&mut rows, None, &[(&names[fits], &large)], &[]),
            refused
        );
        let exchanged = set(&mut rows, None, &[(&names[fits], &large)], &[&names[0]]);
        assert_eq!(exchanged, Response::Done);
    }
}

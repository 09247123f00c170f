//! Changes of the policy: all of one or nothing.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::command::Refusal;
use super::policy::{
    KEY_BYTES_MAX, POLICY_BYTES_MAX, RESOURCE_BYTES_MAX, VERSION, kept, policy, policy_sources,
    policy_version, resource_key, source_key,
};
use super::policy_history::{self, Made, PolicyVersion};
use crate::rows::{ReadRows, Rows, put_row};
use crate::time::UnixMs;

/// A change with who makes it: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PolicyChange {
    /// The version that it was made for; none changes any.
    #[n(0)]
    pub base: Option<u64>,
    #[n(1)]
    pub put: Vec<Put>,
    /// By `kind/name`.
    #[n(2)]
    pub delete: Vec<String>,
    #[n(3)]
    pub by: String,
    #[n(4)]
    pub made: Made,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Put {
    /// `kind/name`.
    #[n(0)]
    pub key: String,
    #[n(1)]
    pub text: String,
    /// Where it is applied from, from now on.
    #[n(2)]
    pub source: Option<String>,
}

/// Changes resources, all or none, and keeps the version from now on.
pub(super) fn change_policy<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    change: &PolicyChange,
) -> Result<(), Refusal> {
    check(rows, change)?;
    policy_history::begin(rows);
    put_policy(rows, now, change);
    Ok(())
}

/// Changes resources, all or none. `base` is the version that the change was made for. Whoever has a resource keeps it.
pub(super) fn set_policy<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    base: Option<u64>,
    (put, delete): (&[(String, String)], &[String]),
    made: Made,
) -> Result<(), Refusal> {
    let sources = policy_sources(rows);
    let put = put.iter().map(|(key, text)| Put {
        key: key.clone(),
        text: text.clone(),
        source: sources.get(key).cloned(),
    });
    let change = PolicyChange {
        base,
        put: put.collect(),
        delete: delete.to_vec(),
        by: String::new(),
        made,
    };
    check(rows, &change)?;
    put_policy(rows, now, &change);
    Ok(())
}

/// Says where a resource is applied from that is about to be restored.
pub(super) fn set_source<R: Rows>(rows: &mut R, key: &str, source: &String) {
    put_row(rows, source_key(key), source);
}

fn check(rows: &(impl ReadRows + ?Sized), change: &PolicyChange) -> Result<(), Refusal> {
    if change.base.is_some_and(|base| base != policy_version(rows)) {
        return Err(Refusal::PolicyChanged);
    }
    let texts = policy(rows).into_iter();
    let mut bytes: BTreeMap<String, usize> = texts.map(|(key, text)| (key, text.len())).collect();
    for key in &change.delete {
        bytes.remove(key);
    }
    for Put { key, text, .. } in &change.put {
        bytes.insert(key.clone(), text.len());
    }
    let is_small = |(key, bytes): (&String, &usize)| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && *bytes <= RESOURCE_BYTES_MAX
    };
    let total: usize = bytes.iter().map(|(key, bytes)| key.len() + bytes).sum();
    match total <= POLICY_BYTES_MAX && bytes.iter().all(is_small) {
        true => Ok(()),
        false => Err(Refusal::PolicyTooLarge),
    }
}

fn put_policy<R: Rows>(rows: &mut R, now: UnixMs, change: &PolicyChange) {
    let version = policy_version(rows) + 1;
    let had = kept(rows);
    let put = change.put.iter().map(|put| &put.key);
    let touched = change.delete.iter().chain(put);
    let before: BTreeMap<_, _> = touched
        .map(|key| (key.clone(), had.get(key).cloned()))
        .collect();
    for key in &change.delete {
        rows.delete(resource_key(key));
        rows.delete(source_key(key));
    }
    for Put { key, text, source } in &change.put {
        put_row(rows, resource_key(key), text);
        match source {
            Some(source) => put_row(rows, source_key(key), source),
            None => rows.delete(source_key(key)),
        }
    }
    put_row(rows, VERSION.to_vec(), &version);
    let has = kept(rows);
    let before = before.into_iter();
    let made = PolicyVersion {
        at: now,
        by: change.by.clone(),
        made: change.made,
        before: before
            .filter(|(key, before)| has.get(key) != before.as_ref())
            .collect(),
    };
    policy_history::note(rows, version, &made);
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

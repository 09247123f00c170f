//! The ordered key-value store that a state machine sees.

use std::collections::BTreeMap;
use std::ops::Bound;

use minicbor::{Decode, Encode};

use crate::codec;

/// Rows of one Raft group, ordered by key. What is written is seen by the reads that follow.
///
/// An implementation that cannot read ends the process: a state machine that went on
/// without a row would differ from its replicas.
pub trait Rows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>);
    fn delete(&mut self, key: Vec<u8>);
    /// Calls `visit` for each row from `from` on, in order, until it returns false or the keys no longer begin with `prefix`.
    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool);
}

/// Reading without writing, for everything that is not `apply`.
pub trait ReadRows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool);
}

impl<R: Rows + ?Sized> ReadRows for R {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        Rows::get(self, key)
    }
    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        Rows::scan(self, prefix, from, visit);
    }
}

/// Reads a row, or stops: a replica that skipped a row it cannot read would differ from the others.
pub(crate) fn read<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> T {
    match codec::decode(bytes) {
        Ok(row) => row,
        Err(error) => panic!(
            "the state of this group cannot be trusted: {error}: {}",
            error.source
        ),
    }
}

pub(crate) fn load<T: for<'b> Decode<'b, ()>>(
    rows: &(impl ReadRows + ?Sized),
    key: &[u8],
) -> Option<T> {
    rows.get(key).map(|bytes| read(&bytes))
}

/// Rows whose keys are a tag and a name: so many after a name, in order.
pub(crate) fn page<T: for<'b> Decode<'b, ()>>(
    rows: &(impl ReadRows + ?Sized),
    tag: &[u8],
    after: &str,
    limit: usize,
) -> Vec<(String, T)> {
    let (mut found, from) = (Vec::new(), [tag, after.as_bytes()].concat());
    rows.scan(tag, &from, &mut |key, value| {
        let name = String::from_utf8_lossy(&key[tag.len()..]).into_owned();
        if name != after {
            found.push((name, read(value)));
        }
        found.len() < limit
    });
    found
}

pub(crate) fn put_row<R: Rows>(rows: &mut R, key: Vec<u8>, row: &impl Encode<()>) {
    rows.put(key, codec::encode(row));
}

/// Rows in memory, for tests and the simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryRows(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for MemoryRows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).cloned()
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.insert(key, value);
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.0.remove(&key);
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let start = from.max(prefix).to_vec();
        for (key, value) in self.0.range((Bound::Included(start), Bound::Unbounded)) {
            if !key.starts_with(prefix) || !visit(key, value) {
                return;
            }
        }
    }
}

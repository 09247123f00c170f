//! Rows of this module by their tag and key.

use minicbor::{Decode, Encode};

use crate::codec;
use crate::rows::{ReadRows, Rows};

pub(super) fn key(tag: u8, id: &impl Encode<()>) -> Vec<u8> {
    [&[tag][..], &codec::encode(id)].concat()
}

pub(super) fn read<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> T {
    match codec::decode(bytes) {
        Ok(row) => row,
        Err(error) => panic!(
            "the state of automation cannot be trusted: {error}: {}",
            error.source
        ),
    }
}

pub(super) fn load<T: for<'b> Decode<'b, ()>>(
    rows: &(impl ReadRows + ?Sized),
    key: &[u8],
) -> Option<T> {
    rows.get(key).map(|bytes| read(&bytes))
}

pub(super) fn put<R: Rows>(rows: &mut R, key: Vec<u8>, row: &impl Encode<()>) {
    rows.put(key, codec::encode(row));
}

/// All rows of a tag.
pub(super) fn scan<K, T>(rows: &(impl ReadRows + ?Sized), tag: u8) -> Vec<(K, T)>
where
    K: for<'b> Decode<'b, ()>,
    T: for<'b> Decode<'b, ()>,
{
    let mut found = Vec::new();
    rows.scan(&[tag], &[], &mut |key, value| {
        found.push((read(&key[1..]), read(value)));
        true
    });
    found
}

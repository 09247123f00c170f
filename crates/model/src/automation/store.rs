//! Rows of this module by their tag and key.

use minicbor::{Decode, Encode};

use crate::codec;
use crate::rows::{ReadRows, read};

pub(super) fn key(tag: u8, id: &impl Encode<()>) -> Vec<u8> {
    [&[tag][..], &codec::encode(id)].concat()
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

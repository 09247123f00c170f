//! Keys that attribution tokens are signed with. Each is encrypted before it comes here.
//!
//! | key | value |
//! |---|---|
//! | `Bk` id | [`TokenKeyRow`] |

use minicbor::{Decode, Encode};

use crate::codec;
use crate::proposal::{self, Invalid};
use crate::rows::{ReadRows, Rows, load, put_row, read};
use crate::time::{DurationMs, UnixMs};

/// A year of overlap with a key a month, and some that operators ask for.
pub const TOKEN_KEYS_MAX: usize = 16;
/// For how long what a key has signed is taken after another one signs: mail is opened, and complained about, months later.
pub const TOKEN_KEY_OVERLAP: DurationMs = DurationMs::from_secs(366 * 24 * 60 * 60);
/// A wrapped key has some 150 bytes.
const WRAPPED_BYTES_MAX: usize = 1024;

const TAG: &[u8] = b"Bk";

/// A key of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TokenKeyRow {
    /// When all nodes have it.
    #[n(0)]
    pub signs_from: UnixMs,
    /// The secret, encrypted with the key-encryption key.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub wrapped: Vec<u8>,
}

/// A key to be kept. One that is there already is only encrypted anew.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PutTokenKey {
    #[n(0)]
    pub id: u8,
    #[n(1)]
    pub key: TokenKeyRow,
}

fn row_key(id: u8) -> Vec<u8> {
    [TAG, &[id]].concat()
}

pub(super) fn check(put: &PutTokenKey) -> Result<(), Invalid> {
    match (1..=WRAPPED_BYTES_MAX).contains(&put.key.wrapped.len()) {
        true => proposal::number("signs_from", put.key.signs_from.0),
        false => Err(Invalid::field("wrapped", "is empty or too long")),
    }
}

/// A row of a backup.
pub(super) fn read_row(key: &[u8], value: &[u8]) -> Option<PutTokenKey> {
    let [id] = *key.strip_prefix(TAG)? else {
        return None;
    };
    let key = codec::decode(value).ok()?;
    Some(PutTokenKey { id, key })
}

/// Takes over what a backup holds. Ids are drawn at random: of 250 keys, one has an id that is taken here.
pub(super) fn restore<R: Rows>(rows: &mut R, now: UnixMs, put: &PutTokenKey) {
    if Rows::get(rows, &row_key(put.id)).is_none() {
        apply(rows, now, put);
    }
}

/// All keys by their ids.
pub fn token_keys(rows: &(impl ReadRows + ?Sized)) -> Vec<(u8, TokenKeyRow)> {
    let mut found = Vec::new();
    rows.scan(TAG, TAG, &mut |key, value| {
        if let Some(id) = key.get(TAG.len()) {
            found.push((*id, read(value)));
        }
        true
    });
    found
}

pub(super) fn apply<R: Rows>(rows: &mut R, now: UnixMs, put: &PutTokenKey) {
    let mut row = put.key.clone();
    if let Some(before) = load::<TokenKeyRow>(rows, &row_key(put.id)) {
        row.signs_from = before.signs_from;
    }
    put_row(rows, row_key(put.id), &row);
    for id in forgotten(token_keys(rows), now) {
        rows.delete(row_key(id));
    }
}

/// Those that were replaced more than the overlap ago, and the oldest of too many.
fn forgotten(mut keys: Vec<(u8, TokenKeyRow)>, now: UnixMs) -> Vec<u8> {
    keys.sort_by_key(|(id, key)| (key.signs_from, *id));
    let extra = keys.len().saturating_sub(TOKEN_KEYS_MAX);
    let next = keys.iter().skip(1).map(|(_, key)| key.signs_from);
    let is_over = |replaced: UnixMs| now.0 > replaced.0.saturating_add(TOKEN_KEY_OVERLAP.0);
    let over = next.take_while(|replaced| is_over(*replaced)).count();
    let gone = keys.iter().take(extra.max(over));
    gone.map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{self, Command, Response};
    use crate::rows::MemoryRows;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn put(rows: &mut MemoryRows, day: u64, id: u8, wrapped: &[u8]) {
        let key = TokenKeyRow {
            signs_from: UnixMs(day * DAY),
            wrapped: wrapped.to_vec(),
        };
        let command = Command::PutTokenKey(PutTokenKey { id, key });
        assert!(meta::read_proposed(&codec::encode(&command)).is_ok());
        let answer = meta::apply(rows, UnixMs(day * DAY), &command);
        assert_eq!(answer, Response::Done);
    }

    fn ids(rows: &MemoryRows) -> Vec<u8> {
        token_keys(rows).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_key_goes_a_year_after_another_one_signs() {
        let mut rows = MemoryRows::default();
        put(&mut rows, 1, 1, b"a");
        put(&mut rows, 100, 2, b"b");
        put(&mut rows, 466, 3, b"c");
        assert_eq!(ids(&rows), [1, 2, 3], "the first still counts that day");
        put(&mut rows, 467, 4, b"d");
        assert_eq!(ids(&rows), [2, 3, 4]);
    }

    #[test]
    fn there_are_not_more_than_a_ring_holds() {
        let mut rows = MemoryRows::default();
        for id in 0..20 {
            put(&mut rows, u64::from(id) + 1, id, b"a");
        }
        assert_eq!(ids(&rows), (4..20).collect::<Vec<u8>>());
    }

    #[test]
    fn a_key_that_is_encrypted_anew_stays_as_old_as_it_was() {
        let mut rows = MemoryRows::default();
        put(&mut rows, 1, 7, b"a");
        put(&mut rows, 9, 7, b"b");
        let row = TokenKeyRow {
            signs_from: UnixMs(DAY),
            wrapped: b"b".to_vec(),
        };
        assert_eq!(token_keys(&rows), [(7, row)]);
    }

    #[test]
    fn a_key_of_no_length_is_not_proposed() {
        for length in [0, WRAPPED_BYTES_MAX + 1] {
            let key = TokenKeyRow {
                signs_from: UnixMs(1),
                wrapped: vec![0; length],
            };
            let command = Command::PutTokenKey(PutTokenKey { id: 1, key });
            assert!(meta::read_proposed(&codec::encode(&command)).is_err());
        }
    }
}

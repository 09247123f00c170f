//! What a replica writes, as one number for each stretch of the log: replicas that differ have different numbers.
//!
//! The number of a stretch covers every key and value that its commands wrote, in order. It is kept beside the rows and
//! goes with them into snapshots. A stretch that two versions applied has none, because a version may write rows in its
//! own way.

use minicbor::{Decode, Encode};
use skein_model::codec;
use skein_model::doctor::Mark;
use skein_model::rows::ReadRows;

use crate::reader::Reader;

/// Entries of one stretch.
const STRETCH: u64 = 10_000;
/// No row of a state machine begins with this.
pub(crate) const KEY: &[u8] = b"#";

/// The version that applies entries now.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Checksum {
    /// Of what the running stretch wrote so far.
    #[n(0)]
    pub crc32c: u32,
    /// That the running stretch began with; empty when it was not seen from its beginning by one version.
    #[n(1)]
    version: String,
    #[n(2)]
    mark: Option<Mark>,
}

impl Checksum {
    pub fn read(rows: &Reader) -> Self {
        let row = rows.get(KEY);
        let mut read: Self = row
            .and_then(|row| codec::decode(&row).ok())
            .unwrap_or_default();
        if read.version != VERSION {
            read.version.clear();
        }
        read
    }

    /// Everything that this entry wrote is in `crc32c`.
    pub fn applied(&mut self, index: u64) {
        if !index.is_multiple_of(STRETCH) {
            return;
        }
        let is_whole = self.version == VERSION;
        self.mark = is_whole.then(|| Mark {
            index,
            crc32c: self.crc32c,
            version: VERSION.to_owned(),
        });
        self.crc32c = 0;
        VERSION.clone_into(&mut self.version);
    }
}

impl Reader {
    /// The number of the latest stretch that this replica saw whole.
    pub fn mark(&self) -> Option<Mark> {
        Checksum::read(self).mark
    }
}

/// Adds one write; `None` is a deletion.
pub(crate) fn add(crc32c: u32, key: &[u8], value: Option<&[u8]>) -> u32 {
    let crc32c = crc32c::crc32c_append(crc32c, &(key.len() as u64).to_be_bytes());
    let crc32c = crc32c::crc32c_append(crc32c, key);
    match value {
        Some(value) => crc32c::crc32c_append(crc32c, value),
        None => crc32c::crc32c_append(crc32c, &u64::MAX.to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId};
    use skein_model::{GroupId, meta};

    use super::*;
    use crate::{Batch, Hooks, MetaMachine, Options, StateMachine, Store, TypeConfig};

    fn entry(index: u64, odd: bool) -> Entry<TypeConfig> {
        let payload = match index % 1000 {
            7 => {
                let sender = if odd && index == 15_007 {
                    "other"
                } else {
                    "some"
                };
                let command = meta::Command::SetDrained {
                    sender: sender.into(),
                    drained: true,
                };
                EntryPayload::Normal(Batch {
                    at: index,
                    commands: vec![codec::encode(&command)],
                })
            }
            _ => EntryPayload::Blank,
        };
        let log_id = LogId::new(CommittedLeaderId::new(1, 1), index);
        Entry { log_id, payload }
    }

    /// Entries up to `end`, so many at once; what was marked.
    fn replica(end: u64, at_once: u64, odd: bool) -> Option<Mark> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let (_, machine): (_, StateMachine<MetaMachine>) = store
            .group(GroupId(7), MetaMachine, Hooks::default())
            .unwrap();
        let mut from = 0;
        while from <= end {
            let until = (from + at_once).min(end + 1);
            machine
                .apply_all((from..until).map(|index| entry(index, odd)))
                .unwrap();
            from = until;
        }
        store.reader(GroupId(7)).mark()
    }

    #[test]
    fn replicas_that_wrote_the_same_have_the_same_number_however_they_batched_it() {
        assert_eq!(replica(9_999, 3_000, false), None);
        let first = replica(10_000, 2_000, false);
        assert_eq!(first.as_ref().map(|mark| mark.index), Some(10_000));
        assert_eq!(
            replica(19_999, 7_777, true),
            first,
            "what differs comes later"
        );
        let second = replica(21_000, 1_234, false);
        assert_eq!(second.as_ref().map(|mark| mark.index), Some(20_000));
        assert_eq!(replica(20_000, 20_001, false), second);
        let odd = replica(20_000, 5_000, true);
        assert_eq!(odd.as_ref().map(|mark| mark.index), Some(20_000));
        assert_ne!(odd, second, "one name in 20,000 entries");
    }
}

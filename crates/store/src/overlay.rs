//! Rows as the commands of one batch see them: what is on disk, under what the batch has changed so far.

use std::collections::BTreeMap;
use std::ops::Bound;

use rocksdb::{DB, WriteBatch};
use skein_model::codec;
use skein_model::rows::{ReadRows, Rows};

use crate::checksum::{self, Checksum};
use crate::db::{STATE, column};
use crate::reader::Reader;

pub struct Overlay<'r> {
    below: &'r Reader,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub checksum: Checksum,
}

/// See [`Overlay::save`].
pub struct Saved {
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    checksum: Checksum,
}

impl<'r> Overlay<'r> {
    pub fn new(below: &'r Reader) -> Self {
        Self {
            below,
            changes: BTreeMap::new(),
            checksum: Checksum::read(below),
        }
    }

    /// What the commands so far have come to.
    pub fn save(&self) -> Saved {
        Saved {
            changes: self.changes.clone(),
            checksum: self.checksum.clone(),
        }
    }

    pub fn restore(&mut self, saved: Saved) {
        self.changes = saved.changes;
        self.checksum = saved.checksum;
    }

    pub fn write_to(mut self, batch: &mut WriteBatch, db: &DB) {
        let state = column(db, STATE);
        let checksum = codec::encode(&self.checksum);
        self.changes.insert(checksum::KEY.to_vec(), Some(checksum));
        for (key, value) in self.changes {
            let key = self.below.full_key(&key);
            match value {
                Some(value) => batch.put_cf(state, key, value),
                None => batch.delete_cf(state, key),
            }
        }
    }
}

impl Rows for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changes.get(key) {
            Some(change) => change.clone(),
            None => self.below.get(key),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.checksum.crc32c = checksum::add(self.checksum.crc32c, &key, Some(&value));
        self.changes.insert(key, Some(value));
    }

    fn delete(&mut self, key: Vec<u8>) {
        self.checksum.crc32c = checksum::add(self.checksum.crc32c, &key, None);
        self.changes.insert(key, None);
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let start = prefix.max(from).to_vec();
        let mut changed = self
            .changes
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .peekable();
        let mut stored = self.below.rows(prefix, from).peekable();
        loop {
            let change_is_next = match (changed.peek(), stored.peek()) {
                (None, None) => return,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((key, _)), Some((stored_key, _))) => key.as_slice() <= &stored_key[..],
            };
            let goes_on = if change_is_next {
                let (key, change) = changed.next().expect("just peeked");
                stored.next_if(|(stored_key, _)| stored_key[..] == key[..]);
                change.as_ref().is_none_or(|value| visit(key, value))
            } else {
                let (key, value) = stored.next().expect("just peeked");
                visit(&key, &value)
            };
            if !goes_on {
                return;
            }
        }
    }
}

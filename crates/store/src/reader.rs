//! The applied rows of one group, for reading.

use std::sync::Arc;

use rocksdb::{DB, Direction, IteratorMode, ReadOptions};
use skein_model::GroupId;
use skein_model::rows::ReadRows;

use crate::db::{STATE, column, disk_failed};
use crate::snapshot::View;

#[derive(Clone)]
pub struct Reader {
    db: Arc<DB>,
    group: [u8; 2],
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({:?})", self.group)
    }
}

impl Reader {
    pub(crate) fn new(db: Arc<DB>, group: GroupId) -> Self {
        Self {
            db,
            group: group.0.to_be_bytes(),
        }
    }

    /// All rows as they are now, whatever changes later: for what follows from several of them together.
    pub fn view(&self) -> View {
        View::new(self.db.clone(), self.group)
    }

    /// The key of a row in the column family that all groups share.
    pub(crate) fn full_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.group, key].concat()
    }

    /// The rows from `from` on whose keys begin with `prefix`, as of now.
    pub(crate) fn rows<'r>(
        &'r self,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = (Box<[u8]>, Box<[u8]>)> + use<'r> {
        let mut options = ReadOptions::default();
        if let Some(end) = successor(&self.full_key(prefix)) {
            options.set_iterate_upper_bound(end);
        }
        let start = self.full_key(prefix.max(from));
        let mode = IteratorMode::From(&start, Direction::Forward);
        let rows = self
            .db
            .iterator_cf_opt(column(&self.db, STATE), options, mode);
        rows.map(|row| match row {
            Ok((key, value)) => (key[2..].into(), value),
            Err(error) => disk_failed("reading the state", &error),
        })
    }
}

/// The first key behind all that begin with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

impl ReadRows for Reader {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.db.get_cf(column(&self.db, STATE), self.full_key(key)) {
            Ok(value) => value,
            Err(error) => disk_failed("reading the state", &error),
        }
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        for (key, value) in self.rows(prefix, from) {
            if !visit(&key, &value) {
                return;
            }
        }
    }
}

//! Snapshots of a group: its rows at one position of the log, without bodies.
//!
//! A sender reads them from a view of RocksDB that does not move. A receiver gathers them in a file and then replaces
//! its own rows; a crash in the middle of that is noticed at the next start, which does it again from the file.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{DB, Direction, IteratorMode, ReadOptions, SnapshotWithThreadMode};
use self_cell::self_cell;
use skein_model::GroupId;
use skein_model::rows::ReadRows;

use crate::db::{RAFT, STATE, column, disk_failed};

type DbSnapshot<'db> = SnapshotWithThreadMode<'db, DB>;

self_cell!(
    struct FrozenDb {
        owner: Arc<DB>,
        #[covariant]
        dependent: DbSnapshot,
    }
);

/// All rows of a group at one moment. RocksDB keeps what it shows for as long as it lives.
#[derive(Clone)]
pub struct View {
    db: Arc<FrozenDb>,
    group: [u8; 2],
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({:?})", self.group)
    }
}

impl View {
    pub(crate) fn new(db: Arc<DB>, group: [u8; 2]) -> Self {
        let db = Arc::new(FrozenDb::new(db, |db| db.snapshot()));
        Self { db, group }
    }

    pub(crate) fn raft_row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        let raft = column(self.db.borrow_owner(), RAFT);
        self.db.borrow_dependent().get_cf(raft, key)
    }

    /// Every row in order of its key, until `visit` returns false.
    pub fn scan_all(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.scan_from(&[], visit);
    }

    fn scan_from(&self, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let mut options = ReadOptions::default();
        let end = (u16::from_be_bytes(self.group) + 1).to_be_bytes();
        options.set_iterate_upper_bound(end.to_vec());
        // Passing through the cache once would push out what is read often.
        options.fill_cache(false);
        let start = [&self.group, from].concat();
        let mode = IteratorMode::From(&start, Direction::Forward);
        let state = column(self.db.borrow_owner(), STATE);
        for row in self
            .db
            .borrow_dependent()
            .iterator_cf_opt(state, options, mode)
        {
            match row {
                Ok((key, value)) => {
                    if !visit(&key[2..], &value) {
                        return;
                    }
                }
                Err(error) => disk_failed("reading the state", &error),
            }
        }
    }
}

impl ReadRows for View {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let state = column(self.db.borrow_owner(), STATE);
        let key = [&self.group, key].concat();
        match self.db.borrow_dependent().get_cf(state, key) {
            Ok(value) => value,
            Err(error) => disk_failed("reading the state", &error),
        }
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.scan_from(prefix.max(from), &mut |key, value| {
            key.starts_with(prefix) && visit(key, value)
        });
    }
}

/// Behind the last row of a file, in place of the length of a key.
const END: u32 = u32::MAX;
/// No row is near this long; a longer one means that the file is damaged.
const ROW_BYTES_MAX: u32 = 64 << 20;

/// A snapshot that is being received.
#[derive(Debug)]
pub struct Incoming {
    path: PathBuf,
    file: BufWriter<File>,
    rows: u64,
    crc32c: u32,
}

/// A whole snapshot in a file.
#[derive(Debug, Clone)]
pub struct Received {
    path: PathBuf,
}

impl Incoming {
    /// Starts anew: what an earlier attempt left is dropped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn create(folder: &Path, group: GroupId) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.incoming", group.0));
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, File::create(&path)?),
            path,
            rows: 0,
            crc32c: 0,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.file.write_all(bytes)
    }

    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.put(&length(key))?;
        self.put(&length(value))?;
        self.put(key)?;
        self.put(value)?;
        self.rows += 1;
        Ok(())
    }

    /// Makes the file durable under its final name.
    ///
    /// # Errors
    /// The file cannot be written, or rows are missing.
    pub fn finish(mut self, rows: u64) -> io::Result<Received> {
        if rows != self.rows {
            return Err(io::Error::other(format!(
                "a snapshot of {rows} rows came with {}",
                self.rows
            )));
        }
        let crc = self.crc32c;
        self.file.write_all(&END.to_be_bytes())?;
        self.file.write_all(&crc.to_be_bytes())?;
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        let path = self.path.with_extension("rows");
        fs::rename(&self.path, &path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Received { path })
    }
}

impl Received {
    /// The file of a group's snapshot that was being installed when the process ended.
    pub(crate) fn left(folder: &Path, group: GroupId) -> Self {
        Self {
            path: folder.join(format!("{}.rows", group.0)),
        }
    }

    /// Every row in order of its key.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was written.
    pub(crate) fn scan(&self, visit: &mut dyn FnMut(Vec<u8>, Vec<u8>)) -> io::Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path)?);
        let mut crc = 0;
        loop {
            let key_bytes = read_u32(&mut file)?;
            if key_bytes == END {
                let expected = read_u32(&mut file)?;
                return match expected == crc {
                    true => Ok(()),
                    false => Err(damaged(&self.path)),
                };
            }
            let value_bytes = read_u32(&mut file)?;
            if key_bytes > ROW_BYTES_MAX || value_bytes > ROW_BYTES_MAX {
                return Err(damaged(&self.path));
            }
            let mut key = vec![0; key_bytes as usize];
            let mut value = vec![0; value_bytes as usize];
            file.read_exact(&mut key)?;
            file.read_exact(&mut value)?;
            for bytes in [
                &key_bytes.to_be_bytes()[..],
                &value_bytes.to_be_bytes(),
                &key,
                &value,
            ] {
                crc = crc32c::crc32c_append(crc, bytes);
            }
            visit(key, value);
        }
    }

    pub(crate) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            // The next snapshot of the group replaces it.
            tracing::warn!(path = %self.path.display(), %error, "an installed snapshot stays on disk");
        }
    }
}

fn damaged(path: &Path) -> io::Error {
    let text = format!("{} does not match its checksum", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn read_u32(file: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

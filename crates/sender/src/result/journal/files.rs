//! The files of a journal: one that is written, and until that begins with all that is open, the one before it.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use skein_model::codec;

use super::frame;
use super::{Fact, Key, Record};

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A file of this size is followed by another.
    pub file_bytes: usize,
    /// Facts that wait for their commit. What does not fit is delivered all the same, and only not kept.
    pub open_bytes: usize,
}

impl Default for Limits {
    /// 1024 tasks of a window take some 500 KiB when each has one recipient; these have room for twenty times as many.
    fn default() -> Self {
        Self {
            file_bytes: 16 << 20,
            open_bytes: 8 << 20,
        }
    }
}

pub struct Files {
    dir: PathBuf,
    limits: Limits,
    /// Held by this process alone for as long as it lives.
    _lock: File,
    current: Option<Current>,
    /// Everything that is there.
    paths: Vec<PathBuf>,
    last: u64,
    /// Records of facts without a committed report.
    open: HashMap<Key, Vec<u8>>,
    open_bytes: usize,
    /// Marks that go with the next fact: losing one only makes a report be repeated.
    forgotten: Vec<u8>,
}

struct Current {
    file: File,
    bytes: usize,
}

impl Files {
    /// Reads what another process left, without writing anything.
    ///
    /// # Errors
    /// The folder cannot be used, or another process uses it.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<(Self, Vec<Fact>)> {
        fs::create_dir_all(dir)?;
        let lock = File::create(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process uses it"),
            TryLockError::Error(error) => error,
        })?;
        let mut files = Self {
            dir: dir.to_owned(),
            limits,
            _lock: lock,
            current: None,
            paths: Vec::new(),
            last: 0,
            open: HashMap::new(),
            open_bytes: 0,
            forgotten: Vec::new(),
        };
        let mut facts = HashMap::new();
        for (number, path) in numbered(dir)? {
            files.read(&path, &mut facts)?;
            files.last = number;
            files.paths.push(path);
        }
        files.open_bytes = files.open.values().map(Vec::len).sum();
        Ok((files, facts.into_values().collect()))
    }

    fn read(&mut self, path: &Path, facts: &mut HashMap<Key, Fact>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let most = self.limits.file_bytes + self.limits.open_bytes;
        File::open(path)?
            .take(most as u64)
            .read_to_end(&mut bytes)?;
        for record in frame::records(&bytes) {
            match codec::decode(record) {
                Ok(Record::Fact(fact)) => {
                    let mut framed = Vec::with_capacity(frame::size(record.len()));
                    frame::put(&mut framed, record);
                    self.open.insert(fact.key(), framed);
                    facts.insert(fact.key(), *fact);
                }
                Ok(Record::Forget(key)) => {
                    self.open.remove(&key);
                    facts.remove(&key);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "passing over a record of the journal");
                }
            }
        }
        Ok(())
    }

    pub fn keep(&mut self, fact: Fact) -> io::Result<()> {
        let key = fact.key();
        let mut record = Vec::new();
        frame::put(&mut record, &codec::encode(&Record::Fact(Box::new(fact))));
        if self.open_bytes + record.len() > self.limits.open_bytes {
            return Err(io::Error::other("too many results wait for their commit"));
        }
        let adds = self.forgotten.len() + record.len();
        let has_room = |current: &Current| current.bytes + adds <= self.limits.file_bytes;
        if !self.current.as_ref().is_some_and(has_room) {
            self.next_file()?;
        }
        let mut bytes = std::mem::take(&mut self.forgotten);
        bytes.extend_from_slice(&record);
        self.append(&bytes)?;
        self.open_bytes += record.len();
        if let Some(before) = self.open.insert(key, record) {
            self.open_bytes -= before.len();
        }
        Ok(())
    }

    pub fn forget(&mut self, key: Key) {
        if let Some(record) = self.open.remove(&key) {
            self.open_bytes -= record.len();
            frame::put(&mut self.forgotten, &codec::encode(&Record::Forget(key)));
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let current = self.current.as_mut().expect("the caller made a file");
        if let Err(error) = current.file.write_all(bytes) {
            // Half a record would hide all that follow it.
            if current.file.set_len(current.bytes as u64).is_err() {
                self.current = None;
            }
            return Err(error);
        }
        current.bytes += bytes.len();
        Ok(())
    }

    /// Begins a file with all that is open, and removes those before it.
    fn next_file(&mut self) -> io::Result<()> {
        self.last += 1;
        let path = self.dir.join(format!("{:012}.{SUFFIX}", self.last));
        let mut options = File::options();
        let options = options.append(true).create_new(true).mode(0o600);
        let mut file = options.open(&path)?;
        let bytes: Vec<u8> = self.open.values().flatten().copied().collect();
        if let Err(error) = file.write_all(&bytes) {
            // What it would say is also in the files before it.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.forgotten.clear();
        for before in std::mem::replace(&mut self.paths, vec![path]) {
            if let Err(error) = fs::remove_file(&before) {
                tracing::warn!(path = %before.display(), %error, "a file of the journal is not removed");
            }
        }
        let bytes = bytes.len();
        self.current = Some(Current { file, bytes });
        Ok(())
    }
}

const SUFFIX: &str = "outcomes";

/// The files of a journal, oldest first.
fn numbered(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == SUFFIX)) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

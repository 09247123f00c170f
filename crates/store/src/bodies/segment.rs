//! Segment files: parts one after another, each with its own header and checksum.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use skein_model::MessageId;

use super::BodyError;
use super::index::Part;
use crate::disk::{Disk, allocate};

/// In front of each part, so that a segment can be read without the index.
pub const HEADER_BYTES: usize = 4 + 16 + 4 + 4 + 4;
const MAGIC: &[u8; 4] = b"SKb1";

/// Magic, body id, number of the part, length, crc32c.
pub fn header(id: MessageId, number: u32, part: &Part) -> Vec<u8> {
    [
        &MAGIC[..],
        &id.0,
        &number.to_be_bytes(),
        &part.bytes.to_be_bytes(),
        &part.crc32c.to_be_bytes(),
    ]
    .concat()
}

fn read_header(bytes: &[u8; HEADER_BYTES]) -> Option<(MessageId, u32, u32)> {
    let id = MessageId(bytes[4..20].try_into().ok()?);
    let number = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
    bytes
        .starts_with(MAGIC)
        .then_some((id, number(24)?, number(28)?))
}

pub struct Segments {
    dir: PathBuf,
    disk: Arc<Disk>,
    /// A segment is closed at this size. Small enough that a few long-lived messages hold little disk.
    pub bytes: u64,
    state: Mutex<State>,
}

/// What space is claimed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// New bodies, up to the hard mark.
    Intake,
    /// What is in use of a sparse segment, which frees more than it takes.
    Compaction,
}

#[derive(Default)]
struct State {
    /// Bytes in use by segment.
    live: HashMap<u64, u64>,
    /// The sizes of the files, which may have been made under another configuration.
    sizes: HashMap<u64, u64>,
    /// Open for reading; bounded by the number of segments with live bytes.
    files: HashMap<u64, Arc<File>>,
    /// The segment that is being written, and the next number.
    current: Option<u64>,
    next: u64,
}

/// The segment that the writer fills.
pub struct Current {
    pub number: u64,
    pub file: Arc<File>,
    pub end: u64,
}

impl Segments {
    /// Opens the folder and removes segments in which nothing lives.
    pub fn open(
        dir: &Path,
        bytes: u64,
        disk: Arc<Disk>,
        live: HashMap<u64, u64>,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut sizes = HashMap::new();
        // An index row may outlive its segment in a crash; its number must not come back with other bytes in it.
        let mut next = 1 + live.keys().max().copied().unwrap_or(0);
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name
                .to_str()
                .and_then(|name| name.strip_suffix(".seg")?.parse::<u64>().ok())
            else {
                continue;
            };
            next = next.max(number + 1);
            match live.contains_key(&number) {
                true => sizes.insert(number, entry.metadata()?.len()),
                false => {
                    std::fs::remove_file(entry.path())?;
                    None
                }
            };
        }
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            bytes,
            state: Mutex::new(State {
                live,
                sizes,
                next,
                ..State::default()
            }),
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:010}.seg"))
    }

    /// Starts a new segment. Its space is claimed at once, so that fsyncs need not write metadata.
    pub fn create(&self, purpose: Purpose) -> io::Result<Current> {
        if purpose == Purpose::Intake {
            self.disk.claim(self.bytes)?;
        }
        let mut state = self.state.lock();
        let number = state.next;
        let path = self.path(number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        if let Err(error) =
            allocate(&file, self.bytes).and_then(|()| File::open(&self.dir)?.sync_all())
        {
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        let file = Arc::new(file);
        state.next += 1;
        state.current = Some(number);
        state.sizes.insert(number, self.bytes);
        state.files.insert(number, file.clone());
        Ok(Current {
            number,
            file,
            end: 0,
        })
    }

    /// The segment takes no more; it goes as soon as nothing in it lives.
    pub fn seal(&self, number: u64) {
        let mut state = self.state.lock();
        state.current = state.current.filter(|current| *current != number);
        self.remove_if_dead(&mut state, number);
    }

    pub fn add_live(&self, part: &Part) {
        let mut state = self.state.lock();
        *state.live.entry(part.segment).or_default() += u64::from(part.bytes);
    }

    /// A segment that is written to its end and of which less than a quarter is in use.
    pub fn sparse(&self, except: &HashSet<u64>) -> Option<u64> {
        let state = self.state.lock();
        let sparse = |(number, live): &(&u64, &u64)| {
            let size = state.sizes.get(number).copied().unwrap_or(0);
            state.current != Some(**number)
                && (1..size / 4).contains(*live)
                && !except.contains(number)
        };
        state.live.iter().find(sparse).map(|(number, _)| *number)
    }

    /// The parts in a segment, also those that are no longer in use.
    pub fn parts(&self, number: u64) -> io::Result<Vec<(MessageId, Part)>> {
        let file = self.file(number)?;
        let size = file.metadata()?.len();
        let mut parts = Vec::new();
        let mut offset = 0;
        while offset + HEADER_BYTES as u64 <= size {
            let mut bytes = [0; HEADER_BYTES];
            file.read_exact_at(&mut bytes, offset)?;
            let Some((id, length, crc32c)) = read_header(&bytes) else {
                break;
            };
            offset += HEADER_BYTES as u64;
            let part = Part {
                segment: number,
                offset,
                bytes: length,
                crc32c,
            };
            parts.push((id, part));
            offset += u64::from(length);
        }
        Ok(parts)
    }

    pub fn free(&self, parts: &[Part]) {
        let mut state = self.state.lock();
        for part in parts {
            if let Some(live) = state.live.get_mut(&part.segment) {
                *live = live.saturating_sub(u64::from(part.bytes));
            }
            self.remove_if_dead(&mut state, part.segment);
        }
    }

    fn remove_if_dead(&self, state: &mut State, number: u64) {
        if state.current == Some(number) || state.live.get(&number).is_some_and(|live| *live > 0) {
            return;
        }
        state.live.remove(&number);
        state.sizes.remove(&number);
        state.files.remove(&number);
        match std::fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It is found and removed at the next start.
                tracing::warn!(segment = number, %error, "an empty body segment could not be removed");
            }
            _ => {}
        }
    }

    #[cfg(test)]
    pub fn exists(&self, number: u64) -> bool {
        self.path(number).exists()
    }

    pub fn read(&self, part: &Part) -> Result<Bytes, BodyError> {
        let file = self.file(part.segment)?;
        let mut data = vec![0; part.bytes as usize];
        file.read_exact_at(&mut data, part.offset)?;
        if crc32c::crc32c(&data) != part.crc32c {
            return Err(BodyError::Corrupt);
        }
        Ok(Bytes::from(data))
    }

    fn file(&self, number: u64) -> io::Result<Arc<File>> {
        let mut state = self.state.lock();
        if let Some(file) = state.files.get(&number) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(self.path(number))?);
        state.files.insert(number, file.clone());
        Ok(file)
    }
}

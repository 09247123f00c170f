//! Message bytes in write-once segment files, beside Raft and never in it.
//!
//! One thread writes. It takes all jobs that wait, writes them, fsyncs once, puts the bodies that are now complete
//! into the index, and answers. The index shares RocksDB's WAL with the Raft log: an `Accept` is only proposed
//! after this answer, so the fsync that makes it durable makes the index row durable too.

mod compact;
mod index;
mod segment;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prometheus_client::metrics::histogram::Histogram;
use rocksdb::DB;
use skein_model::MessageId;
use tokio::sync::{Semaphore, mpsc, oneshot};

use index::Index;
use segment::Segments;
use writer::{Job, OldCopy, Writer};

use crate::disk::Disk;

/// Jobs that wait for the writer; a full queue holds intakes back.
const QUEUED_JOBS: usize = 1024;
/// Bytes of bodies that wait for the writer, from all streams together: what a fast disk writes in 50 ms, so that it
/// never waits for more, and a slow one holds the intakes back.
const QUEUED_BYTES: usize = 32 << 20;
/// Reads up to this size are nearly always from the page cache and not worth another thread.
const INLINE_READ: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyInfo {
    pub bytes: u64,
    pub crc32c: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("writing a body: {0}")]
    Write(String),
    #[error("no such body is here")]
    NotFound,
    #[error("the bytes on disk do not match their checksum")]
    Corrupt,
    #[error("reading a body")]
    Read(#[from] io::Error),
    #[error("the body store has stopped")]
    Stopped,
}

/// The bodies of a node.
#[derive(Clone)]
pub struct Bodies {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    index: Arc<Index>,
    segments: Arc<Segments>,
}

impl BodyError {
    /// Whether this node should have the bytes and does not have them any more.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt => true,
            // A segment that is gone or shorter than it was.
            Self::Read(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ),
            Self::Write(_) | Self::NotFound | Self::Stopped => false,
        }
    }
}

impl std::fmt::Debug for Bodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bodies")
    }
}

impl Bodies {
    pub(crate) fn open(
        dir: &Path,
        segment_bytes: u64,
        disk: Arc<Disk>,
        db: Arc<DB>,
        fsync: Histogram,
    ) -> io::Result<Self> {
        let index = Arc::new(Index::new(db));
        let live = index.live_bytes();
        let segments = Arc::new(Segments::open(dir, segment_bytes, disk, live)?);
        let (jobs, queue) = mpsc::channel(QUEUED_JOBS);
        let writer = Writer::new(segments.clone(), index.clone(), fsync);
        // It ends when the last handle of the bodies is dropped.
        skein_runtime::thread("body-writer", move || {
            writer.run(queue);
            true
        })?;
        compact::start(jobs.downgrade(), segments.clone(), index.clone())?;
        Ok(Self {
            jobs,
            room: Arc::new(Semaphore::new(QUEUED_BYTES)),
            index,
            segments,
        })
    }

    /// Adds the next bytes. A failure to write them is told by `finish`.
    pub async fn append(&self, id: MessageId, data: Bytes) {
        let bytes = u32::try_from(data.len().min(QUEUED_BYTES)).expect("below QUEUED_BYTES");
        let room = self.room.clone().acquire_many_owned(bytes).await;
        let room = room.expect("it is never closed");
        // If the writer is gone, finish says so.
        let _ = self.jobs.send(Job::Append(id, data, room)).await;
    }

    /// Returns when all bytes of this body are fsynced.
    ///
    /// # Errors
    /// The disk did not take them; nothing of the body is kept.
    pub async fn finish(&self, id: MessageId) -> Result<BodyInfo, BodyError> {
        self.finish_in(OldCopy::KeptIfSame, id, id).await
    }

    pub async fn abort(&self, id: MessageId) {
        // If the writer is gone, so is the unfinished body.
        let _ = self.jobs.send(Job::Abort(id)).await;
    }

    /// Up to `max` bytes of the body that is `of`, from `offset` on; none at the end. Bytes that do not match their checksum,
    /// and those of another body, are never returned.
    ///
    /// # Errors
    /// The body is not here, or cannot be read.
    pub async fn read(
        &self,
        id: MessageId,
        of: BodyInfo,
        offset: u64,
        max: usize,
    ) -> Result<Bytes, BodyError> {
        if max <= INLINE_READ {
            return self.read_now(id, of, offset, max);
        }
        let bodies = self.clone();
        skein_runtime::blocking(move || bodies.read_now(id, of, offset, max)).await
    }

    fn read_now(
        &self,
        id: MessageId,
        of: BodyInfo,
        offset: u64,
        max: usize,
    ) -> Result<Bytes, BodyError> {
        match self.read_once(id, of, offset, max) {
            // Compaction may have moved it between the look into the index and the read.
            Err(BodyError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.read_once(id, of, offset, max)
            }
            result => result,
        }
    }

    fn read_once(
        &self,
        id: MessageId,
        of: BodyInfo,
        offset: u64,
        max: usize,
    ) -> Result<Bytes, BodyError> {
        let body = self.index.get(id).ok_or(BodyError::NotFound)?;
        if body.info() != of {
            return Err(BodyError::Corrupt);
        }
        let mut found = BytesMut::new();
        let mut begins = 0;
        for part in &body.parts {
            let ends = begins + u64::from(part.bytes);
            let wanted_until = offset.saturating_add(max as u64);
            if ends > offset && begins < wanted_until {
                let data = self.segments.read(part)?;
                let from = offset.saturating_sub(begins) as usize;
                let until = (wanted_until - begins).min(u64::from(part.bytes)) as usize;
                if found.is_empty()
                    && until - from == data.len()
                    && until as u64 + begins >= wanted_until
                {
                    return Ok(data);
                }
                found.extend_from_slice(&data[from..until]);
            }
            begins = ends;
        }
        Ok(found.freeze())
    }

    /// What is here of a body, as it was written: its bytes are not looked at.
    pub fn info(&self, id: MessageId) -> Option<BodyInfo> {
        Some(self.index.get(id)?.info())
    }

    /// Completes a body that was appended under `from`, a name of the caller's own, as the body of `id`.
    ///
    /// So a copy that is pulled and one that arrives at the same time do not mix. It replaces what is there, which may be
    /// damaged.
    ///
    /// # Errors
    /// The body could not be written.
    pub async fn finish_as(&self, from: MessageId, id: MessageId) -> Result<BodyInfo, BodyError> {
        self.finish_in(OldCopy::Replaced, from, id).await
    }

    async fn finish_in(
        &self,
        old_copy: OldCopy,
        from: MessageId,
        id: MessageId,
    ) -> Result<BodyInfo, BodyError> {
        let (done, finished) = oneshot::channel();
        let job = Job::Finish {
            from,
            id,
            old_copy,
            done,
        };
        self.jobs.send(job).await.map_err(|_| BodyError::Stopped)?;
        finished.await.map_err(|_| BodyError::Stopped)?
    }

    /// Forgets a body; its segment goes when nothing in it is needed.
    pub fn free(&self, id: MessageId) {
        if let Some(body) = self.index.remove(id) {
            self.segments.free(&body.parts);
        }
    }

    /// Frees bodies whose intake began `age` ago and that `needed` does not know. Returns how many.
    pub async fn sweep(
        &self,
        age: Duration,
        needed: impl Fn(MessageId) -> bool + Send + 'static,
    ) -> usize {
        let bodies = self.clone();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let before = u64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(0);
        skein_runtime::blocking(move || {
            let orphans: Vec<MessageId> = bodies
                .index
                .ids()
                .filter(|id| id.at().0 < before && !needed(*id))
                .collect();
            for id in &orphans {
                bodies.free(*id);
            }
            orphans.len()
        })
        .await
    }
}

#[cfg(test)]
mod tests;

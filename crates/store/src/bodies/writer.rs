//! The thread that writes bodies.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prometheus_client::metrics::histogram::Histogram;
use skein_model::MessageId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::index::{Body, Index, Part};
use super::segment::{Current, HEADER_BYTES, Purpose, Segments, header};
use super::{BodyError, BodyInfo};
use crate::db::disk_failed;

/// Jobs that one fsync serves at most, so that its waiters are answered in bounded time.
const JOBS_PER_SYNC: usize = 4096;
/// Bytes gathered before they are written in one call.
const WRITE_BYTES: usize = 1 << 20;

pub enum Job {
    /// The next bytes, and their part of the room in the queue.
    Append(MessageId, Bytes, OwnedSemaphorePermit),
    /// The body that came under the name `from` is whole and belongs to `id`.
    Finish {
        from: MessageId,
        id: MessageId,
        old_copy: OldCopy,
        done: Finished,
    },
    Abort(MessageId),
    /// A part that compaction brings to the segment in use.
    Move(MessageId, Part, Bytes),
}

/// What becomes of a copy that the index has when another one of the body is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldCopy {
    /// It stays if it is the same bytes, which came another way.
    KeptIfSame,
    /// It may be damaged, and goes.
    Replaced,
}

type Finished = oneshot::Sender<Result<BodyInfo, BodyError>>;

/// A body whose end has not come. Their number is bounded by the intakes' connections: a stream that ends takes its own
/// with it.
#[derive(Default)]
struct Open {
    body: Body,
    bytes: u64,
    crc32c: u32,
    failed: Option<String>,
}

pub struct Writer {
    segments: Arc<Segments>,
    index: Arc<Index>,
    current: Option<Current>,
    open: HashMap<MessageId, Open>,
    buffer: Vec<u8>,
    /// Finished bodies that wait for the fsync.
    finished: Vec<(MessageId, OldCopy, Open, Finished)>,
    /// Parts written anew that wait for the fsync: from, to.
    moved: Vec<(MessageId, Part, Part)>,
    fsync: Histogram,
}

impl Writer {
    pub fn new(segments: Arc<Segments>, index: Arc<Index>, fsync: Histogram) -> Self {
        Self {
            segments,
            index,
            current: None,
            open: HashMap::new(),
            buffer: Vec::new(),
            finished: Vec::new(),
            moved: Vec::new(),
            fsync,
        }
    }

    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            self.take(job);
            for _ in 1..JOBS_PER_SYNC {
                match jobs.try_recv() {
                    Ok(job) => self.take(job),
                    Err(_) => break,
                }
            }
            if self.finished.is_empty() && self.moved.is_empty() {
                // Nobody waits for what is buffered: it is written with what comes next.
                continue;
            }
            self.write_buffer();
            self.sync();
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append(id, data, _room) => self.append(id, &data),
            Job::Finish {
                from,
                id,
                old_copy,
                done,
            } => {
                let mut open = self.open.remove(&from).unwrap_or_default();
                open.body.crc32c = Some(open.crc32c);
                self.finished.push((id, old_copy, open, done));
            }
            Job::Abort(id) => {
                // Its bytes are dead space until their segment goes.
                if let Some(open) = self.open.remove(&id) {
                    self.segments.free(&open.body.parts);
                }
            }
            Job::Move(id, from, data) => match self.write_part(id, 0, &data, Purpose::Compaction) {
                Ok(to) => self.moved.push((id, from, to)),
                Err(error) => tracing::warn!(%error, "no room to compact a body segment"),
            },
        }
    }

    fn append(&mut self, id: MessageId, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let number = self
            .open
            .get(&id)
            .map_or(0, |open| open.body.parts.len() as u32);
        let written = self.write_part(id, number, data, Purpose::Intake);
        let open = self.open.entry(id).or_default();
        match written {
            Ok(part) => {
                open.crc32c = crc32c::crc32c_append(open.crc32c, data);
                open.bytes += u64::from(part.bytes);
                open.body.parts.push(part);
            }
            Err(error) => open.failed = Some(error.to_string()),
        }
    }

    /// Puts a part into the buffer and says where it will be. Its segment is in use from now on.
    fn write_part(
        &mut self,
        id: MessageId,
        number: u32,
        data: &[u8],
        purpose: Purpose,
    ) -> io::Result<Part> {
        let (segment, offset) = self.make_room((HEADER_BYTES + data.len()) as u64, purpose)?;
        let part = Part {
            segment,
            offset: offset + HEADER_BYTES as u64,
            bytes: u32::try_from(data.len()).expect("a part is at most 1 MiB"),
            crc32c: crc32c::crc32c(data),
        };
        self.buffer.extend_from_slice(&header(id, number, &part));
        self.buffer.extend_from_slice(data);
        self.segments.add_live(&part);
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer();
        }
        Ok(part)
    }

    /// The place of the next record: segment and offset, counting what is in the buffer.
    fn make_room(&mut self, record: u64, purpose: Purpose) -> io::Result<(u64, u64)> {
        let is_full = |current: &Current, buffered: usize| {
            let end = current.end + buffered as u64;
            end > 0 && end + record > self.segments.bytes
        };
        if self
            .current
            .as_ref()
            .is_some_and(|current| is_full(current, self.buffer.len()))
        {
            self.write_buffer();
            self.sync();
            if let Some(full) = self.current.take() {
                self.segments.seal(full.number);
            }
        }
        if self.current.is_none() {
            self.current = Some(self.segments.create(purpose)?);
        }
        let current = self.current.as_ref().expect("made above");
        Ok((current.number, current.end + self.buffer.len() as u64))
    }

    fn write_buffer(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let current = self
            .current
            .as_mut()
            .expect("bytes are only buffered for a segment");
        if let Err(error) = current.file.write_all_at(&self.buffer, current.end) {
            // The space was claimed when the segment was made, so this is no full disk.
            disk_failed("writing a body segment", &error);
        }
        current.end += self.buffer.len() as u64;
        self.buffer.clear();
    }

    /// Makes all finished bodies durable and answers.
    fn sync(&mut self) {
        if self.finished.is_empty() && self.moved.is_empty() {
            return;
        }
        if let Some(current) = &self.current {
            let began = Instant::now();
            if let Err(error) = sync_data(&current.file) {
                disk_failed("fsync of a body segment", &error);
            }
            self.fsync.observe(began.elapsed().as_secs_f64());
        }
        fail::fail_point!("body-after-fsync");
        let (mut replaced, mut new) = (Vec::new(), Vec::new());
        for (number, (id, old_copy, open, _)) in self.finished.iter_mut().enumerate() {
            if open.failed.is_some() {
                continue;
            }
            let before = self.index.get(*id);
            let is_same = before
                .as_ref()
                .is_some_and(|before| before.info() == open.body.info());
            if *old_copy == OldCopy::KeptIfSame && is_same {
                replaced.append(&mut open.body.parts);
            } else {
                replaced.extend(before.unwrap_or_default().parts);
                new.push(number);
            }
        }
        let new = new.into_iter().map(|number| &self.finished[number]);
        self.index
            .put_all(new.map(|(id, _, open, _)| (*id, &open.body)));
        self.segments.free(&replaced);
        for (id, from, to) in self.moved.drain(..) {
            let left = if self.index.replace(id, &from, &to) {
                from
            } else {
                to
            };
            self.segments.free(&[left]);
        }
        for (_, _, open, done) in self.finished.drain(..) {
            let result = match open.failed {
                None => Ok(BodyInfo {
                    bytes: open.bytes,
                    crc32c: open.crc32c,
                }),
                Some(error) => {
                    self.segments.free(&open.body.parts);
                    Err(BodyError::Write(error))
                }
            };
            // A caller that is gone left an orphan, which the sweep finds.
            let _ = done.send(result);
        }
    }
}

fn sync_data(file: &File) -> io::Result<()> {
    fail::fail_point!("body-fsync", |_| Err(io::Error::other("injected")));
    file.sync_data()
}

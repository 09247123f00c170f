//! The thread that writes bodies.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use skein_model::MessageId;
use tokio::sync::{mpsc, oneshot};

use super::index::{Body, Index, Part};
use super::segment::{Current, SEGMENT_BYTES, Segments};
use super::{BodyError, BodyInfo};
use crate::db::disk_failed;

/// In front of each part, so that a segment can be read without the index: magic, body id, number, length, crc32c.
const HEADER_BYTES: usize = 4 + 16 + 4 + 4 + 4;
const MAGIC: &[u8; 4] = b"SKb1";
/// Jobs that one fsync serves at most, so that its waiters are answered in bounded time.
const JOBS_PER_SYNC: usize = 4096;
/// Bytes gathered before they are written in one call.
const WRITE_BYTES: usize = 1 << 20;

pub enum Job {
    Append(MessageId, Bytes),
    Finish(MessageId, Finished),
    Abort(MessageId),
}

type Finished = oneshot::Sender<Result<BodyInfo, BodyError>>;

/// A body whose end has not come. Their number is bounded by the intake's connections.
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
    finished: Vec<(MessageId, Open, Finished)>,
}

impl Writer {
    pub fn new(segments: Arc<Segments>, index: Arc<Index>) -> Self {
        Self {
            segments,
            index,
            current: None,
            open: HashMap::new(),
            buffer: Vec::new(),
            finished: Vec::new(),
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
            self.write_buffer();
            self.sync();
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append(id, data) => self.append(id, &data),
            Job::Finish(id, done) => {
                let body = self.open.remove(&id).unwrap_or_default();
                self.finished.push((id, body, done));
            }
            Job::Abort(id) => {
                // What was written of it is dead space until its segment goes.
                self.open.remove(&id);
            }
        }
    }

    fn append(&mut self, id: MessageId, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let record = (HEADER_BYTES + data.len()) as u64;
        let position = match self.make_room(record) {
            Ok(position) => position,
            Err(error) => {
                self.open.entry(id).or_default().failed = Some(error.to_string());
                return;
            }
        };
        let crc = crc32c::crc32c(data);
        let open = self.open.entry(id).or_default();
        let number = open.body.parts.len() as u32;
        let bytes = u32::try_from(data.len()).expect("a part is at most 1 MiB");
        for field in [
            &MAGIC[..],
            &id.0,
            &number.to_be_bytes(),
            &bytes.to_be_bytes(),
            &crc.to_be_bytes(),
            data,
        ] {
            self.buffer.extend_from_slice(field);
        }
        let (segment, offset) = position;
        open.body.parts.push(Part {
            segment,
            offset: offset + HEADER_BYTES as u64,
            bytes,
            crc32c: crc,
        });
        open.crc32c = if number == 0 {
            crc
        } else {
            crc32c::crc32c_combine(open.crc32c, crc, data.len())
        };
        open.bytes += u64::from(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer();
        }
    }

    /// The place of the next record: segment and offset, counting what is in the buffer.
    fn make_room(&mut self, record: u64) -> std::io::Result<(u64, u64)> {
        let is_full = |current: &Current, buffered: usize| {
            let end = current.end + buffered as u64;
            end > 0 && end + record > SEGMENT_BYTES
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
            self.current = Some(self.segments.create()?);
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
        if self.finished.is_empty() {
            return;
        }
        if let Some(current) = &self.current
            && let Err(error) = current.file.sync_data()
        {
            disk_failed("fsync of a body segment", &error);
        }
        fail::fail_point!("body-after-fsync");
        let whole = self
            .finished
            .iter()
            .filter(|(_, open, _)| open.failed.is_none());
        for (_, open, _) in whole.clone() {
            self.segments.add_live(&open.body.parts);
        }
        self.index
            .put_all(whole.map(|(id, open, _)| (*id, &open.body)));
        for (_, open, done) in self.finished.drain(..) {
            let result = match open.failed {
                None => Ok(BodyInfo {
                    bytes: open.bytes,
                    crc32c: open.crc32c,
                }),
                Some(error) => Err(BodyError::Write(error)),
            };
            // A caller that is gone left an orphan, which the sweep finds.
            let _ = done.send(result);
        }
    }
}

//! Gives disk back that finished messages hold, by moving what is still needed out of sparse segments.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::BodyError;
use super::index::Index;
use super::segment::Segments;
use super::writer::Job;

/// Time between looks for a sparse segment.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes moved before a rest, and the rest: about 10 MB/s, which leaves a disk to its intake.
const BURST_BYTES: u64 = 1 << 20;
const REST: Duration = Duration::from_millis(100);

pub fn start(
    jobs: mpsc::WeakSender<Job>,
    segments: Arc<Segments>,
    index: Arc<Index>,
) -> io::Result<()> {
    skein_runtime::thread("body-compact", move || {
        // Segments that cannot be emptied, because something in them is damaged: tried once in a process's life.
        let mut stuck = HashSet::new();
        loop {
            std::thread::sleep(LOOK);
            let Some(jobs) = jobs.upgrade() else {
                // The last handle of the bodies was dropped.
                return true;
            };
            if let Some(number) = segments.sparse(&stuck)
                && let Err(error) = empty(number, &jobs, &segments, &index)
            {
                tracing::warn!(segment = number, %error, "a body segment cannot be compacted");
                stuck.insert(number);
            }
        }
    })
}

/// Has the writer copy what is in use of a segment, which goes when the last copy is in the index.
///
/// A part that does not match its checksum ends this: it stays where it is, to be found and reported when it is read.
pub(super) fn empty(
    number: u64,
    jobs: &mpsc::Sender<Job>,
    segments: &Segments,
    index: &Index,
) -> Result<(), BodyError> {
    let mut moved = 0;
    for (id, part) in segments.parts(number)? {
        if !index.get(id).is_some_and(|body| body.parts.contains(&part)) {
            continue;
        }
        let data = segments.read(&part)?;
        moved += data.len() as u64;
        if jobs.blocking_send(Job::Move(id, part, data)).is_err() {
            return Err(BodyError::Stopped);
        }
        if moved >= BURST_BYTES {
            moved = 0;
            std::thread::sleep(REST);
        }
    }
    Ok(())
}

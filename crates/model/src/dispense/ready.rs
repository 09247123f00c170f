//! What could go out and does not.

use super::away::Pass;
use super::{Dispenser, Wait};
use crate::rows::ReadRows;
use crate::time::UnixMs;

/// Queues whose rows are read for one answer, while nothing else goes out: some milliseconds.
const QUEUES_MAX: usize = 10_000;

impl Dispenser {
    /// When the first task came due of those that no operator, limit or silent host holds back, and that only wait for a
    /// session to ask for them.
    pub fn ready_since(&self, rows: &(impl ReadRows + ?Sized), now: UnixMs) -> Option<UnixMs> {
        if !self.absent.is_empty() {
            return None;
        }
        let ready = self.queues.iter().filter(|(_, head)| {
            let has_turn = match head.wait {
                Wait::Turn => true,
                Wait::Until(due) => due <= now,
                Wait::Returns | Wait::Room | Wait::Idle => false,
            };
            let is_there = self.absences.pass(head.queue.site_path(), now) == Pass::All;
            has_turn && head.closed_until <= now && is_there
        });
        let due = ready.take(QUEUES_MAX).filter_map(|(id, head)| {
            let found = self.find(rows, now, *id, head.cursor, 0, None);
            let (due, _) = found.first().filter(|(due, _)| *due <= now)?;
            let is_held = self.suspended_until(rows, now, *id).is_some();
            (!is_held).then_some(*due)
        });
        due.min()
    }
}

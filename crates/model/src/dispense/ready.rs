//! What could go out and does not.

use std::collections::BTreeMap;

use super::away::Pass;
use super::{Dispenser, Head, Place, Wait};
use crate::id::QueueId;
use crate::rows::ReadRows;
use crate::time::UnixMs;

/// Queues whose rows are read for one answer, while nothing else goes out: some milliseconds.
const QUEUES_MAX: usize = 10_000;

/// A queue that may have due tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Of the tasks before this place, nearly all are out at senders.
    pub from: Place,
    /// No limit and no silent host holds its tasks back.
    pub may_go: bool,
}

pub type Standings = BTreeMap<QueueId, Standing>;

impl Dispenser {
    /// The queues that may have due tasks, at most 10,000 of them: those whose rows a look at what is overdue is to read.
    #[expect(clippy::iter_over_hash_type, reason = "the queues end up in order")]
    pub fn standings(&self, now: UnixMs) -> Standings {
        let mut standings = Standings::new();
        for (id, head) in &self.queues {
            let is_held = head.closed_until > now || self.suspended.contains(id);
            let may_be_due = match head.wait {
                Wait::Turn | Wait::Returns | Wait::Room => true,
                Wait::Until(due) => due <= now || is_held,
                Wait::Idle => false,
            };
            if may_be_due && standings.len() < QUEUES_MAX {
                let standing = Standing {
                    from: head.cursor,
                    may_go: self.absent.is_empty() && self.may_go(head, now),
                };
                standings.insert(*id, standing);
            }
        }
        standings
    }

    /// Whether a queue only waits for a session to ask for its tasks.
    fn may_go(&self, head: &Head, now: UnixMs) -> bool {
        let has_turn = match head.wait {
            Wait::Turn => true,
            Wait::Until(due) => due <= now,
            Wait::Returns | Wait::Room | Wait::Idle => false,
        };
        let is_there = self.absences.pass(head.queue.site_path(), now) == Pass::All;
        has_turn && head.closed_until <= now && is_there
    }

    /// When the first task came due of those that no operator, limit or silent host holds back, and that only wait for a
    /// session to ask for them.
    pub fn ready_since(&self, rows: &(impl ReadRows + ?Sized), now: UnixMs) -> Option<UnixMs> {
        if !self.absent.is_empty() {
            return None;
        }
        let ready = self.queues.iter();
        let ready = ready.filter(|(_, head)| self.may_go(head, now));
        let due = ready.take(QUEUES_MAX).filter_map(|(id, head)| {
            let found = self.find(rows, now, *id, head.cursor, 0, None);
            let (due, _) = found.first().filter(|(due, _)| *due <= now)?;
            let is_held = self.suspended_until(rows, now, *id).is_some();
            (!is_held).then_some(*due)
        });
        due.min()
    }
}

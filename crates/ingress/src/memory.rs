//! One budget for the bytes of messages that a process holds on their way in.
//!
//! A session takes its share before it reads on, so that a client which is faster than the disks is held back by TCP. The
//! share travels with the bytes, and comes back when the last queue has let go of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// While disks are merely behind, a share comes back within this time. After it the client is better off elsewhere.
pub const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Memory {
    free: Arc<Semaphore>,
    patience: Duration,
    used: Gauge,
}

/// Part of the budget.
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
    used: Gauge,
}

impl Memory {
    /// `used` shows how much is taken.
    pub fn new(bytes: usize, patience: Duration, used: Gauge) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            patience,
            used,
        }
    }

    /// A share that others are added to.
    pub fn nothing(&self) -> Share {
        let permit = self.free.clone().try_acquire_many_owned(0);
        self.share(permit.expect("nothing is always there"))
    }

    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        let permit = self.free.clone().try_acquire_many_owned(count(bytes));
        permit.ok().map(|permit| self.share(permit))
    }

    /// Waits for others to give back; none if they do not.
    pub async fn take(&self, bytes: usize) -> Option<Share> {
        let taking = self.free.clone().acquire_many_owned(count(bytes));
        let permit = tokio::time::timeout(self.patience, taking).await.ok()?;
        Some(self.share(permit.expect("it is never closed")))
    }

    fn share(&self, permit: OwnedSemaphorePermit) -> Share {
        self.used.inc_by(signed(permit.num_permits()));
        Share {
            permit,
            used: self.used.clone(),
        }
    }
}

fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Share {
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    pub fn add(&mut self, mut other: Share) {
        // Both go on as one, so `other` has nothing to give back.
        if let Some(all) = other.permit.split(other.bytes()) {
            self.permit.merge(all);
        }
    }

    /// Wraps bytes, for which up to their number is taken from this share.
    pub fn over(&mut self, data: Vec<u8>) -> Bytes {
        let bytes = data.len().min(self.bytes());
        let share = self.permit.split(bytes).map(|permit| Share {
            permit,
            used: self.used.clone(),
        });
        Bytes::from_owner(Held {
            data,
            _share: share,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.dec_by(signed(self.bytes()));
    }
}

struct Held {
    data: Vec<u8>,
    _share: Option<Share>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_share_comes_back_with_the_last_of_its_bytes() {
        let memory = Memory::new(100, Duration::from_millis(1), Gauge::default());
        let mut share = memory.try_take(60).unwrap();
        share.add(memory.take(40).await.unwrap());
        assert_eq!((share.bytes(), memory.used.get()), (100, 100));
        assert!(memory.try_take(1).is_none());
        assert!(memory.take(1).await.is_none(), "nobody gives any back");

        let bytes = share.over(vec![7; 30]);
        let (head, tail) = (bytes.slice(..10), bytes.slice(10..));
        drop((bytes, head));
        assert_eq!((share.bytes(), memory.used.get()), (70, 100));
        assert!(memory.try_take(1).is_none());
        drop(tail);
        assert_eq!(memory.used.get(), 70);
        assert!(memory.try_take(30).is_some());
        let more_than_its_share = share.over(vec![7; 80]);
        assert_eq!((share.bytes(), more_than_its_share.len()), (0, 80));
        drop((share, more_than_its_share));
        assert_eq!(
            (memory.used.get(), memory.try_take(100).is_some()),
            (0, true)
        );
    }

    #[tokio::test]
    async fn who_waits_is_served_in_order() {
        let memory = Memory::new(10, PATIENCE, Gauge::default());
        let all = memory.try_take(10).unwrap();
        let (first, second) = (memory.take(10), memory.take(1));
        tokio::pin!(first, second);
        assert!(
            futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending()
        );
        drop(all);
        let first = first.await.unwrap();
        assert!(
            futures::poll!(&mut second).is_pending(),
            "a small one does not pass"
        );
        drop(first);
        assert!(second.await.is_some());
    }
}

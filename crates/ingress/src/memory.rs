//! One budget for the bytes of messages that a process holds on their way in, and for what sessions hold beside.
//!
//! A session takes its share before it reads on, so that a client which is faster than the disks is held back by TCP. The
//! share travels with the bytes, and comes back when the last queue has let go of them. [`crate::shares`] decides how
//! much each may have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::shares::{Account, HolderId, Shares, WaiterId};

/// While disks are merely behind, a share comes back within this time. After it the client is better off elsewhere.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Memory that does not come back by itself this soon is taken back from slow sessions; and again each time.
const TAKE_BACK_AFTER: Duration = Duration::from_millis(100);
/// One look at all sessions is for all who wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
pub struct Memory {
    inner: Arc<Inner>,
    patience: Duration,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    used: Gauge,
    state: Mutex<Budget>,
}

#[derive(Debug)]
struct Budget {
    shares: Shares,
    taken_back: HashMap<HolderId, CancellationToken>,
    waiting: HashMap<WaiterId, oneshot::Sender<Share>>,
    looked_at: Option<Duration>,
}

/// The part of a session in the budget.
#[derive(Debug)]
pub struct Holder {
    memory: Memory,
    id: HolderId,
    taken_back: CancellationToken,
}

/// Part of the budget.
#[derive(Debug)]
pub struct Share {
    inner: Arc<Inner>,
    holder: HolderId,
    bytes: usize,
}

impl Memory {
    /// `used` shows how much is taken.
    pub fn new(bytes: usize, patience: Duration, used: Gauge) -> Self {
        let state = Budget {
            shares: Shares::new(bytes),
            taken_back: HashMap::new(),
            waiting: HashMap::new(),
            looked_at: None,
        };
        let inner = Inner {
            began: Instant::now(),
            used,
            state: Mutex::new(state),
        };
        Self {
            inner: Arc::new(inner),
            patience,
        }
    }

    /// From here on. What is taken beyond it comes back as its sessions let go of it.
    pub fn set_total(&self, bytes: usize) {
        let mut unheard = Vec::new();
        let mut state = self.inner.state.lock();
        state.shares.set_total(bytes);
        self.inner.grant(&mut state, &mut unheard);
        drop(state);
        // See [`Inner::give_back`].
        drop(unheard);
    }

    pub fn open(&self, account: Account) -> Holder {
        let taken_back = CancellationToken::new();
        let mut state = self.inner.state.lock();
        let id = state.shares.open(account, self.inner.now());
        state.taken_back.insert(id, taken_back.clone());
        drop(state);
        Holder {
            memory: self.clone(),
            id,
            taken_back,
        }
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn show(&self, state: &Budget) {
        self.used
            .set(i64::try_from(state.shares.used()).unwrap_or(i64::MAX));
    }

    /// Takes bytes back and gives them to those who wait.
    fn give_back(self: &Arc<Self>, holder: HolderId, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut unheard = Vec::new();
        let mut state = self.state.lock();
        state.shares.give_back(holder, bytes);
        self.grant(&mut state, &mut unheard);
        drop(state);
        // The share of a session that no longer waits comes back here, beyond the lock.
        drop(unheard);
    }

    fn grant(self: &Arc<Self>, state: &mut Budget, unheard: &mut Vec<Share>) {
        for (waiter, holder, bytes) in state.shares.grant() {
            let share = Share {
                inner: self.clone(),
                holder,
                bytes,
            };
            match state.waiting.remove(&waiter) {
                Some(waiting) => unheard.extend(waiting.send(share).err()),
                None => unheard.push(share),
            }
        }
        self.show(state);
    }
}

impl Holder {
    /// Cancelled when the session is to let go of what it holds.
    pub fn taken_back(&self) -> &CancellationToken {
        &self.taken_back
    }

    pub fn set_tenant(&self, tenant: Option<Arc<str>>) {
        self.memory
            .inner
            .state
            .lock()
            .shares
            .set_tenant(self.id, tenant);
    }

    /// Octets came from the client.
    pub fn moved(&self, bytes: usize) {
        let inner = &self.memory.inner;
        inner.state.lock().shares.moved(self.id, bytes, inner.now());
    }

    pub fn waits_for_client(&self, waits: bool) {
        let mut state = self.memory.inner.state.lock();
        state.shares.waits_for_client(self.id, waits);
    }

    fn share(&self, bytes: usize) -> Share {
        Share {
            inner: self.memory.inner.clone(),
            holder: self.id,
            bytes,
        }
    }

    /// A share that others are added to.
    pub fn nothing(&self) -> Share {
        self.share(0)
    }

    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        let mut state = self.memory.inner.state.lock();
        let taken = state.shares.try_take(self.id, bytes);
        self.memory.inner.show(&state);
        drop(state);
        taken.then(|| self.share(bytes))
    }

    /// Waits for others to give back, and takes from the slow; none if that does not help.
    pub async fn take(&self, bytes: usize) -> Option<Share> {
        if let Some(share) = self.try_take(bytes) {
            return Some(share);
        }
        let inner = &self.memory.inner;
        let (granted, mut share) = oneshot::channel();
        let waiting = {
            let mut unheard = Vec::new();
            let mut state = inner.state.lock();
            let id = state.shares.wait(self.id, bytes);
            state.waiting.insert(id, granted);
            inner.grant(&mut state, &mut unheard);
            drop(state);
            Waiting { inner, id }
        };
        let until = tokio::time::Instant::now() + self.memory.patience;
        loop {
            let wait = tokio::time::sleep(TAKE_BACK_AFTER.min(self.memory.patience));
            tokio::select! {
                share = &mut share => return share.ok(),
                () = self.taken_back.cancelled() => return None,
                () = wait => waiting.take_back(),
            }
            if tokio::time::Instant::now() >= until {
                return share.try_recv().ok();
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut state = self.memory.inner.state.lock();
        state.taken_back.remove(&self.id);
        state.shares.close(self.id);
    }
}

/// A session's place among those that wait.
struct Waiting<'i> {
    inner: &'i Arc<Inner>,
    id: WaiterId,
}

impl Waiting<'_> {
    fn take_back(&self) {
        let now = self.inner.now();
        let mut state = self.inner.state.lock();
        if state.looked_at.is_some_and(|at| now < at + LOOK_AGAIN) {
            return;
        }
        state.looked_at = Some(now);
        for holder in state.shares.victims(now) {
            if let Some(taken_back) = state.taken_back.get(&holder) {
                taken_back.cancel();
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut unheard = Vec::new();
        let mut state = self.inner.state.lock();
        state.shares.stop_waiting(self.id);
        state.waiting.remove(&self.id);
        // It may have been all that others waited behind.
        self.inner.grant(&mut state, &mut unheard);
        drop(state);
    }
}

impl Share {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn add(&mut self, mut other: Share) {
        // Both go on as one, so `other` has nothing to give back.
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what is beyond this.
    pub fn shrink_to(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        self.bytes -= spare;
        self.inner.give_back(self.holder, spare);
    }

    /// Wraps bytes, for which up to their number is taken from this share.
    pub fn over(&mut self, data: Vec<u8>) -> Bytes {
        let bytes = data.len().min(self.bytes);
        self.bytes -= bytes;
        let share = Share {
            inner: self.inner.clone(),
            holder: self.holder,
            bytes,
        };
        Bytes::from_owner(AccountedBytes {
            data,
            _share: share,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.inner.give_back(self.holder, self.bytes);
    }
}

struct AccountedBytes {
    data: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for AccountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::network::client_of;

    fn account(client: &str) -> Account {
        Account {
            tenant: Some("t".into()),
            client: client_of(client.parse().unwrap()),
        }
    }

    fn memory(bytes: usize, patience: Duration) -> (Memory, Holder) {
        let memory = Memory::new(bytes, patience, Gauge::default());
        let holder = memory.open(account("192.0.2.1"));
        (memory, holder)
    }

    #[tokio::test]
    async fn a_share_comes_back_with_the_last_of_its_bytes() {
        let (memory, holder) = memory(800, Duration::from_millis(1));
        let used = || memory.inner.used.get();
        let mut share = holder.try_take(600).unwrap();
        share.add(holder.take(100).await.unwrap());
        assert_eq!((share.bytes(), used()), (700, 700));
        assert!(holder.try_take(1).is_none(), "the rest is for others");
        assert!(holder.take(1).await.is_none(), "nobody gives any back");

        let bytes = share.over(vec![7; 300]);
        let (head, tail) = (bytes.slice(..10), bytes.slice(10..));
        drop((bytes, head));
        assert_eq!((share.bytes(), used()), (400, 700));
        assert!(holder.try_take(1).is_none());
        drop(tail);
        assert_eq!(used(), 400);
        assert!(holder.try_take(300).is_some());
        let more_than_its_share = share.over(vec![7; 800]);
        assert_eq!((share.bytes(), more_than_its_share.len()), (0, 800));
        drop((share, holder));
        assert_eq!(used(), 400, "it counts until the queue has let go of it");
        drop(more_than_its_share);
        assert_eq!(used(), 0);
        assert!(memory.inner.state.lock().taken_back.is_empty());
    }

    #[tokio::test]
    async fn another_total_holds_at_once_and_takes_nothing_from_who_has_more() {
        let (memory, holder) = memory(800, Duration::from_secs(60));
        let held = holder.try_take(600).unwrap();
        memory.set_total(400);
        assert_eq!(memory.inner.used.get(), 600);
        assert!(holder.try_take(1).is_none());
        let other = memory.open(account("192.0.2.2"));
        let taking = other.take(300);
        tokio::pin!(taking);
        assert!(futures::poll!(&mut taking).is_pending());
        memory.set_total(1600);
        assert_eq!(taking.await.unwrap().bytes(), 300, "at once");
        drop(held);
    }

    #[tokio::test]
    async fn who_waits_is_served_in_order() {
        let (memory, holder) = memory(1000, PATIENCE);
        let all = holder.try_take(875).unwrap();
        let (other, third) = (
            memory.open(account("192.0.2.2")),
            memory.open(account("192.0.2.3")),
        );
        let begun = (other.try_take(100).unwrap(), third.try_take(20).unwrap());
        let (first, second) = (other.take(100), third.take(10));
        tokio::pin!(first, second);
        assert!(
            futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending()
        );
        drop(all);
        assert!(first.await.is_some() && second.await.is_some());
        drop(begun);
    }

    #[tokio::test]
    async fn what_a_slow_session_holds_is_taken_back_for_one_that_waits() {
        let (memory, hog) = memory(1000, PATIENCE);
        let held = hog.try_take(875).unwrap();
        let other = memory.open(account("192.0.2.2"));
        let begun = other.try_take(125).unwrap();
        // The clock of shares is the system's.
        std::thread::sleep(Duration::from_millis(600));
        let taking = other.take(50);
        let letting_go = async {
            hog.taken_back().cancelled().await;
            drop(held);
        };
        let (share, ()) = tokio::join!(taking, letting_go);
        assert_eq!(share.unwrap().bytes(), 50);
        drop(begun);
        assert!(!other.taken_back().is_cancelled());
    }
}

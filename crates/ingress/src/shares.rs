//! Who may take how much of the memory for mail on its way in. Pure: time is an argument.
//!
//! The problem: whoever comes first takes all of it and keeps it, with envelopes and headers that do not go on. So part of it
//! is only for those who hold little; while somebody waits, nobody gets more than a quarter; and what is needed is taken back
//! from sessions that wait for their clients, of whoever holds more than the one that waits, the slowest first. Between
//! tenants first, then between the clients of one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

/// The last eighth is for clients that hold less than a sixty-fourth: mail of others goes on at once, whoever has the rest.
const RESERVE_PARTS: usize = 8;
const SMALL_PARTS: usize = 64;
/// What a tenant or client holds at most while others wait.
const SHARE_PARTS: usize = 4;
/// A session moves while so many octets come within the time below.
const MOVE_BYTES: usize = 4 << 10;
/// A client that is merely far away sends again within this time.
const STALLED: Duration = Duration::from_millis(500);

/// Whose mail it is and where it comes from. Who may not send has no tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    pub tenant: Option<Arc<str>>,
    pub client: IpNet,
}

pub type HolderId = u64;
pub type WaiterId = u64;

#[derive(Debug)]
struct Holder {
    account: Account,
    bytes: usize,
    moved_at: Duration,
    /// Octets that came since.
    moved_bytes: usize,
    waits_for_client: bool,
    is_open: bool,
}

#[derive(Debug)]
struct Waiter {
    id: WaiterId,
    holder: HolderId,
    bytes: usize,
}

#[derive(Debug)]
pub struct Shares {
    total: usize,
    used: usize,
    next: u64,
    holders: BTreeMap<HolderId, Holder>,
    by_tenant: HashMap<Option<Arc<str>>, usize>,
    by_account: HashMap<Account, usize>,
    waiting: VecDeque<Waiter>,
}

/// Why somebody does not get what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Short {
    /// There is no more.
    Total,
    /// It has its share.
    Share,
}

impl Shares {
    pub fn new(total: usize) -> Self {
        Self {
            total,
            used: 0,
            next: 0,
            holders: BTreeMap::new(),
            by_tenant: HashMap::new(),
            by_account: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    pub fn used(&self) -> usize {
        self.used
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A session begins.
    pub fn open(&mut self, account: Account, now: Duration) -> HolderId {
        let id = self.next_id();
        let holder = Holder {
            account,
            bytes: 0,
            moved_at: now,
            moved_bytes: 0,
            waits_for_client: true,
            is_open: true,
        };
        self.holders.insert(id, holder);
        id
    }

    /// The session is over. What queues still have of it counts for its account until it comes back.
    pub fn close(&mut self, id: HolderId) {
        self.waiting.retain(|waiter| waiter.holder != id);
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.is_open = false;
            if holder.bytes == 0 {
                self.holders.remove(&id);
            }
        }
    }

    /// From now on the session's mail, and what it holds, is of this tenant.
    pub fn set_tenant(&mut self, id: HolderId, tenant: Option<Arc<str>>) {
        let Some(holder) = self.holders.get(&id) else {
            return;
        };
        if holder.account.tenant == tenant {
            return;
        }
        let bytes = holder.bytes;
        self.count(id, bytes, false);
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.account.tenant = tenant;
        }
        self.count(id, bytes, true);
    }

    /// Octets came from the client.
    pub fn moved(&mut self, id: HolderId, bytes: usize, now: Duration) {
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.moved_bytes += bytes;
            if holder.moved_bytes >= MOVE_BYTES {
                holder.moved_bytes = 0;
                holder.moved_at = now;
            }
        }
    }

    /// Whether nothing happens in the session until its client sends or reads.
    pub fn waits_for_client(&mut self, id: HolderId, waits: bool) {
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.waits_for_client = waits;
        }
    }

    /// Only those who hold little pass others who wait.
    pub fn try_take(&mut self, id: HolderId, bytes: usize) -> bool {
        let others_wait = self.waiting.iter().any(|waiter| waiter.holder != id);
        if others_wait && !self.is_small(id, bytes) || self.check(id, bytes, others_wait).is_err() {
            return false;
        }
        self.count(id, bytes, true);
        true
    }

    pub fn give_back(&mut self, id: HolderId, bytes: usize) {
        self.count(id, bytes, false);
        let over = |holder: &Holder| holder.bytes == 0 && !holder.is_open;
        if self.holders.get(&id).is_some_and(over) {
            self.holders.remove(&id);
        }
    }

    pub fn wait(&mut self, holder: HolderId, bytes: usize) -> WaiterId {
        let id = self.next_id();
        self.waiting.push_back(Waiter { id, holder, bytes });
        id
    }

    pub fn stop_waiting(&mut self, id: WaiterId) {
        self.waiting.retain(|waiter| waiter.id != id);
    }

    /// Gives those who wait, in their order, what they may have. Who has its share is passed over, unless only such wait; who
    /// needs more than there is is not, or small requests would keep a large one waiting for ever.
    pub fn grant(&mut self) -> Vec<(WaiterId, HolderId, usize)> {
        let mut granted = self.grant_within(true);
        let within = |waiter: &Waiter| self.check(waiter.holder, waiter.bytes, true);
        let only_over = self
            .waiting
            .iter()
            .all(|waiter| within(waiter) == Err(Short::Share));
        if only_over {
            granted.extend(self.grant_within(false));
        }
        granted
    }

    fn grant_within(&mut self, others_wait: bool) -> Vec<(WaiterId, HolderId, usize)> {
        let (mut granted, mut kept) = (Vec::new(), VecDeque::new());
        let mut waiting = std::mem::take(&mut self.waiting);
        while let Some(waiter) = waiting.pop_front() {
            match self.check(waiter.holder, waiter.bytes, others_wait) {
                Ok(()) => {
                    self.count(waiter.holder, waiter.bytes, true);
                    granted.push((waiter.id, waiter.holder, waiter.bytes));
                }
                Err(Short::Share) => kept.push_back(waiter),
                Err(Short::Total) => {
                    kept.push_back(waiter);
                    kept.append(&mut waiting);
                }
            }
        }
        self.waiting = kept;
        granted
    }

    /// Sessions whose memory is to be taken back for one that waits.
    pub fn victims(&self, waiter: WaiterId, now: Duration) -> Vec<HolderId> {
        let Some(waiter) = self.waiting.iter().find(|other| other.id == waiter) else {
            return Vec::new();
        };
        let Some(own) = self.holders.get(&waiter.holder) else {
            return Vec::new();
        };
        let mut slow: Vec<(&HolderId, &Holder)> = self
            .holders
            .iter()
            .filter(|(_, holder)| {
                let stalled = now.saturating_sub(holder.moved_at) >= STALLED;
                let has_more = self.has_more(&holder.account, &own.account, waiter.bytes);
                holder.bytes > 0 && holder.waits_for_client && stalled && has_more
            })
            .collect();
        slow.sort_by_key(|(_, holder)| {
            let most = self.by_account.get(&holder.account).copied();
            (std::cmp::Reverse(most), holder.moved_at)
        });
        let mut freed = 0;
        let enough = |holder: &&(&HolderId, &Holder)| {
            let needed = freed < waiter.bytes;
            freed += holder.1.bytes;
            needed
        };
        slow.iter().take_while(enough).map(|(id, _)| **id).collect()
    }

    /// Whether `other` holds more than `own` would with so many bytes, as tenants or within one.
    fn has_more(&self, other: &Account, own: &Account, bytes: usize) -> bool {
        let of_tenant = |account: &Account| self.by_tenant.get(&account.tenant).copied();
        let of_account = |account: &Account| self.by_account.get(account).copied();
        let more =
            |of: &dyn Fn(&Account) -> Option<usize>| of(other) > Some(of(own).unwrap_or(0) + bytes);
        if other.tenant == own.tenant {
            return other != own && more(&of_account);
        }
        more(&of_tenant)
    }

    fn is_small(&self, id: HolderId, bytes: usize) -> bool {
        let holder = self.holders.get(&id);
        let held = holder.and_then(|holder| self.by_account.get(&holder.account));
        held.copied().unwrap_or(0) + bytes <= self.total / SMALL_PARTS
    }

    fn check(&self, id: HolderId, bytes: usize, others_wait: bool) -> Result<(), Short> {
        let Some(holder) = self.holders.get(&id) else {
            return Err(Short::Share);
        };
        let of_client = self.by_account.get(&holder.account).copied().unwrap_or(0);
        let of_tenant = self
            .by_tenant
            .get(&holder.account.tenant)
            .copied()
            .unwrap_or(0);
        if self.used + bytes > self.total {
            return Err(Short::Total);
        }
        let is_reserve = self.used + bytes > self.total - self.total / RESERVE_PARTS;
        // Who holds nothing may begin, however small a part the reserve is.
        if is_reserve && of_client > 0 && !self.is_small(id, bytes) {
            return Err(Short::Share);
        }
        let share = self.total / SHARE_PARTS;
        let is_only_tenant = self.by_tenant.len() <= 1;
        let over = of_client + bytes > share || (of_tenant + bytes > share && !is_only_tenant);
        if others_wait && of_client > 0 && over {
            return Err(Short::Share);
        }
        Ok(())
    }

    fn count(&mut self, id: HolderId, bytes: usize, more: bool) {
        let Some(holder) = self.holders.get_mut(&id) else {
            return;
        };
        let account = holder.account.clone();
        let of_tenant = self.by_tenant.entry(account.tenant.clone()).or_default();
        let of_account = self.by_account.entry(account.clone()).or_default();
        for count in [&mut self.used, &mut holder.bytes, of_tenant, of_account] {
            *count = match more {
                true => *count + bytes,
                false => count.saturating_sub(bytes),
            };
        }
        if self.by_account.get(&account) == Some(&0) {
            self.by_account.remove(&account);
        }
        if self.by_tenant.get(&account.tenant) == Some(&0) {
            self.by_tenant.remove(&account.tenant);
        }
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;

//! How much of the memory each client and tenant may take for mail on its way in. Pure: time is an argument.
//!
//! The problem: the first sessions take all of it and keep it, with envelopes and headers that do not go on. So part of it is
//! only for accounts that hold little; while a session waits, no account gets more than a quarter; and memory is taken back
//! from sessions that wait for their clients, of accounts that hold more than the one that waits, the slowest first. Between
//! tenants first, then between the clients of one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use slab::Slab;

/// The last eighth is for clients that hold less than a sixty-fourth: their mail goes on at once, whichever accounts have the rest.
const RESERVE_PARTS: usize = 8;
const SMALL_PARTS: usize = 64;
/// What a tenant or client holds at most while others wait.
const SHARE_PARTS: usize = 4;
/// A session moves while so many octets come within the time below.
const MOVE_BYTES: usize = 4 << 10;
/// A client that is merely far away sends again within this time.
const STALLED: Duration = Duration::from_millis(500);

/// Of those who wait, the ones that hold least have memory taken back for them first, so many in one look.
const SERVED_AT_A_TIME: usize = 32;

/// The tenant that mail is of, and the client that it comes from. A client that may not send has no tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    pub tenant: Option<Arc<str>>,
    pub client: IpNet,
}

pub type HolderId = u64;
pub type WaiterId = u64;

#[derive(Debug)]
struct Holder {
    account: usize,
    bytes: usize,
    waits: usize,
    moved_at: Duration,
    /// Octets that came since.
    moved_bytes: usize,
    waits_for_client: bool,
    is_open: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    holder: HolderId,
    bytes: usize,
}

/// Of all sessions of one account together.
#[derive(Debug)]
struct AccountState {
    account: Account,
    tenant: usize,
    holders: usize,
    bytes: usize,
    waiting: BTreeSet<WaiterId>,
}

#[derive(Debug)]
struct TenantState {
    name: Option<Arc<str>>,
    accounts: usize,
    bytes: usize,
}

#[derive(Debug)]
pub struct Shares {
    total: usize,
    used: usize,
    next: u64,
    holders: BTreeMap<HolderId, Holder>,
    accounts: Slab<AccountState>,
    account_of: HashMap<Account, usize>,
    tenants: Slab<TenantState>,
    tenant_of: HashMap<Option<Arc<str>>, usize>,
    /// Tenants that hold something.
    holding: usize,
    waiting: BTreeMap<WaiterId, Waiter>,
    /// The first of each account that waits: thousands may wait, and each change looks only at these.
    heads: BTreeSet<WaiterId>,
}

/// Why a holder does not get the bytes that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Short {
    /// There is no more.
    Total,
    /// It has its share.
    Share,
}

/// The bytes of an account, and those of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Usage {
    account: usize,
    of_account: usize,
    tenant: usize,
    of_tenant: usize,
}

impl Usage {
    /// Whether it is more than `own` would be with so many bytes: as tenants, or within one.
    fn is_more_than(&self, own: &Self, bytes: usize) -> bool {
        match self.tenant == own.tenant {
            true => {
                self.account != own.account
                    && self.of_account > own.of_account.saturating_add(bytes)
            }
            false => self.of_tenant > own.of_tenant.saturating_add(bytes),
        }
    }
}

impl Shares {
    pub fn new(total: usize) -> Self {
        Self {
            total,
            used: 0,
            next: 0,
            holders: BTreeMap::new(),
            accounts: Slab::new(),
            account_of: HashMap::new(),
            tenants: Slab::new(),
            tenant_of: HashMap::new(),
            holding: 0,
            waiting: BTreeMap::new(),
            heads: BTreeSet::new(),
        }
    }

    pub fn set_total(&mut self, total: usize) {
        self.total = total;
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
            account: self.join(account),
            bytes: 0,
            waits: 0,
            moved_at: now,
            moved_bytes: 0,
            waits_for_client: true,
            is_open: true,
        };
        self.holders.insert(id, holder);
        id
    }

    /// The session is over. Bytes that queues still have of it count for its account until they come back.
    pub fn close(&mut self, id: HolderId) {
        self.stop_all(id);
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.is_open = false;
        }
        self.remove_if_over(id);
    }

    /// From now on the session's mail, and what it holds, is of this tenant.
    pub fn set_tenant(&mut self, id: HolderId, tenant: Option<Arc<str>>) {
        let Some(holder) = self.holders.get(&id) else {
            return;
        };
        let (before, bytes) = (holder.account, holder.bytes);
        let account = self.accounts[before].account.clone();
        if account.tenant == tenant {
            return;
        }
        let waits = self.stop_all(id);
        self.count(id, bytes, false);
        let after = self.join(Account { tenant, ..account });
        if let Some(holder) = self.holders.get_mut(&id) {
            holder.account = after;
        }
        self.leave(before);
        self.count(id, bytes, true);
        for (waiter, bytes) in waits {
            self.put_waiter(waiter, Waiter { holder: id, bytes });
        }
    }

    /// A holder's place in its account.
    fn join(&mut self, account: Account) -> usize {
        let known = self.account_of.get(&account).copied();
        let at = known.unwrap_or_else(|| {
            let name = account.tenant.clone();
            let known = self.tenant_of.get(&name).copied();
            let tenant = known.unwrap_or_else(|| {
                self.tenants.insert(TenantState {
                    name: name.clone(),
                    accounts: 0,
                    bytes: 0,
                })
            });
            self.tenants[tenant].accounts += 1;
            self.tenant_of.insert(name, tenant);
            let at = self.accounts.insert(AccountState {
                account: account.clone(),
                tenant,
                holders: 0,
                bytes: 0,
                waiting: BTreeSet::new(),
            });
            self.account_of.insert(account, at);
            at
        });
        self.accounts[at].holders += 1;
        at
    }

    fn leave(&mut self, at: usize) {
        self.accounts[at].holders -= 1;
        if self.accounts[at].holders > 0 {
            return;
        }
        let AccountState {
            account, tenant, ..
        } = self.accounts.remove(at);
        self.account_of.remove(&account);
        self.tenants[tenant].accounts -= 1;
        if self.tenants[tenant].accounts == 0 {
            let TenantState { name, .. } = self.tenants.remove(tenant);
            self.tenant_of.remove(&name);
        }
    }

    fn remove_if_over(&mut self, id: HolderId) {
        let over = |holder: &&Holder| holder.bytes == 0 && !holder.is_open;
        if let Some(account) = self.holders.get(&id).filter(over).map(|one| one.account) {
            self.holders.remove(&id);
            self.leave(account);
        }
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
        let own = self.holders.get(&id).map_or(0, |holder| holder.waits);
        let others_wait = self.waiting.len() > own;
        if others_wait && !self.is_small(id, bytes) || self.check(id, bytes, others_wait).is_err() {
            return false;
        }
        self.count(id, bytes, true);
        true
    }

    pub fn give_back(&mut self, id: HolderId, bytes: usize) {
        self.count(id, bytes, false);
        self.remove_if_over(id);
    }

    /// Waits for so many bytes, behind all of its account that wait already.
    pub fn wait(&mut self, holder: HolderId, bytes: usize) -> WaiterId {
        let id = self.next_id();
        self.put_waiter(id, Waiter { holder, bytes });
        id
    }

    fn put_waiter(&mut self, id: WaiterId, waiter: Waiter) {
        let Some(holder) = self.holders.get_mut(&waiter.holder) else {
            return;
        };
        holder.waits += 1;
        self.waiting.insert(id, waiter);
        let of_account = &mut self.accounts[holder.account].waiting;
        let head = of_account.first().copied();
        of_account.insert(id);
        if head.is_none_or(|head| id < head) {
            self.heads.insert(id);
            if let Some(head) = head {
                self.heads.remove(&head);
            }
        }
    }

    pub fn stop_waiting(&mut self, id: WaiterId) {
        let Some(waiter) = self.waiting.remove(&id) else {
            return;
        };
        let Some(holder) = self.holders.get_mut(&waiter.holder) else {
            return;
        };
        holder.waits -= 1;
        let of_account = &mut self.accounts[holder.account].waiting;
        of_account.remove(&id);
        if self.heads.remove(&id) {
            self.heads.extend(of_account.first());
        }
    }

    /// The waits of a holder, which are none any more.
    fn stop_all(&mut self, id: HolderId) -> Vec<(WaiterId, usize)> {
        let holder = self.holders.get(&id).filter(|holder| holder.waits > 0);
        let Some(account) = holder.map(|holder| holder.account) else {
            return Vec::new();
        };
        let all = self.accounts[account].waiting.iter();
        let all = all.filter_map(|waiter| Some((*waiter, *self.waiting.get(waiter)?)));
        let own = all.filter(|(_, waiter)| waiter.holder == id);
        let own: Vec<(WaiterId, usize)> = own.map(|(at, waiter)| (at, waiter.bytes)).collect();
        for (waiter, _) in &own {
            self.stop_waiting(*waiter);
        }
        own
    }

    /// Gives the waiters, in their order, what they may have. A waiter whose account has its share is passed over, unless only
    /// such wait; one that needs more than there is is not, or small requests would keep a large one waiting for ever.
    pub fn grant(&mut self) -> Vec<(WaiterId, HolderId, usize)> {
        let (mut granted, is_full) = self.grant_within(true);
        if !is_full && !self.heads.is_empty() {
            granted.extend(self.grant_within(false).0);
        }
        granted
    }

    /// Also whether there is no more for the first that has not its share.
    fn grant_within(&mut self, others_wait: bool) -> (Vec<(WaiterId, HolderId, usize)>, bool) {
        let (mut granted, mut last) = (Vec::new(), 0);
        while let Some(head) = self.heads.range(last + 1..).next().copied() {
            last = head;
            let Some(waiter) = self.waiting.get(&head).copied() else {
                continue;
            };
            match self.check(waiter.holder, waiter.bytes, others_wait) {
                Ok(()) => {
                    self.stop_waiting(head);
                    self.count(waiter.holder, waiter.bytes, true);
                    granted.push((head, waiter.holder, waiter.bytes));
                }
                Err(Short::Share) => {}
                Err(Short::Total) => return (granted, true),
            }
        }
        (granted, false)
    }

    /// Sessions whose memory is to be taken back for those who wait. One look at all sessions serves all of these, and is all
    /// that is ever needed at a time: looks of each for itself grow with the square of the sessions.
    pub fn victims(&self, now: Duration) -> Vec<HolderId> {
        let mut waiting: Vec<(usize, Usage)> = self
            .heads
            .iter()
            .filter_map(|head| self.waiting.get(head))
            .filter_map(|waiter| Some((waiter.bytes, self.usage(waiter.holder)?)))
            .collect();
        waiting.sort_by_key(|(_, own)| own.of_account);
        waiting.truncate(SERVED_AT_A_TIME);
        if waiting.is_empty() {
            return Vec::new();
        }
        let slow = self.holders.iter().filter(|(_, holder)| {
            let stalled = now.saturating_sub(holder.moved_at) >= STALLED;
            holder.bytes > 0 && holder.waits_for_client && stalled
        });
        let slow = slow.filter_map(|(id, holder)| Some((*id, holder, self.usage(*id)?)));
        let mut slow: Vec<(HolderId, &Holder, Usage)> = slow.collect();
        slow.sort_by_key(|(_, holder, usage)| {
            (std::cmp::Reverse(usage.of_account), holder.moved_at)
        });
        let mut victims = Vec::new();
        for (bytes, own) in waiting {
            let mut freed = 0;
            slow.retain(|(id, holder, usage)| {
                let is_taken = freed < bytes && usage.is_more_than(&own, bytes);
                if is_taken {
                    freed += holder.bytes;
                    victims.push(*id);
                }
                !is_taken
            });
        }
        victims
    }

    fn usage(&self, id: HolderId) -> Option<Usage> {
        let account = self.holders.get(&id)?.account;
        let AccountState { tenant, bytes, .. } = &self.accounts[account];
        Some(Usage {
            account,
            of_account: *bytes,
            tenant: *tenant,
            of_tenant: self.tenants[*tenant].bytes,
        })
    }

    fn is_small(&self, id: HolderId, bytes: usize) -> bool {
        let held = self.usage(id).map_or(0, |usage| usage.of_account);
        held + bytes <= self.total / SMALL_PARTS
    }

    fn check(&self, id: HolderId, bytes: usize, others_wait: bool) -> Result<(), Short> {
        let usage = self.usage(id).ok_or(Short::Share)?;
        let (of_account, of_tenant) = (usage.of_account, usage.of_tenant);
        if self.used + bytes > self.total {
            return Err(Short::Total);
        }
        let is_reserve = self.used + bytes > self.total - self.total / RESERVE_PARTS;
        // An account that holds nothing may begin, however small a part the reserve is.
        if is_reserve && of_account > 0 && !self.is_small(id, bytes) {
            return Err(Short::Share);
        }
        let share = self.total / SHARE_PARTS;
        let is_only_tenant = self.holding <= 1;
        let over = of_account + bytes > share || (of_tenant + bytes > share && !is_only_tenant);
        if others_wait && of_account > 0 && over {
            return Err(Short::Share);
        }
        Ok(())
    }

    fn count(&mut self, id: HolderId, bytes: usize, more: bool) {
        let Some(holder) = self.holders.get_mut(&id) else {
            return;
        };
        let account = &mut self.accounts[holder.account];
        let tenant = &mut self.tenants[account.tenant];
        let held = tenant.bytes > 0;
        let counts = [
            &mut self.used,
            &mut holder.bytes,
            &mut account.bytes,
            &mut tenant.bytes,
        ];
        for count in counts {
            *count = match more {
                true => *count + bytes,
                false => count.saturating_sub(bytes),
            };
        }
        match (held, tenant.bytes > 0) {
            (false, true) => self.holding += 1,
            (true, false) => self.holding -= 1,
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;

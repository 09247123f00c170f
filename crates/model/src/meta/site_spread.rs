//! Over how many slots the tasks of a hot site are spread.
//!
//! A site has one slot, and so one sender, unless it has a row here. An operator may give it one; a site with a large
//! part of the backlog gets one by itself, with as many owners as its limits can use: more would send no more, and each
//! part of a limit that senders share costs a call now and then.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::command::Refusal;
use crate::id::{MessageId, SessionId, Slot, mix};
use crate::queue::is_site_name;
use crate::rows::{ReadRows, Rows, put_row};
use crate::time::{DurationMs, UnixMs};

/// More slots than any cluster has senders.
pub const SPREAD_MAX: u16 = 64;
/// Every intake knows all of them, and every heartbeat brings them.
const SITES_MAX: usize = 256;

/// A site with fewer waiting tasks is sent by one sender within minutes.
const HOT_TASKS: u64 = 5_000;
/// A site is hot that has this part of all tasks...
const HOT_PART: u64 = 4;
/// ...and has cooled when it has less than this part, or than this part of [`HOT_TASKS`]: far enough from what makes it
/// hot that it does not go to and fro.
const COOL_PART: u64 = 16;
/// A site that was hot is likely to be hot again: the next mailing comes within the hour, if one comes.
const CALM: DurationMs = DurationMs::from_secs(3600);
/// A limit that was lowered narrows what it bounds after this time, in which senders may come and go.
const NARROWER: DurationMs = DurationMs::from_secs(60);

/// What one sender can do at a site, beside its other work: 20 connections, as senders have them unless told otherwise, on
/// each of which a message takes 100 ms.
const SENDER_CONNECTIONS: u64 = 20;
const SENDER_MESSAGES_PER_HOUR: u64 = 20 * 10 * 3600;

/// Of how many pools a site's mail is known to be; one with mail of more is as good as unlimited.
pub(super) const POOLS_MAX: usize = 16;

/// What the limits of a site let all senders do together; none: as much as they can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    pub connections: Option<u64>,
    pub messages_per_hour: Option<u64>,
}

impl Allowed {
    pub const NOTHING: Self = Self {
        connections: Some(0),
        messages_per_hour: Some(0),
    };

    /// How many senders can use that.
    fn senders(self) -> usize {
        let connections = self
            .connections
            .map(|most| most.div_ceil(SENDER_CONNECTIONS));
        let messages = self.messages_per_hour;
        let messages = messages.map(|most| most.div_ceil(SENDER_MESSAGES_PER_HOUR));
        let most = connections.into_iter().chain(messages).min();
        most.map_or(usize::MAX, |most| {
            usize::try_from(most.max(1)).unwrap_or(usize::MAX)
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Spread {
    /// Slots that the site's tasks are spread over.
    #[n(0)]
    pub slots: u16,
    /// An operator's word, which stays until it is taken back.
    #[n(1)]
    pub is_policy: bool,
}

impl Spread {
    /// Of a site of which nobody said anything.
    pub const ONE: Self = Self {
        slots: 1,
        is_policy: false,
    };
}

fn spread_key(site: &str) -> Vec<u8> {
    [b"f", site.as_bytes()].concat()
}

/// Sites whose spread somebody set.
pub fn spreads(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, Spread> {
    super::state::scan_names(rows, b"f")
}

pub(super) fn set_spread<R: Rows>(
    rows: &mut R,
    site: &str,
    spread: Option<Spread>,
) -> Result<(), Refusal> {
    let is_in_range = spread.is_none_or(|spread| (1..=SPREAD_MAX).contains(&spread.slots));
    if !is_site_name(site) || !is_in_range {
        return Err(Refusal::BadSpread);
    }
    let before = spreads(rows);
    let known = before.get(site);
    match spread {
        None => rows.delete(spread_key(site)),
        // The leader decided before it heard of the operator's word.
        Some(spread) if !spread.is_policy && known.is_some_and(|known| known.is_policy) => {}
        Some(Spread::ONE) => rows.delete(spread_key(site)),
        Some(_) if known.is_none() && before.len() >= SITES_MAX => return Err(Refusal::TooMany),
        Some(spread) => put_row(rows, spread_key(site), &spread),
    }
    Ok(())
}

/// What an intake knows of spreads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spreads(BTreeMap<String, u16>);

impl FromIterator<(String, u16)> for Spreads {
    fn from_iter<I: IntoIterator<Item = (String, u16)>>(spreads: I) -> Self {
        Self(spreads.into_iter().collect())
    }
}

impl Spreads {
    /// The slot for a message's task to this site. The same message always has the same.
    pub fn slot(&self, site: &str, message: MessageId) -> Slot {
        let spread = self.0.get(site).copied().unwrap_or(1).max(1);
        let nth = mix(message.entropy()) % u64::from(spread);
        Slot::of(site, u16::try_from(nth).unwrap_or(0))
    }
}

/// The backlog as the leader sees it: all of its tasks, and which sites have many of them.
///
/// Sites are counted as Misra and Gries do: of a million sites, few are remembered, and of each at most one in
/// `COUNTED` of all tasks is missed.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    tasks: u64,
    by_site: BTreeMap<String, SiteBacklog>,
}

#[derive(Debug, Clone, Default)]
struct SiteBacklog {
    tasks: u64,
    pools: BTreeSet<String>,
}

/// What is missed is far below the part that makes a difference.
const COUNTED: usize = 512;

impl Backlog {
    /// Whether a site of a backlog of so many tasks may be of interest.
    pub fn is_large(tasks: u64) -> bool {
        tasks >= HOT_TASKS
    }

    pub fn add(&mut self, site: &str, pool: &str, tasks: u64) {
        self.tasks += tasks;
        if let Some(counted) = self.by_site.get_mut(site) {
            counted.tasks += tasks;
            if counted.pools.len() <= POOLS_MAX && !counted.pools.contains(pool) {
                counted.pools.insert(pool.to_owned());
            }
            return;
        }
        let pools = BTreeSet::from([pool.to_owned()]);
        self.by_site
            .insert(site.to_owned(), SiteBacklog { tasks, pools });
        if self.by_site.len() > 2 * COUNTED {
            let mut counts: Vec<u64> = self.by_site.values().map(|one| one.tasks).collect();
            let (_, small, _) = counts.select_nth_unstable(COUNTED);
            self.by_site.retain(|_, counted| {
                counted.tasks = counted.tasks.saturating_sub(*small);
                counted.tasks > 0
            });
        }
    }
}

/// Decides the spreads of hot sites. Remembers how long a site has been calm, or has had more owners than its limits can use.
#[derive(Debug, Default)]
pub struct SpreadControl {
    calm_since: BTreeMap<String, UnixMs>,
    too_many_since: BTreeMap<String, UnixMs>,
}

impl SpreadControl {
    /// The spreads to set, given who owns which slot, and what a site's limits allow mail of these pools.
    pub fn decide(
        &mut self,
        now: UnixMs,
        backlog: &Backlog,
        known: &BTreeMap<String, Spread>,
        owners: &BTreeMap<Slot, SessionId>,
        allowed: impl Fn(&str, &BTreeSet<String>) -> Allowed,
    ) -> Vec<(String, Spread)> {
        let mut changes = Vec::new();
        self.calm_since.retain(|site, _| known.contains_key(site));
        self.too_many_since
            .retain(|site, _| known.contains_key(site));
        let senders: BTreeSet<SessionId> = owners.values().copied().collect();
        for (site, SiteBacklog { tasks, pools }) in &backlog.by_site {
            let is_hot = *tasks >= HOT_TASKS && *tasks >= backlog.tasks / HOT_PART;
            let before = known.get(site);
            if !is_hot || senders.len() < 2 || before.is_some_and(|spread| spread.is_policy) {
                continue;
            }
            self.calm_since.remove(site);
            let most = match pools.len() > POOLS_MAX {
                true => usize::MAX,
                false => allowed(site, pools).senders(),
            };
            let slots = covering(site, senders.len().min(most), owners);
            let before = before.map_or(1, |spread| spread.slots);
            // Senders that come and go would move it to and fro, so while it is hot only its limits make it narrower.
            let has_too_many = slots < before && owners_of(site, before, owners) > most;
            let is_to_change = match has_too_many {
                true => {
                    let since = *self.too_many_since.entry(site.clone()).or_insert(now);
                    now.since(since) >= NARROWER
                }
                false => {
                    self.too_many_since.remove(site);
                    slots > before
                }
            };
            if is_to_change {
                let is_policy = false;
                changes.push((site.clone(), Spread { slots, is_policy }));
            }
        }
        for (site, _) in known.iter().filter(|(_, spread)| !spread.is_policy) {
            let tasks = backlog.by_site.get(site).map_or(0, |one| one.tasks);
            let is_cool = tasks < HOT_TASKS / COOL_PART || tasks < backlog.tasks / COOL_PART;
            if !is_cool {
                self.calm_since.remove(site);
                continue;
            }
            let since = *self.calm_since.entry(site.clone()).or_insert(now);
            if now.since(since) >= CALM {
                changes.push((site.clone(), Spread::ONE));
            }
        }
        changes
    }
}

/// The smallest power of two of slots that has so many senders take part; less if the next one has more.
fn covering(site: &str, most: usize, owners: &BTreeMap<Slot, SessionId>) -> u16 {
    let mut slots = 1;
    while slots < SPREAD_MAX
        && owners_of(site, slots, owners) < most
        && owners_of(site, 2 * slots, owners) <= most
    {
        slots *= 2;
    }
    slots
}

fn owners_of(site: &str, slots: u16, owners: &BTreeMap<Slot, SessionId>) -> usize {
    let slots = (0..slots).map(|nth| Slot::of(site, nth));
    let taking: BTreeSet<_> = slots.filter_map(|slot| owners.get(&slot)).collect();
    taking.len()
}

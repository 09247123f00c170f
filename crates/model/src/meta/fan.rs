//! Over how many slots the tasks of a hot site are spread.
//!
//! A site has one slot, and so one sender, unless it has a row here. An operator may give it one; a site with a large
//! part of the backlog gets one by itself.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::command::Refusal;
use crate::id::{MessageId, SessionId, Slot, mix};
use crate::queue::is_site_name;
use crate::rows::{ReadRows, Rows, put_row};
use crate::time::{DurationMs, UnixMs};

/// More slots than any cluster has senders.
pub const FAN_MAX: u16 = 64;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Fan {
    /// Slots that the site's tasks are spread over.
    #[n(0)]
    pub slots: u16,
    /// An operator's word, which stays until it is taken back.
    #[n(1)]
    pub is_policy: bool,
}

impl Fan {
    /// Of a site of which nobody said anything.
    pub const ONE: Self = Self {
        slots: 1,
        is_policy: false,
    };
}

fn fan_key(site: &str) -> Vec<u8> {
    [b"f", site.as_bytes()].concat()
}

/// Sites whose fan somebody set.
pub fn fans(rows: &(impl ReadRows + ?Sized)) -> BTreeMap<String, Fan> {
    super::state::scan_names(rows, b"f")
}

pub(super) fn set_fan<R: Rows>(rows: &mut R, site: &str, fan: Option<Fan>) -> Result<(), Refusal> {
    let is_in_range = fan.is_none_or(|fan| (1..=FAN_MAX).contains(&fan.slots));
    if !is_site_name(site) || !is_in_range {
        return Err(Refusal::BadFan);
    }
    let before = fans(rows);
    let known = before.get(site);
    match fan {
        None => rows.delete(fan_key(site)),
        // The leader decided before it heard of the operator's word.
        Some(fan) if !fan.is_policy && known.is_some_and(|known| known.is_policy) => {}
        Some(Fan::ONE) => rows.delete(fan_key(site)),
        Some(_) if known.is_none() && before.len() >= SITES_MAX => return Err(Refusal::TooMany),
        Some(fan) => put_row(rows, fan_key(site), &fan),
    }
    Ok(())
}

/// What an intake knows of fans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fans(BTreeMap<String, u16>);

impl FromIterator<(String, u16)> for Fans {
    fn from_iter<I: IntoIterator<Item = (String, u16)>>(fans: I) -> Self {
        Self(fans.into_iter().collect())
    }
}

impl Fans {
    /// The slot for a message's task to this site. The same message always has the same.
    pub fn slot(&self, site: &str, message: MessageId) -> Slot {
        let fan = self.0.get(site).copied().unwrap_or(1).max(1);
        let nth = mix(message.entropy()) % u64::from(fan);
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
    by_site: BTreeMap<String, u64>,
}

/// What is missed is far below the part that makes a difference.
const COUNTED: usize = 512;

impl Backlog {
    /// Whether a site of a backlog of so many tasks may be of interest.
    pub fn is_large(tasks: u64) -> bool {
        tasks >= HOT_TASKS
    }

    pub fn add(&mut self, site: &str, tasks: u64) {
        self.tasks += tasks;
        if let Some(counted) = self.by_site.get_mut(site) {
            *counted += tasks;
            return;
        }
        self.by_site.insert(site.to_owned(), tasks);
        if self.by_site.len() > 2 * COUNTED {
            let mut counts: Vec<u64> = self.by_site.values().copied().collect();
            let (_, small, _) = counts.select_nth_unstable(COUNTED);
            self.by_site.retain(|_, count| {
                *count = count.saturating_sub(*small);
                *count > 0
            });
        }
    }
}

/// Decides the fans of hot sites. Remembers how long a site has been calm.
#[derive(Debug, Default)]
pub struct FanControl {
    calm_since: BTreeMap<String, UnixMs>,
}

impl FanControl {
    /// The fans to set, given who owns which slot.
    pub fn decide(
        &mut self,
        now: UnixMs,
        backlog: &Backlog,
        known: &BTreeMap<String, Fan>,
        owners: &BTreeMap<Slot, SessionId>,
    ) -> Vec<(String, Fan)> {
        let mut changes = Vec::new();
        self.calm_since.retain(|site, _| known.contains_key(site));
        let senders: BTreeSet<SessionId> = owners.values().copied().collect();
        for (site, tasks) in &backlog.by_site {
            let is_hot = *tasks >= HOT_TASKS && *tasks >= backlog.tasks / HOT_PART;
            let before = known.get(site);
            if !is_hot || senders.len() < 2 || before.is_some_and(|fan| fan.is_policy) {
                continue;
            }
            self.calm_since.remove(site);
            let slots = covering(site, &senders, owners);
            // Never lowered while it is hot: senders that come and go would move it to and fro.
            if before.is_none_or(|fan| fan.slots < slots) {
                let is_policy = false;
                changes.push((site.clone(), Fan { slots, is_policy }));
            }
        }
        for (site, _) in known.iter().filter(|(_, fan)| !fan.is_policy) {
            let tasks = backlog.by_site.get(site).copied().unwrap_or(0);
            let is_cool = tasks < HOT_TASKS / COOL_PART || tasks < backlog.tasks / COOL_PART;
            if !is_cool {
                self.calm_since.remove(site);
                continue;
            }
            let since = *self.calm_since.entry(site.clone()).or_insert(now);
            if now.since(since) >= CALM {
                changes.push((site.clone(), Fan::ONE));
            }
        }
        changes
    }
}

/// The smallest power of two of slots that has each sender take part.
fn covering(site: &str, senders: &BTreeSet<SessionId>, owners: &BTreeMap<Slot, SessionId>) -> u16 {
    let covers = |fan: u16| {
        let slots = (0..fan).map(|nth| Slot::of(site, nth));
        let taking: BTreeSet<_> = slots.filter_map(|slot| owners.get(&slot)).collect();
        taking.len() == senders.len()
    };
    let mut fan = 1;
    while fan < FAN_MAX && !covers(fan) {
        fan *= 2;
    }
    fan
}

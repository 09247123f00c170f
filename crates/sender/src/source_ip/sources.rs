//! What this node knows of its source IPs: which of them it can use now, and whose turn it is in a pool.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_policy::{DEFAULT_POOL, Ip, Policy, Pool};
use tokio::net::TcpSocket;

use crate::automation::active_actions::Restraint;
use crate::host::Host;
use crate::source_ip::placed::Standing;
use crate::source_ip::pool_choice::{Candidate, PoolState, Usable};
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::site_health::SiteHealth;
use crate::source_ip::unit_lease::Open;
use crate::source_ip::unusable::Unusable;

/// How long it is known whether the node has an address.
const KNOWN: Duration = Duration::from_secs(10);
/// An IP that cannot be used rests this long, then twice as long each time, up to the last.
const REST: Duration = Duration::from_secs(10);
const REST_MAX: Duration = Duration::from_secs(300);
/// One that has as many connections as it may have, or whose place is not known everywhere yet.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries of each table: pools times sites at work, and addresses that policies named. What is lost with a full table
/// is where a round was, or one look at the node.
const ENTRIES_MAX: usize = 16_384;

/// The rules and budgets that keep IPs from being used for a task, beside what this node knows of them.
pub struct Restraints<'a> {
    /// By rules on replies; none: the node's own address.
    pub rules: &'a dyn Fn(Option<&Ip>) -> Option<Restraint>,
    /// By a budget.
    pub open: &'a dyn Fn(&Ip) -> Open,
}

#[derive(Debug, Clone, Copy)]
struct Resting {
    /// Under which it failed; where it is after that is another matter.
    epoch: u64,
    until: Instant,
    lasts: Duration,
}

/// What this node knows of its source IPs.
#[derive(Debug, Default)]
pub struct Sources {
    state: Mutex<SourceState>,
    /// Sites that give no connection from some of them.
    pub health: Arc<SiteHealth>,
}

#[derive(Debug, Default)]
struct SourceState {
    present: HashMap<IpAddr, (bool, Instant)>,
    /// By the IP's name.
    resting: HashMap<Arc<str>, Resting>,
    /// Tasks of a pool to a site so far.
    turns: HashMap<String, u64>,
}

impl Sources {
    /// What is known of the node's own address, for mail to a site.
    pub fn own_address(&self, site: &str, restraints: &Restraints<'_>) -> PoolState {
        PoolState::NodeAddress {
            blocked: self.health.blocked(site, ""),
            restraint: (restraints.rules)(None),
        }
    }

    /// What is known of the IPs that the next task of a pool to a site may go from. Takes a turn of the pool.
    pub fn look(
        &self,
        policy: &Policy,
        router: &SourceIpRouter,
        pool: &str,
        site: &str,
        hosts: &[Host],
        restraints: &Restraints<'_>,
    ) -> PoolState {
        let Some(known) = policy.pool(pool) else {
            return match pool == DEFAULT_POOL {
                true => self.own_address(site, restraints),
                false => PoolState::Unknown,
            };
        };
        let now = Instant::now();
        let mut state = self.state.lock();
        let turn = state.turn(pool, site);
        let mut usable = |ip: &Ip| {
            is_usable(ip, hosts)?;
            let standing = router.look(ip).map_err(Unusable::Missing)?;
            state.is_ready(ip, standing, now)?;
            if let Some(blocked) = self.health.blocked(site, &ip.name) {
                return Err(Unusable::Blocked(blocked));
            }
            let bounced = match (restraints.rules)(Some(ip)) {
                Some(Restraint::Stopped(stopped)) => return Err(Unusable::Stopped(stopped)),
                Some(Restraint::Bounced(reply)) => Some(reply),
                None => None,
            };
            let open = (restraints.open)(ip);
            Ok(Usable { open, bounced })
        };
        let own = candidates_of(policy, known, &mut usable);
        let overflow = known.overflow.as_ref();
        let overflow = overflow.and_then(|at| policy.pool(&at.value));
        let overflow = overflow.map(|pool| candidates_of(policy, pool, &mut usable));
        PoolState::Members {
            turn,
            own,
            overflow: overflow.unwrap_or_default(),
        }
    }

    /// An IP could not be used, under this epoch: it rests.
    pub fn failed(&self, ip: &Ip, epoch: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.present.remove(&ip.bind);
        let before = state.resting.get(&ip.name).copied();
        let before = before.filter(|resting| resting.epoch == epoch);
        // Connections that were begun together fail together, which is one failure.
        if before.is_some_and(|resting| now < resting.until) {
            return;
        }
        make_room(&mut state.resting);
        let resting = rest(before, epoch, now);
        state.resting.insert(ip.name.clone(), resting);
    }

    /// An IP takes no connection at this moment.
    pub fn pause(&self, ip: &Ip, epoch: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let before = state.resting.get(&ip.name).copied();
        let before = before.filter(|resting| resting.epoch == epoch);
        if before.is_some_and(|resting| now < resting.until) {
            return;
        }
        make_room(&mut state.resting);
        let pause = Resting {
            epoch,
            until: now + PAUSE,
            lasts: before.map_or(Duration::ZERO, |resting| resting.lasts),
        };
        state.resting.insert(ip.name.clone(), pause);
    }

    pub fn works(&self, ip: &Ip) {
        self.state.lock().resting.remove(&ip.name);
    }
}

impl SourceState {
    fn turn(&mut self, pool: &str, site: &str) -> u64 {
        make_room(&mut self.turns);
        // Senders that have just begun must not all begin with the same IP.
        let turn = self.turns.entry(format!("{pool} {site}"));
        let turn = turn.or_insert_with(|| u64::from(rand::random::<u32>()));
        *turn += 1;
        *turn
    }

    fn is_ready(&mut self, ip: &Ip, standing: Standing, now: Instant) -> Result<(), Unusable> {
        if let Some(resting) = self.resting.get(&ip.name)
            && resting.epoch == standing.epoch
            && now < resting.until
        {
            return Err(Unusable::Resting(resting.until - now));
        }
        if !standing.is_here {
            return Ok(());
        }
        make_room(&mut self.present);
        let known = self.present.entry(ip.bind);
        let known = known.or_insert_with(|| (is_present(ip.bind), now));
        if now.saturating_duration_since(known.1) >= KNOWN {
            *known = (is_present(ip.bind), now);
        }
        known.0.then_some(()).ok_or(Unusable::Absent)
    }
}

fn make_room<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= ENTRIES_MAX {
        map.clear();
    }
}

fn rest(before: Option<Resting>, epoch: u64, now: Instant) -> Resting {
    let lasts = before.map_or(REST, |before| (before.lasts * 2).clamp(REST, REST_MAX));
    Resting {
        epoch,
        until: now + lasts,
        lasts,
    }
}

/// Whether a socket can have the address, which is what it is wanted for.
pub fn is_present(address: IpAddr) -> bool {
    let socket = match address.is_ipv4() {
        true => TcpSocket::new_v4(),
        false => TcpSocket::new_v6(),
    };
    socket.is_ok_and(|socket| socket.bind(SocketAddr::new(address, 0)).is_ok())
}

/// What policy and route say of an IP.
fn is_usable(ip: &Ip, hosts: &[Host]) -> Result<(), Unusable> {
    if ip.is_suspended {
        return Err(Unusable::Suspended);
    }
    let is_reachable = |host: &Host| host.address.is_ipv4() == ip.bind.is_ipv4();
    match hosts.iter().any(is_reachable) {
        true => Ok(()),
        false => Err(Unusable::OtherFamily),
    }
}

/// The members of a pool that policy knows.
fn candidates_of(
    policy: &Policy,
    pool: &Pool,
    usable: &mut impl FnMut(&Ip) -> Result<Usable, Unusable>,
) -> Vec<Candidate> {
    let mut candidates = Vec::with_capacity(pool.members.len());
    for member in &pool.members {
        if let Some(ip) = policy.ip(&member.ip.value) {
            candidates.push(Candidate {
                ip: ip.clone(),
                weight: member.weight,
                state: usable(ip),
            });
        }
    }
    candidates
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;

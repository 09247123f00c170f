//! Source IPs: which of a pool's a task goes from, and which of them can be used from this node.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_mail::trace::rfc5322_date;
use skein_model::warmup::{Choice, Left, Member, choose};
use skein_model::{DurationMs, Reply, UnixMs};
use skein_policy::{DEFAULT_POOL, Ip, Policy, Pool};
use tokio::net::TcpSocket;

use crate::automation::active_actions::Stopped;
use crate::config::Config;
use crate::host::Host;
use crate::source_ip::placed::{Missing, Standing, Unreached};
use crate::source_ip::router::SourceIpRouter;
use crate::source_ip::site_health::{Blocked, SiteHealth};
use crate::source_ip::unit_lease::Open;

/// How long it is known whether the node has an address.
const KNOWN: Duration = Duration::from_secs(10);
/// An IP that cannot be used rests this long, then twice as long each time, up to the last.
const REST: Duration = Duration::from_secs(10);
const REST_MAX: Duration = Duration::from_secs(300);
/// One that has as many connections as it may have, or whose place is not known everywhere yet.
const PAUSE: Duration = Duration::from_secs(1);
/// A task of a pool without a usable IP looks again at least this often, when nobody knows when one comes back.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Entries of each table: pools times sites at work, and addresses that policies named. What is lost with a full table
/// is where a round was, or one look at the node.
const ENTRIES_MAX: usize = 16_384;
/// IPs that a reply names.
const NAMED_MAX: usize = 3;

/// Where connections come from.
#[derive(Debug, Clone, Default)]
pub struct Source(
    /// None: as the node's own configuration says.
    pub Option<Arc<Ip>>,
);

impl Source {
    /// Empty for the node's own.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or("", |ip| &ip.name)
    }

    pub fn ehlo<'a>(&'a self, config: &'a Config) -> &'a str {
        self.0.as_ref().map_or(&config.hostname, |ip| &ip.ehlo)
    }

    /// The address that is bound; none: the system chooses. `own` is that of the node's configuration.
    fn bind(&self, own: Option<IpAddr>) -> Option<IpAddr> {
        self.0.as_ref().map(|ip| ip.bind).or(own)
    }

    /// Whether a host can be reached from here: an address of the other family cannot be bound for it.
    pub fn fits(&self, host: &Host, own: Option<IpAddr>) -> bool {
        let bind = self.bind(own);
        bind.is_none_or(|bind| bind.is_ipv4() == host.address.is_ipv4())
    }

    /// Why hosts are passed over, if none fits.
    pub fn passes_over(&self, hosts: &[Host], own: Option<IpAddr>) -> Option<Reply> {
        let (first, bind) = (hosts.first()?, self.bind(own)?);
        if hosts.iter().any(|host| self.fits(host, own)) {
            return None;
        }
        let text = format!("{first} is not reached from {bind}, an address of the other family");
        Some(Reply::ours((4, 4, 1), text).bounded())
    }
}

/// What keeps IPs from being used for a task, beside what this node knows of them.
pub struct Restraints<'a> {
    /// By rules on replies; none: the node's own address.
    pub stopped: &'a dyn Fn(Option<&Ip>) -> Option<Stopped>,
    /// By a budget.
    pub open: &'a dyn Fn(&Ip) -> Open,
    /// The time of budgets.
    pub now: UnixMs,
    pub expires: UnixMs,
}

/// A task that has to wait, with the reason.
#[derive(Debug)]
pub struct NoSource {
    pub reply: Reply,
    /// Trying again makes sense by then; none: when its turn comes.
    pub retry_within: Option<DurationMs>,
    /// The IP that the site's hosts give no connection, and for how long it leaves them alone, or another IP is to be looked
    /// for.
    pub blocked: Option<(String, Duration)>,
}

/// Why a member of a pool does not take part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unusable {
    Suspended,
    Missing(Missing),
    OtherFamily,
    Absent,
    Resting(Duration),
    /// The site gives it no connection.
    Blocked(Blocked),
    /// By a rule.
    Stopped(Stopped),
    /// Its budget is used up until then, if that is known.
    Warming(Option<UnixMs>),
    /// Policy warms it up, and nobody has started that.
    NotStarted,
}

impl Unusable {
    /// When it may be over, if anybody knows.
    fn again(&self, now: UnixMs) -> Option<Duration> {
        match self {
            Self::Resting(left) => Some(*left),
            Self::Missing(missing) => Some(missing.again),
            Self::Stopped(stopped) => Some(stopped.left.into()),
            Self::Warming(Some(next)) => Some(next.since(now).max(DurationMs(1)).into()),
            _ => None,
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSession => {
                f.write_str("is not known to be anywhere: this sender has no session")
            }
            Self::Unplaced => f.write_str("is at no node"),
            Self::Leaving => f.write_str("moves to another node"),
            Self::Closed { node } => write!(
                f,
                "is at node {node}, which takes no connections for others (egress.listen)"
            ),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended => f.write_str("is suspended"),
            Self::Missing(missing) => missing.why.fmt(f),
            Self::OtherFamily => f.write_str(
                "is not of the family of the hosts' addresses, so it reaches none of them",
            ),
            Self::Absent => f.write_str("is not an address of the node that it is at"),
            Self::Stopped(stopped) => f.write_str(&stopped.text),
            Self::Warming(Some(next)) => {
                let next = rfc5322_date(next.0);
                write!(f, "is warming up and has no budget before {next}")
            }
            Self::Warming(None) => f.write_str("is warming up and has no budget"),
            Self::NotStarted => f.write_str("is to be warmed up, which nobody has started"),
            Self::Resting(left) => write!(f, "could not be used; again in {} s", left.as_secs()),
            Self::Blocked(Blocked { left, reply }) => {
                write!(
                    f,
                    "gets no connection from the site; again in {} s; the last time: {reply}",
                    left.as_secs()
                )
            }
        }
    }
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
    state: Mutex<State>,
    /// Sites that give no connection from some of them.
    pub health: SiteHealth,
}

#[derive(Debug, Default)]
struct State {
    present: HashMap<IpAddr, (bool, Instant)>,
    /// By the IP's name.
    resting: HashMap<Arc<str>, Resting>,
    /// Tasks of a pool to a site so far.
    turns: HashMap<String, u64>,
}

impl Sources {
    /// The IP that the next task of a pool to a site goes from.
    ///
    /// # Errors
    /// The pool is not known, or none of its IPs can be used now.
    pub fn choose(
        &self,
        policy: &Policy,
        router: &SourceIpRouter,
        pool: &str,
        site: &str,
        hosts: &[Host],
        restraints: &Restraints<'_>,
    ) -> Result<Source, NoSource> {
        let stopped = restraints.stopped;
        let Some(known) = policy.pool(pool) else {
            return match pool == DEFAULT_POOL {
                true => match self.health.blocked(site, "") {
                    Some(blocked) => Err(NoSource {
                        reply: blocked.reply,
                        retry_within: None,
                        blocked: Some((String::new(), blocked.left)),
                    }),
                    None => own_address(stopped(None)),
                },
                false => Err(no_source(format!("there is no pool {pool}"), LOOK_AGAIN)),
            };
        };
        let now = Instant::now();
        let mut state = self.state.lock();
        let turn = state.turn(pool, site);
        let health = |ip: &Ip| {
            let blocked = self.health.blocked(site, &ip.name);
            blocked.map_or(Ok(()), |blocked| Err(Unusable::Blocked(blocked)))
        };
        let allowed =
            |ip: &Ip| stopped(Some(ip)).map_or(Ok(()), |stopped| Err(Unusable::Stopped(stopped)));
        let usable = |ip: &Ip| {
            is_usable(ip, hosts)?;
            let standing = router.look(ip).map_err(Unusable::Missing)?;
            state.is_ready(ip, standing, now)?;
            health(ip)?;
            allowed(ip)
        };
        pick(policy, known, turn, usable, restraints)
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

impl State {
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

/// The node's own address, which has no name.
fn own_address(stopped: Option<Stopped>) -> Result<Source, NoSource> {
    let Some(stopped) = stopped else {
        return Ok(Source::default());
    };
    let text = format!("the node's own address {}", stopped.text);
    Err(no_source(text, stopped.left.into()))
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

/// Members that can be used, and why the others cannot.
fn members_of(
    policy: &Policy,
    pool: &Pool,
    usable: &mut impl FnMut(&Ip) -> Result<(), Unusable>,
    restraints: &Restraints<'_>,
    reasons: &mut Vec<(Arc<Ip>, Unusable)>,
) -> Vec<(Arc<Ip>, Member)> {
    let mut members = Vec::with_capacity(pool.members.len());
    for member in &pool.members {
        let Some(ip) = policy.ip(&member.ip.value) else {
            continue;
        };
        if let Err(reason) = usable(ip) {
            reasons.push((ip.clone(), reason));
            continue;
        }
        let Open { left, next_at } = (restraints.open)(ip);
        match left {
            Left::Of(0) => reasons.push((ip.clone(), Unusable::Warming(next_at))),
            Left::None => reasons.push((ip.clone(), Unusable::NotStarted)),
            Left::Unlimited | Left::Of(_) => {}
        }
        let member = Member {
            // Two nodes may have the same private address, and no two IPs the same public one.
            ip: ip.public,
            weight: member.weight,
            left,
            next_at,
            is_usable: true,
        };
        members.push((ip.clone(), member));
    }
    members
}

/// The member whose turn it is among those that can be used.
fn pick(
    policy: &Policy,
    pool: &Pool,
    turn: u64,
    mut usable: impl FnMut(&Ip) -> Result<(), Unusable>,
    restraints: &Restraints<'_>,
) -> Result<Source, NoSource> {
    let mut reasons = Vec::new();
    let own = members_of(policy, pool, &mut usable, restraints, &mut reasons);
    let overflow = pool.overflow.as_ref().and_then(|at| policy.pool(&at.value));
    let others = overflow.map(|pool| {
        let mut others = Vec::new();
        members_of(policy, pool, &mut usable, restraints, &mut others)
    });
    let others = others.unwrap_or_default();
    let (now, expires) = (restraints.now, restraints.expires);
    let of = |ips: &[(Arc<Ip>, Member)]| ips.iter().map(|(_, one)| *one).collect::<Vec<_>>();
    let chosen = match choose(&of(&own), &of(&others), turn, now, expires) {
        Choice::Send { ip, .. } => own.iter().chain(&others).find(|(one, _)| one.public == ip),
        Choice::Wait { .. } => None,
    };
    if let Some((ip, _)) = chosen {
        return Ok(Source(Some(ip.clone())));
    }
    let within = reasons.iter().filter_map(|(_, reason)| reason.again(now));
    let within = within.min();
    let blocked = reasons.iter().filter_map(|(ip, reason)| match reason {
        Unusable::Blocked(blocked) => Some((ip, blocked.left)),
        _ => None,
    });
    let blocked = blocked.min_by_key(|(_, left)| *left);
    let blocked = blocked.map(|(ip, left)| {
        let left = within.map_or(left, |within| left.min(within));
        (ip.name.to_string(), left)
    });
    let named: Vec<String> = reasons
        .iter()
        .take(NAMED_MAX)
        .map(|(ip, reason)| format!("{} ({}) {reason}", ip.name, ip.bind))
        .collect();
    let more = match reasons.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let named = named.join(", ");
    let text = format!("no IP of pool {} can be used: {named}{more}", pool.name);
    let mut none = no_source(text, within.unwrap_or(LOOK_AGAIN));
    if blocked.is_some() {
        (none.retry_within, none.blocked) = (None, blocked);
    }
    Err(none)
}

fn no_source(text: String, within: Duration) -> NoSource {
    NoSource {
        reply: Reply::ours((4, 4, 0), text).bounded(),
        retry_within: Some(within.into()),
        blocked: None,
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;

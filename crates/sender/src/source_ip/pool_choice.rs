//! Which IP of a pool a task goes from, by what is known of each. Pure.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skein_model::warmup::{Choice, Left, Member, choose};
use skein_model::{DurationMs, Reply, UnixMs};
use skein_policy::Ip;

use crate::automation::active_actions::Restraint;
use crate::source_ip::site_health::Blocked;
use crate::source_ip::source::Source;
use crate::source_ip::unit_lease::Open;
use crate::source_ip::unusable::Unusable;

/// A task of a pool without a usable IP looks again at least this often, when it is not known when one comes back.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// IPs that a reply names.
const NAMED_MAX: usize = 3;

/// What is known of the IPs that mail of a pool may go from to a site.
#[derive(Debug, Clone)]
pub enum PoolState {
    /// Policy has no such pool.
    Unknown,
    /// Pool `default` has no resource, and is the node's own address.
    NodeAddress {
        blocked: Option<Blocked>,
        restraint: Option<Restraint>,
    },
    Members {
        /// The number of this task among those of the pool to the site.
        turn: u64,
        own: Vec<Candidate>,
        /// Of the pool that takes what this one has no budget for.
        overflow: Vec<Candidate>,
    },
}

/// A member of a pool.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub ip: Arc<Ip>,
    pub weight: u32,
    pub state: Result<Usable, Unusable>,
}

/// A member that can be used, as far as its budget allows.
#[derive(Debug, Clone)]
pub struct Usable {
    pub open: Open,
    /// The reply with which a rule gives up mail that goes from there.
    pub bounced: Option<Reply>,
}

/// The source of a task.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub source: Source,
    /// The reply with which a rule gives up mail that goes from there.
    pub bounced: Option<Reply>,
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

impl NoSource {
    fn within(text: String, within: Duration) -> Self {
        Self {
            reply: Reply::ours((4, 4, 0), text).bounded(),
            retry_within: Some(within.into()),
            blocked: None,
        }
    }
}

impl PoolState {
    /// The member whose units a task has waited for, if there are some. The units were asked for on behalf of that task: from
    /// another IP it would leave them to no one, once this sender has no more mail for the provider.
    pub fn awaited(&self, ip: IpAddr) -> Option<Chosen> {
        let Self::Members { own, .. } = self else {
            return None;
        };
        let has_units = |usable: &Usable| matches!(usable.open.left, Left::Of(1..));
        own.iter()
            .filter(|one| one.ip.public.to_canonical() == ip && one.weight > 0)
            .find_map(|one| {
                one.chosen()
                    .filter(|_| one.state.as_ref().is_ok_and(has_units))
            })
    }

    /// The source of a task that expires at a time.
    ///
    /// # Errors
    /// The pool is not known, or none of its IPs can be used now.
    pub fn choose(&self, pool: &str, now: UnixMs, expires: UnixMs) -> Result<Chosen, NoSource> {
        match self {
            Self::Unknown => {
                let text = format!("there is no pool {pool}");
                Err(NoSource::within(text, LOOK_AGAIN))
            }
            Self::NodeAddress {
                blocked: Some(blocked),
                ..
            } => Err(NoSource {
                reply: blocked.reply.clone(),
                retry_within: None,
                blocked: Some((String::new(), blocked.left)),
            }),
            Self::NodeAddress {
                blocked: None,
                restraint,
            } => node_address(restraint.as_ref()),
            Self::Members {
                turn,
                own,
                overflow,
            } => {
                let (all, others) = (members_of(own), members_of(overflow));
                let ip = match choose(&all, &others, *turn, now, expires) {
                    Choice::Send { ip, .. } => ip,
                    Choice::Wait { .. } => return Err(none_of(pool, own, now)),
                };
                let both = own.iter().chain(overflow);
                let mut both = both.filter(|one| one.ip.public == ip);
                let chosen = both.find_map(Candidate::chosen);
                Ok(chosen.expect("what was chosen is one of the members"))
            }
        }
    }
}

impl Candidate {
    fn chosen(&self) -> Option<Chosen> {
        let usable = self.state.as_ref().ok()?;
        Some(Chosen {
            source: Source(Some(self.ip.clone())),
            bounced: usable.bounced.clone(),
        })
    }
}

/// The node's own address, which has no name.
fn node_address(restraint: Option<&Restraint>) -> Result<Chosen, NoSource> {
    let bounced = match restraint {
        Some(Restraint::Stopped(stopped)) => {
            let text = format!("the node's own address {}", stopped.text);
            return Err(NoSource::within(text, stopped.left.into()));
        }
        Some(Restraint::Bounced(reply)) => Some(reply.clone()),
        None => None,
    };
    let source = Source::default();
    Ok(Chosen { source, bounced })
}

fn members_of(candidates: &[Candidate]) -> Vec<Member> {
    let members = candidates.iter().filter_map(|one| {
        let Open { left, next_at } = one.state.as_ref().ok()?.open;
        Some(Member {
            // Two nodes may have the same private address, and no two IPs the same public one.
            ip: one.ip.public,
            weight: one.weight,
            left,
            next_at,
            is_usable: true,
        })
    });
    members.collect()
}

/// Why a member does not take part, if it does not.
fn reason_of(candidate: &Candidate) -> Option<Unusable> {
    match &candidate.state {
        Err(reason) => Some(reason.clone()),
        Ok(usable) => match usable.open.left {
            Left::Of(0) => Some(Unusable::Warming(usable.open.next_at)),
            Left::None => Some(Unusable::NotStarted),
            Left::Unlimited | Left::Of(_) => None,
        },
    }
}

/// None of the members of a pool can be used.
fn none_of(pool: &str, own: &[Candidate], now: UnixMs) -> NoSource {
    let reasons = own
        .iter()
        .filter_map(|one| Some((&one.ip, reason_of(one)?)));
    let reasons: Vec<(&Arc<Ip>, Unusable)> = reasons.collect();
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
    let text = format!("no IP of pool {pool} can be used: {named}{more}");
    let mut none = NoSource::within(text, within.unwrap_or(LOOK_AGAIN));
    if blocked.is_some() {
        (none.retry_within, none.blocked) = (None, blocked);
    }
    none
}

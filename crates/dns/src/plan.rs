use std::net::IpAddr;
use std::time::Instant;

use crate::config::Config;
use crate::error::ResolveError;
use crate::own::OwnAddresses;
use crate::security::{Security, TlsaAnswer};
use crate::site::site;
use skein_model::address::is_public;

/// Hosts of a plan. The largest honest MX sets have about ten; each host costs two queries.
pub const HOSTS_MAX: usize = 20;
/// Addresses of one host. More than this is never tried within one attempt.
pub const HOST_ADDRESSES_MAX: usize = 16;

/// Where a plan's hosts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// MX records.
    Mx,
    /// No MX records: the domain itself is the host (RFC 5321 5.1).
    Implicit,
    /// An address literal such as `[192.0.2.1]`.
    Literal,
}

/// One host that takes mail for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Lower case, no trailing dot; for a literal the address as text.
    pub name: String,
    pub preference: u16,
    /// At least one, at most [`HOST_ADDRESSES_MAX`].
    pub addrs: Vec<IpAddr>,
    /// Of the addresses.
    pub security: Security,
    pub tlsa: TlsaAnswer,
}

/// Where mail for a domain goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Lower case, no trailing dot.
    pub domain: String,
    pub kind: PlanKind,
    /// Of the MX records, or of the word that there are none.
    pub security: Security,
    /// By preference, then name; at least one, at most [`HOSTS_MAX`].
    pub hosts: Vec<Host>,
    /// The roll-up of the host names, such as `(alt1|alt2|).aspmx.l.google.com`; at most 120 bytes.
    pub site: String,
    /// When the records behind the plan end.
    pub expires_at: Instant,
}

/// What the MX question brought.
#[derive(Debug, Clone)]
pub(crate) enum MxAnswer {
    /// Preference and exchange; the exchange of a null MX is empty.
    Records(Vec<(u16, String)>),
    /// The domain exists and has no MX records.
    NoRecords,
    NoDomain,
}

/// What the address questions for one host brought.
#[derive(Debug, Clone)]
pub(crate) enum AddressAnswer {
    Addresses(Vec<IpAddr>),
    None,
    /// Nothing usable came back, and the reason may pass.
    Failed(String),
}

/// What was told of a host of an MX plan.
#[derive(Debug, Clone)]
pub(crate) struct HostAnswer {
    pub(crate) addresses: AddressAnswer,
    /// Of the addresses: one family that is validated is enough (RFC 7672 2.2.1).
    pub(crate) security: Security,
    pub(crate) tlsa: TlsaAnswer,
}

impl HostAnswer {
    /// A name that leads nowhere.
    pub(crate) fn nowhere() -> Self {
        Self {
            addresses: AddressAnswer::None,
            security: Security::Insecure,
            tlsa: TlsaAnswer::NotAsked,
        }
    }
}

/// The hosts whose addresses are needed, by preference, then name.
pub(crate) fn targets(
    domain: &str,
    answer: MxAnswer,
    config: &Config,
) -> Result<(PlanKind, Vec<(u16, String)>), ResolveError> {
    let ours = |name: &str| {
        !name.is_empty() && name.eq_ignore_ascii_case(config.own_hostname.trim_end_matches('.'))
    };
    let records = match answer {
        MxAnswer::NoDomain => return Err(ResolveError::no_domain(domain)),
        MxAnswer::NoRecords if ours(domain) => return Err(ResolveError::looping(domain, domain)),
        MxAnswer::NoRecords => return Ok((PlanKind::Implicit, vec![(0, domain.to_owned())])),
        MxAnswer::Records(records) => records,
    };
    // A "." beside real exchanges is a mistake (RFC 7505 section 3); the real ones count.
    let mut hosts: Vec<(u16, String)> = records
        .into_iter()
        .filter(|(_, exchange)| !exchange.is_empty())
        .collect();
    if hosts.is_empty() {
        return Err(ResolveError::null_mx(domain));
    }
    hosts.sort();
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|(_, exchange)| seen.insert(exchange.clone()));
    let own = hosts.iter().find(|(_, exchange)| ours(exchange)).cloned();
    if let Some((own, exchange)) = own {
        hosts.retain(|(preference, _)| *preference < own);
        if hosts.is_empty() {
            return Err(ResolveError::looping(domain, &exchange));
        }
    }
    hosts.truncate(HOSTS_MAX);
    Ok((PlanKind::Mx, hosts))
}

/// The hosts that mail can go to, from what their address questions brought.
///
/// The flag says that some host's addresses are missing for a reason that may pass, so that the
/// plan should not be kept for long.
pub(crate) fn hosts(
    domain: &str,
    answers: Vec<(u16, String, HostAnswer)>,
    config: &Config,
    own: &OwnAddresses,
) -> Result<(Vec<Host>, bool), ResolveError> {
    let mut usable = Vec::new();
    let mut failed: Option<String> = None;
    let mut dropped_private = false;
    let mut ours: Option<(u16, String)> = None;
    for (preference, name, answer) in answers {
        let HostAnswer {
            addresses,
            security,
            tlsa,
        } = answer;
        let mut addrs = match addresses {
            AddressAnswer::Addresses(addrs) => addrs,
            AddressAnswer::None => continue,
            AddressAnswer::Failed(why) => {
                failed.get_or_insert(why);
                continue;
            }
        };
        if let Some(ip) = addrs.iter().find(|ip| own.is_ours(**ip, config.port)) {
            let is_first = ours.as_ref().is_none_or(|(own, _)| preference < *own);
            if is_first {
                ours = Some((preference, format!("{name} [{ip}]")));
            }
            continue;
        }
        let before = addrs.len();
        addrs.retain(|ip| config.allow_private || is_public(*ip));
        dropped_private |= addrs.len() < before;
        addrs.truncate(HOST_ADDRESSES_MAX);
        if !addrs.is_empty() {
            usable.push(Host {
                name,
                preference,
                addrs,
                security,
                tlsa,
            });
        }
    }
    if let Some((own, _)) = &ours {
        usable.retain(|host| host.preference < *own);
    }
    match (usable.is_empty(), failed, ours) {
        (false, failed, _) => Ok((usable, failed.is_some())),
        (true, Some(why), _) => Err(ResolveError::unanswered(domain, &why)),
        (true, None, Some((_, host))) => Err(ResolveError::looping(domain, &host)),
        (true, None, None) if dropped_private => Err(ResolveError::no_address(
            domain,
            "its hosts have only private addresses",
        )),
        (true, None, None) => Err(ResolveError::no_address(
            domain,
            "its hosts have no address",
        )),
    }
}

/// The plan for an address literal.
pub(crate) fn literal(
    domain: &str,
    ip: IpAddr,
    config: &Config,
    own: &OwnAddresses,
    expires_at: Instant,
) -> Result<Plan, ResolveError> {
    let answer = HostAnswer {
        addresses: AddressAnswer::Addresses(vec![ip]),
        ..HostAnswer::nowhere()
    };
    let (hosts, _) = hosts(domain, vec![(0, ip.to_string(), answer)], config, own)?;
    let kind = (PlanKind::Literal, Security::Insecure);
    Ok(assemble(domain, kind, hosts, expires_at))
}

pub(crate) fn assemble(
    domain: &str,
    (kind, security): (PlanKind, Security),
    hosts: Vec<Host>,
    expires_at: Instant,
) -> Plan {
    let site = site(hosts.iter().map(|host| host.name.as_str()));
    Plan {
        domain: domain.to_owned(),
        kind,
        security,
        hosts,
        site,
        expires_at,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

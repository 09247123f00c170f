//! Where mail for the cluster's own domains goes: as the policy says of each address.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use skein_client::LeasedTask;
use skein_dns::Resolver;
use skein_model::spool::Verdict;
use skein_model::{Recipient, Reply};
use skein_policy::{Destination, Hosted, Hosts, Inbound, Policy, Webhook};
use skein_smtp::address::Address;
use skein_smtp::client::CannotSend;
use skein_tls::TlsPolicy;

use crate::config::Config;
use crate::config::protocol::Protocol;
use crate::config::rule::{HopPolicy, RouteHost};
use crate::host::Host;
use crate::route::named::named_hosts;

/// Addresses of a program that an attempt tries.
const HOSTS_TRIED: usize = 8;

/// Where a task goes, and how.
pub struct Found {
    pub key: String,
    pub site: String,
    pub hosts: Vec<Host>,
    pub policy: Arc<HopPolicy>,
    pub destination: Arc<Destination>,
}

/// None: the domain is none that the cluster hosts.
///
/// A task goes to one destination at a time. Its recipients had the same when it was made; where the policy was changed since,
/// attempts take turns, and [`kept_back`] says whom an attempt leaves out.
pub async fn find(
    config: &Config,
    resolver: &Resolver,
    policy: &Policy,
    task: &LeasedTask,
) -> Option<Result<Found, (Verdict, Reply)>> {
    let recipients = task.task.recipients.iter();
    let mut destinations: Vec<(&Arc<Inbound>, &Arc<Destination>)> = Vec::new();
    for (_, recipient) in recipients {
        match hosted(policy, recipient) {
            Hosted::Elsewhere => return None,
            Hosted::Unknown(_) => {}
            Hosted::Known(inbound, destination) => {
                let is_known = destinations
                    .iter()
                    .any(|(_, known)| Arc::ptr_eq(known, destination));
                if !is_known {
                    destinations.push((inbound, destination));
                }
            }
        }
    }
    if destinations.is_empty() {
        let reply = Reply::ours((5, 1, 1), "nobody has this address here");
        return Some(Err((Verdict::Failed, reply)));
    }
    let turn = task.task.attempts as usize % destinations.len();
    let (inbound, destination) = destinations[turn];
    let nth = inbound
        .addresses()
        .position(|(_, known)| Arc::ptr_eq(known, destination));
    let site = destination.site();
    // Connections are not shared beyond what one version of the policy says.
    let key = format!(
        "{site} inbound {} {} {}",
        inbound.name,
        nth.unwrap_or_default(),
        policy.version()
    );
    let seed = task.id.message.entropy() ^ u64::from(task.task.attempts);
    let hosts = hosts(config, resolver, destination, seed).await;
    let hosts = match hosts {
        Ok(hosts) => hosts,
        Err(reply) => return Some(Err((Verdict::Deferred, reply))),
    };
    Some(Ok(Found {
        key,
        site,
        hosts,
        policy: Arc::new(hop(destination)),
        destination: Arc::clone(destination),
    }))
}

/// Why a recipient of a task is left out of an attempt at this destination.
pub fn kept_back(
    policy: &Policy,
    destination: &Destination,
    recipient: &Recipient,
) -> Option<CannotSend> {
    match hosted(policy, recipient) {
        Hosted::Known(_, found) if **found == *destination => None,
        Hosted::Known(..) | Hosted::Elsewhere => Some(CannotSend::new(
            (4, 5, 3),
            "the policy sends mail to this address elsewhere by now",
        )),
        Hosted::Unknown(_) => Some(CannotSend::new((5, 1, 1), "nobody has this address here")),
    }
}

fn hosted<'p>(policy: &'p Policy, recipient: &Recipient) -> Hosted<'p> {
    let Ok(address) = recipient.address.parse::<Address>() else {
        return Hosted::Elsewhere;
    };
    policy.hosted(&address.routing_domain(), &address.unquoted_local_part())
}

async fn hosts(
    config: &Config,
    resolver: &Resolver,
    destination: &Destination,
    seed: u64,
) -> Result<Vec<Host>, Reply> {
    match destination {
        Destination::Smtp(Hosts { hosts, .. }) | Destination::Lmtp(Hosts { hosts, .. }) => {
            let hosts = hosts.iter().map(|one| RouteHost {
                name: one.host.clone(),
                port: one.port,
            });
            named_hosts(&hosts.collect::<Vec<_>>(), resolver, seed).await
        }
        Destination::Http(webhook) => receivers(resolver, webhook, seed).await,
        Destination::Discard => {
            let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
            Ok(vec![Host {
                name: "discard".into(),
                address: config.source_address.unwrap_or(any),
                port: 0,
            }])
        }
    }
}

/// The addresses of a program: those that it has now are those that are connected to, so that a name which changes after the
/// look leads nowhere else.
async fn receivers(resolver: &Resolver, webhook: &Webhook, seed: u64) -> Result<Vec<Host>, Reply> {
    let url = &webhook.url;
    let found = resolver.addresses(&url.host).await;
    let mut addresses = found.map_err(|error| {
        let enhanced = match error.is_permanent() {
            true => (4, 4, 4),
            false => error.enhanced(),
        };
        Reply::ours(enhanced, format!("route to {}: {error}", url.origin()))
    })?;
    if !webhook.allow_private {
        addresses.retain(|address| skein_dns::is_public(*address));
    }
    if addresses.is_empty() {
        let text = format!(
            "route to {}: its address is not public, and the policy does not say allow_private: true",
            url.origin()
        );
        return Err(Reply::ours((4, 4, 4), text));
    }
    let ordered = skein_dns::order_addresses(&addresses, seed).into_iter();
    let hosts = ordered.take(HOSTS_TRIED).map(|address| Host {
        name: url.host.clone(),
        address,
        port: url.port,
    });
    Ok(hosts.collect())
}

fn hop(destination: &Destination) -> HopPolicy {
    match destination {
        Destination::Smtp(Hosts { tls, .. }) => HopPolicy {
            tls: (*tls).into(),
            ..HopPolicy::default()
        },
        Destination::Lmtp(Hosts { tls, .. }) => HopPolicy {
            tls: (*tls).into(),
            protocol: Protocol::Lmtp,
            ..HopPolicy::default()
        },
        Destination::Http(webhook) => HopPolicy {
            tls: match webhook.url.is_https {
                // A program is known by its certificate.
                true => TlsPolicy::Require,
                false => TlsPolicy::Disable,
            },
            implicit_tls: webhook.url.is_https,
            protocol: Protocol::Http(Arc::new(webhook.clone())),
            ..HopPolicy::default()
        },
        Destination::Discard => HopPolicy {
            protocol: Protocol::Discard,
            ..HopPolicy::default()
        },
    }
}

#[cfg(test)]
#[path = "hosted_tests.rs"]
mod tests;

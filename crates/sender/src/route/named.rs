//! The addresses of hosts that an operator named.

use futures::future::join_all;
use skein_dns::Resolver;
use skein_model::Reply;

use crate::config::rule::RouteHost;
use crate::host::Host;

/// The addresses of the hosts that an operator named. Whatever is wrong with the names, the mail waits:
/// the operator's mistake must not bounce it.
pub async fn named_hosts(
    names: &[RouteHost],
    resolver: &Resolver,
    seed: u64,
) -> Result<Vec<Host>, Reply> {
    let answers = join_all(names.iter().map(|host| resolver.addresses(&host.name))).await;
    let own = resolver.own_addresses();
    let mut hosts = Vec::new();
    let mut failure = Reply::ours((4, 4, 4), "the route has no host");
    for (host, answer) in names.iter().zip(answers) {
        match answer {
            Ok(addresses) => {
                let (ours, others): (Vec<_>, Vec<_>) = addresses
                    .into_iter()
                    .partition(|address| own.is_listener(*address, host.port));
                if !ours.is_empty() {
                    let text = format!("route to {host}: it leads back to this host");
                    failure = Reply::ours((4, 4, 6), text);
                }
                let ordered = skein_dns::order_addresses(&others, seed);
                hosts.extend(ordered.into_iter().map(|address| Host {
                    name: host.name.clone(),
                    address,
                    port: host.port,
                }));
            }
            Err(error) if error.is_permanent() => {
                failure = Reply::ours((4, 4, 4), format!("route to {host}: {error}"));
            }
            Err(error) => failure = Reply::ours(error.enhanced(), error.text()),
        }
    }
    match hosts.is_empty() {
        true => Err(failure),
        false => Ok(hosts),
    }
}

//! One connection's life: hosts, transactions, and what becomes of tasks that no host took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::spool::Verdict;
use skein_model::{DurationMs, Reply};

use crate::automation::active_actions::Going;
use crate::destination::attempt::Unsettled;
use crate::destination::destinations::Destinations;
use crate::destination::open::{NoConnection, Serving};
use crate::destination::permit::ConnectionPermit;
use crate::destination::placer;
use crate::destination::state::Destination;
use crate::destination::transactions::Begun;
use crate::host::Host;
use crate::limits::path_policy::PathPolicy;
use crate::limits::policy_use::Using;
use crate::limits::token::Token;
use crate::metrics::{PathLabels, ip_label};
use crate::outcome::{self, Attempt};
use crate::route::find::Route;
use crate::smtp::connect::{Hop, SourceAddress};
use crate::smtp::connection::Connection;
use crate::source_ip::source::Source;
use crate::task::delivery::DeliveryTask;

/// A host that gave one more connection no session while it serves others is asked for none during this time:
/// it has as many as it wants.
const NO_MORE: Duration = Duration::from_secs(5);

/// The hosts of a route that are not tried yet.
type HostsLeft<'a> = std::vec::IntoIter<&'a Host>;

impl Destinations {
    /// One connection, from its opening to its end, and connections to further hosts when one does not take a message.
    pub async fn serve(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        path_policy: &PathPolicy,
        permit: ConnectionPermit,
    ) {
        let config = self.outbound.config.get();
        let began = Instant::now();
        let (route, source, whose) = {
            let state = destination.state.lock();
            let first = state.waiting.first();
            let whose = first.map(|delivery| {
                let Going { tenant, pool, .. } = delivery.going(&state.route.site);
                (tenant.to_owned(), pool.to_owned())
            });
            (state.route.clone(), state.source.clone(), whose)
        };
        let (tenant, pool) = whose.unwrap_or_default();
        let timeouts = path_policy.timeouts(&config.timeouts);
        let own = config.source_address;
        let no_host = source.passes_over(&route.hosts, own);
        let from = match &source.0 {
            Some(ip) => SourceAddress::Pool(ip, &self.placer.router),
            None => SourceAddress::Node(config.source_address),
        };
        let mut serving = Serving {
            route: &route,
            ip: source.0.as_deref(),
            path: PathLabels::new(&self.placer.policy(), &route.site, source.ip()),
            going: Going {
                site: &route.site,
                tenant: &tenant,
                pool: &pool,
            },
            path_policy,
            hop: Hop {
                ehlo: source.ehlo(&config),
                from,
                policy: &route.policy,
                timeouts: &timeouts,
            },
            no_host: no_host
                .unwrap_or_else(|| Reply::ours((4, 4, 1), "the destination has no address")),
            permit,
        };
        let fitting = route.hosts.iter().filter(|host| source.fits(host, own));
        // A closure in what is kept over the whole of this life would be one for a single lifetime, and so not `Send`.
        let mut hosts = fitting.collect::<Vec<_>>().into_iter();
        let opened = self.open(&mut serving, &mut hosts).await;
        destination.state.lock().ready -= 1;
        match opened {
            Ok(connection) => {
                self.serve_from(destination, &mut serving, connection, hosts, &source)
                    .await;
            }
            Err(NoConnection::Place) => {}
            Err(NoConnection::Source) => self.choose_again(destination),
            Err(NoConnection::Hosts {
                verdict,
                reply,
                is_of_demand,
            }) => {
                self.outbound.metrics.connect_failures.inc();
                let is_away = verdict == Verdict::Deferred && !is_of_demand;
                self.give_up_waiting(destination, &route, (verdict, &reply, is_away), began);
            }
        }
    }

    /// Serves a destination over a connection, and over others to further hosts for what one does not take.
    async fn serve_from(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        serving: &mut Serving<'_>,
        mut connection: Connection,
        mut hosts: HostsLeft<'_>,
        source: &Source,
    ) {
        let mut first = None;
        loop {
            let begun = Begun {
                first: first.take(),
                has_more_hosts: hosts.len() > 0,
            };
            let open = self.outbound.metrics.connected(&serving.path);
            let unsettled = self.use_up(destination, serving, connection, begun).await;
            drop(open);
            let Some(unsettled) = unsettled else {
                return;
            };
            match self
                .next_host(serving, &mut hosts, &unsettled.delivery, source)
                .await
            {
                Some((next, token)) => {
                    connection = next;
                    first = Some((unsettled.delivery, token));
                }
                None => {
                    self.settle_untaken(destination, *unsettled, source);
                    return;
                }
            }
        }
    }

    /// A connection to another host, for a task that one did not take.
    async fn next_host(
        &self,
        serving: &mut Serving<'_>,
        hosts: &mut HostsLeft<'_>,
        delivery: &DeliveryTask,
        source: &Source,
    ) -> Option<(Connection, Token)> {
        let stop = &delivery.claim.stop;
        let next = tokio::select! {
            next = self.open(serving, hosts) => next.ok()?,
            () = stop.cancelled() => return None,
        };
        let path = placer::path(serving.route, source, delivery);
        let under = self.policy_use.begin(Using::Transaction, path);
        let path_policy = self.placer.path_policy(serving.route, source, delivery);
        let ask = delivery.ask(&path_policy.message, serving.route, 1);
        let within = serving.hop.timeouts.idle;
        let taken = tokio::select! {
            taken = self.limiters.take_within(&ask, within, stop) => taken,
            // It asks by limits that are no more.
            () = under.outdated() => None,
        };
        let mut token = taken?;
        token.under = Some(under);
        Some((next, token))
    }

    /// A task that no further host takes has its result, unless a connection ended at it for the first time.
    fn settle_untaken(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        unsettled: Unsettled,
        source: &Source,
    ) {
        let Unsettled {
            has_ended,
            mut delivery,
            attempt,
            verdicts,
        } = unsettled;
        if !delivery.was_cut && outcome::is_cut(&verdicts) {
            // The host may be gone: the next one to connect finds out.
            delivery.was_cut = true;
            destination.state.lock().put_back(delivery);
            return;
        }
        // A failure of this node, such as to read the message, says nothing about the host.
        let ended = verdicts.first().map(|(_, reply)| reply.clone());
        let ended = ended.filter(|reply| has_ended && reply.host.is_some());
        let site = attempt.site.clone();
        self.results.settle(delivery, attempt, verdicts);
        if let Some(reply) = ended
            && self
                .placer
                .sources
                .health
                .failed(&site, source.name(), &reply)
        {
            self.choose_again(destination);
        }
    }

    /// No host gave a session that can be used: what waits here ends with the reason, unless other connections remain.
    fn give_up_waiting(
        self: &Arc<Self>,
        destination: &Destination,
        route: &Route,
        (verdict, reply, is_away): (Verdict, &Reply, bool),
        began: Instant,
    ) {
        if self.outbound.drain.is_cancelled() {
            return;
        }
        let source = destination.state.lock().source.clone();
        let deliveries: Vec<DeliveryTask> = {
            let mut state = destination.state.lock();
            if state.connections > 1 {
                state.no_more_until = Some(Instant::now() + NO_MORE);
                return;
            }
            state.waiting.drain().collect()
        };
        if is_away {
            let health = &self.placer.sources.health;
            health.failed(&route.site, source.name(), reply);
            if health.blocked(&route.site, source.name()).is_some() {
                // The tasks go from another IP, or wait for the site.
                for delivery in deliveries
                    .into_iter()
                    .filter(|delivery| !delivery.is_stopped())
                {
                    self.push(route.clone(), delivery);
                }
                return;
            }
        }
        for delivery in deliveries {
            let attempt = Attempt {
                site: route.site.clone(),
                ip: Some(ip_label(source.name()).to_owned()),
                duration: began.elapsed().into(),
                away_for: is_away.then_some(DurationMs(0)),
                ..Attempt::default()
            };
            self.results.settle_all(delivery, attempt, verdict, reply);
        }
    }
}

//! From hosts and tokens to a connection.

use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_policy::Ip;
use skein_tls::{Choice, Decision, Demand, ENCRYPTION_NEEDED, Skip};

use crate::automation::active_actions::Going;
use crate::destination::destinations::Destinations;
use crate::destination::permit::ConnectionPermit;
use crate::destination::tls_results::{self, Tried};
use crate::host::Host;
use crate::limits::path_policy::PathPolicy;
use crate::metrics::PathLabels;
use crate::route::find::Route;
use crate::route::tls::is_of_mail;
use crate::smtp::connect::{Hop, SourceAddress};
use crate::smtp::connection::Connection;
use crate::smtp::no_session::{Cause, NoSession};

/// Why there is no connection.
pub enum NoConnection {
    /// What the hosts said, and what it means for tasks.
    Hosts {
        verdict: Verdict,
        reply: Reply,
        /// Nothing but what this mail demands of TLS is in the way: it says nothing about the site.
        is_of_demand: bool,
    },
    /// The source IP cannot be used now.
    Source,
    /// The place at the host is another sender's by now, or the policy has changed.
    Place,
}

/// What one connection and those that follow it have in common.
pub struct Serving<'a> {
    pub route: &'a Route,
    /// None: the node's own address.
    pub ip: Option<&'a Ip>,
    /// For metrics.
    pub path: PathLabels,
    /// Of the task that called for the connection; without tenant and pool when it has gone elsewhere meanwhile.
    pub going: Going<'a>,
    pub path_policy: &'a PathPolicy,
    pub hop: Hop<'a>,
    /// What tasks hear when there is no host to be tried.
    pub no_host: Reply,
    pub permit: ConnectionPermit,
}

/// RFC 3463: cryptography keeps the mail from going.
const UNPROVED: (u8, u16, u16) = (4, 7, 5);

/// Whether a host is well but for what this mail, or its domain, demands of it.
fn is_unmet(decision: &Decision, demand: &Demand, failure: &NoSession) -> bool {
    is_of_mail(decision.applied) && demand.needs_tls() && tls_results::kind_of(failure).is_some()
}

impl Destinations {
    /// A connection to the next of the hosts that gives one, else what the last one said.
    pub async fn open<'a>(
        &self,
        serving: &mut Serving<'_>,
        hosts: &mut (impl Iterator<Item = &'a Host> + Send),
    ) -> Result<Connection, NoConnection> {
        let drain = &self.outbound.drain;
        let mut last = serving.no_host.clone();
        let mut lacks_tls = serving.route.tls.is_required();
        let mut status = ENCRYPTION_NEEDED;
        // A host that does not prove what is demanded was met, and one that is not well.
        let (mut is_unproved, mut is_unwell) = (false, false);
        for host in hosts {
            if serving.permit.is_stopped() {
                return Err(NoConnection::Place);
            }
            let decision = serving.route.tls.decide(host, serving.path_policy.tls);
            let demand = match &decision.choice {
                Choice::Try(demand) => demand,
                Choice::Skip(skip) => {
                    lacks_tls &= !skip.is_temporary;
                    status = skip.status;
                    is_unproved = true;
                    last = self.skipped(serving, host, &decision, skip);
                    continue;
                }
            };
            let tried = Tried {
                tls: &serving.route.tls,
                host,
                decision: &decision,
                demand,
            };
            if drain.is_cancelled() || !self.may_connect(serving).await {
                (lacks_tls, is_unwell) = (false, true);
                break;
            }
            let connected = tokio::select! {
                connected = self.connect(serving, tried) => connected,
                () = drain.cancelled() => continue,
            };
            let Some(connected) = connected else {
                return Err(NoConnection::Place);
            };
            match connected {
                Ok(connection) => {
                    serving.permit.opened();
                    let tls = connection.tls.as_deref();
                    let metrics = &self.outbound.metrics;
                    metrics.opened(&serving.path, &connection.setup, tls);
                    metrics.proved(decision.applied, connection.proof.level());
                    if let SourceAddress::Pool(ip, _) = serving.hop.from {
                        self.placer.sources.works(ip);
                    }
                    return Ok(connection);
                }
                Err(failure) => {
                    self.outbound.metrics.no_session(&serving.path, &failure);
                    if self.is_of_source(serving, &failure) {
                        return Err(NoConnection::Source);
                    }
                    lacks_tls &= failure.cause != Cause::Host;
                    status = ENCRYPTION_NEEDED;
                    if is_unmet(&decision, demand, &failure) {
                        is_unproved = true;
                        last = self.unmet(host, &decision, failure);
                        continue;
                    }
                    is_unwell = true;
                    let policy = self.placer.policy();
                    let reactions = &self.outbound.reactions;
                    reactions.session(&policy, serving.ip, serving.going, &failure.reply);
                    last = failure.reply;
                }
            }
        }
        let is_of_demand = is_unproved && !is_unwell;
        if lacks_tls {
            // RFC 8689 4.2.1: no host of the destination fulfils what the sender asked for.
            return Err(NoConnection::Hosts {
                verdict: Verdict::Failed,
                reply: Reply::ours(status, last.text),
                is_of_demand,
            });
        }
        Err(NoConnection::Hosts {
            verdict: Verdict::Deferred,
            reply: last,
            is_of_demand,
        })
    }

    /// What tasks hear of a host that is passed over.
    fn skipped(
        &self,
        serving: &Serving<'_>,
        host: &Host,
        decision: &Decision,
        skip: &Skip,
    ) -> Reply {
        let metrics = &self.outbound.metrics;
        metrics.unproved(decision.applied, skip.failure);
        let result = tls_results::result(&serving.route.tls, host, decision, Some(skip.failure));
        if let Some(result) = result {
            self.outbound.tls_results.count(result);
        }
        let policy = decision.applied.text();
        let text = format!("{policy} keeps mail from {}: {}", host.name, skip.text);
        Reply::ours(UNPROVED, text).bounded()
    }

    /// What tasks hear of a host that did not prove what they demand.
    fn unmet(&self, host: &Host, decision: &Decision, failure: NoSession) -> Reply {
        if let Some(kind) = tls_results::kind_of(&failure) {
            self.outbound.metrics.unproved(decision.applied, kind);
        }
        let policy = decision.applied.text();
        let said = &failure.reply;
        let text = format!("{policy} keeps mail from {}: {}", host.name, said.text);
        Reply::ours(said.enhanced.unwrap_or(UNPROVED), text).bounded()
    }

    /// Lets an IP rest that could not be used, whatever the host. Tells whether that is so.
    fn is_of_source(&self, serving: &Serving<'_>, failure: &NoSession) -> bool {
        let SourceAddress::Pool(ip, router) = serving.hop.from else {
            return false;
        };
        if !matches!(failure.cause, Cause::Source | Cause::SourceBusy) {
            return false;
        }
        let epoch = router.look(ip).map_or(0, |standing| standing.epoch);
        if failure.cause == Cause::SourceBusy {
            tracing::debug!(reply = %failure.reply, "a source IP takes no connection");
            self.placer.sources.pause(ip, epoch);
        } else {
            tracing::warn!(reply = %failure.reply, "a source IP rests");
            self.placer.sources.failed(ip, epoch);
        }
        true
    }

    /// A host with which TLS fails is asked again, in the clear, if that is allowed, and is not asked for TLS by such mail for
    /// a while. None: there is no place for a connection any more.
    async fn connect(
        &self,
        serving: &mut Serving<'_>,
        tried: Tried<'_>,
    ) -> Option<Result<Connection, NoSession>> {
        let (host, demand) = (tried.host, tried.demand);
        let may_fall_back =
            *demand == Demand::Opportunistic && serving.hop.policy.may_go_in_the_clear();
        let (connector, now) = (&self.outbound.connector, self.placer.now());
        let is_broken = may_fall_back && connector.is_tls_broken(host, now);
        let first = match is_broken {
            true => &Demand::Clear,
            false => demand,
        };
        let connected = self.try_connect(serving, first, host).await?;
        let result = match &connected {
            Ok(connection) => tried.connected(connection),
            Err(failure) => tried.failed(failure),
        };
        if let Some(result) = result {
            self.outbound.tls_results.count(result);
        }
        let failure = match connected {
            Err(failure) if !is_broken && failure.is_of_tls() && may_fall_back => failure,
            result => return Some(result),
        };
        if !self.may_connect(serving).await {
            return Some(Err(failure));
        }
        tracing::debug!(%host, reply = %failure.reply, "TLS failed; sending in the clear");
        let connected = self.try_connect(serving, &Demand::Clear, host).await?;
        if connected.is_ok() {
            connector.fell_back(host, &serving.route.site, &failure, now);
        }
        Some(connected)
    }

    async fn try_connect(
        &self,
        serving: &Serving<'_>,
        demand: &Demand,
        host: &Host,
    ) -> Option<Result<Connection, NoSession>> {
        let (hop, site) = (&serving.hop, &serving.route.site);
        tokio::select! {
            connected = self.outbound.connector.connect(hop, demand, site, host) => Some(connected),
            () = serving.permit.ended() => None,
        }
    }

    /// Each connection but the first takes tokens of its own.
    async fn may_connect(&self, serving: &mut Serving<'_>) -> bool {
        let wanted = (&serving.path_policy.connect, &*serving.route.site);
        let within = serving.hop.timeouts.idle;
        let permit = &mut serving.permit;
        permit
            .renew(&self.limiters, wanted, within, &self.outbound.drain)
            .await
    }
}

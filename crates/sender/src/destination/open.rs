//! From hosts and tokens to a connection.

use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_policy::Ip;

use crate::automation::active_actions::Going;
use crate::config::tls_policy::TlsPolicy;
use crate::destination::destinations::Destinations;
use crate::destination::permit::ConnectionPermit;
use crate::host::Host;
use crate::limits::path_policy::PathPolicy;
use crate::metrics::PathLabels;
use crate::route::find::Route;
use crate::smtp::connect::{Hop, SourceAddress};
use crate::smtp::connection::Connection;
use crate::smtp::no_session::{Cause, NoSession};

/// Why there is no connection.
pub enum NoConnection {
    /// What the hosts said, and what it means for tasks.
    Hosts(Verdict, Reply),
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

impl Destinations {
    /// A connection to the next of the hosts that gives one, else what the last one said.
    pub async fn open<'a>(
        &self,
        serving: &mut Serving<'_>,
        hosts: &mut (impl Iterator<Item = &'a Host> + Send),
    ) -> Result<Connection, NoConnection> {
        let drain = &self.outbound.drain;
        let mut last = serving.no_host.clone();
        let mut lacks_tls = serving.route.requires_tls;
        for host in hosts {
            if serving.permit.is_stopped() {
                return Err(NoConnection::Place);
            }
            if drain.is_cancelled() || !self.may_connect(serving).await {
                lacks_tls = false;
                break;
            }
            let connected = tokio::select! {
                connected = self.connect(serving, host) => connected,
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
                    let policy = self.placer.policy();
                    let reactions = &self.outbound.reactions;
                    reactions.session(&policy, serving.ip, serving.going, &failure.reply);
                    lacks_tls &= failure.cause != Cause::Host;
                    last = failure.reply;
                }
            }
        }
        if lacks_tls {
            // RFC 8689 4.2.1: no host of the destination fulfils what the sender asked for.
            let reply = Reply::ours((5, 7, 10), last.text);
            return Err(NoConnection::Hosts(Verdict::Failed, reply));
        }
        Err(NoConnection::Hosts(Verdict::Deferred, last))
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
        host: &Host,
    ) -> Option<Result<Connection, NoSession>> {
        let policy = serving.hop.policy;
        let may_fall_back = policy.may_fall_back();
        let (connector, now) = (&self.outbound.connector, self.placer.now());
        if may_fall_back && connector.is_tls_broken(host, now) {
            return self.try_connect(serving, TlsPolicy::Disable, host).await;
        }
        let failure = match self.try_connect(serving, policy.tls, host).await? {
            Err(failure) if failure.is_of_tls() && may_fall_back => failure,
            result => return Some(result),
        };
        if !self.may_connect(serving).await {
            return Some(Err(failure));
        }
        tracing::debug!(%host, reply = %failure.reply, "TLS failed; sending in the clear");
        let connected = self.try_connect(serving, TlsPolicy::Disable, host).await?;
        if connected.is_ok() {
            connector.fell_back(host, &serving.route.site, &failure, now);
        }
        Some(connected)
    }

    async fn try_connect(
        &self,
        serving: &Serving<'_>,
        policy: TlsPolicy,
        host: &Host,
    ) -> Option<Result<Connection, NoSession>> {
        let (hop, site) = (&serving.hop, &serving.route.site);
        tokio::select! {
            connected = self.outbound.connector.connect(hop, policy, site, host) => Some(connected),
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

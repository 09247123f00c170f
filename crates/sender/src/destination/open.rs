//! From hosts and tokens to a connection.

use std::time::{Duration, Instant};

use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_policy::Ip;
use tokio_util::sync::CancellationToken;

use crate::automation::active_actions::Going;
use crate::config::tls_policy::TlsPolicy;
use crate::destination::destinations::Destinations;
use crate::host::Host;
use crate::limits::limiters::{Ask, Token};
use crate::limits::path_policy::PathPolicy;
use crate::route::find::Route;
use crate::smtp::connect::{Cause, Hop, NoSession, SourceAddress, connect};
use crate::smtp::connection::Connection;

/// Why there is no connection.
pub enum NoConnection {
    /// What the hosts said, and what it means for tasks.
    Hosts(Verdict, Reply),
    /// The source IP cannot be used now.
    Source,
    /// The place at the host is another sender's by now.
    Place,
}

/// What one connection and those that follow it have in common.
pub struct Serving<'a> {
    pub route: &'a Route,
    /// None: the node's own address.
    pub ip: Option<&'a Ip>,
    /// Of the task that called for the connection; empty when it has gone elsewhere meanwhile.
    pub tenant: &'a str,
    pub pool: &'a str,
    pub path_policy: &'a PathPolicy,
    pub hop: Hop<'a>,
    /// What tasks hear when there is no host to be tried.
    pub no_host: Reply,
    /// The tokens of the connection.
    pub token: Option<Token>,
    /// The first task was not in the slot of its site.
    pub is_elsewhere: bool,
    /// The token was taken for a connection that is not tried yet.
    pub is_fresh: bool,
    /// The site is to be another sender's, who may have as many connections then.
    pub stop: CancellationToken,
}

impl Serving<'_> {
    pub fn going(&self) -> Going<'_> {
        Going {
            site: &self.route.site,
            tenant: self.tenant,
            pool: self.pool,
        }
    }
}

impl Destinations {
    /// A connection to the next of the hosts that gives one, else what the last one said.
    pub async fn open<'a>(
        &self,
        serving: &mut Serving<'_>,
        hosts: &mut (impl Iterator<Item = &'a Host> + Send),
    ) -> Result<Connection, NoConnection> {
        let context = &self.context;
        let mut last = serving.no_host.clone();
        let mut lacks_tls = serving.route.requires_tls;
        for host in hosts {
            if context.drain.is_cancelled() || !self.may_connect(serving).await {
                lacks_tls = false;
                break;
            }
            let connected = tokio::select! {
                connected = self.connect(serving, host) => connected,
                () = context.drain.cancelled() => continue,
            };
            let Some(connected) = connected else {
                return Err(NoConnection::Place);
            };
            match connected {
                Ok(connection) => {
                    if let Some(token) = &mut serving.token {
                        token.opened();
                    }
                    if let SourceAddress::Pool(ip, _) = serving.hop.from {
                        context.sources.works(ip);
                    }
                    return Ok(connection);
                }
                Err(failure) => {
                    if let SourceAddress::Pool(ip, router) = serving.hop.from
                        && matches!(failure.cause, Cause::Source | Cause::SourceBusy)
                    {
                        let epoch = router.look(ip).map_or(0, |standing| standing.epoch);
                        if failure.cause == Cause::SourceBusy {
                            tracing::debug!(reply = %failure.reply, "a source IP takes no connection");
                            context.sources.pause(ip, epoch);
                        } else {
                            tracing::warn!(reply = %failure.reply, "a source IP rests");
                            context.sources.failed(ip, epoch);
                        }
                        return Err(NoConnection::Source);
                    }
                    let (policy, ip) = (context.policy.borrow().clone(), serving.ip);
                    let reactions = &context.reactions;
                    reactions.session(&policy, ip, serving.going(), &failure.reply);
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

    /// A host with which TLS fails is asked again, in the clear, if that is allowed, and is not asked for TLS by such mail for
    /// a while. None: there is no place for a connection any more.
    async fn connect(
        &self,
        serving: &mut Serving<'_>,
        host: &Host,
    ) -> Option<Result<Connection, NoSession>> {
        let policy = serving.hop.policy;
        let may_fall_back = policy.may_fall_back();
        let (context, now) = (&self.context, self.context.active_actions.now());
        if may_fall_back && context.broken_tls.is_known(host, now) {
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
        if connected.is_ok() && failure.cause == Cause::TlsFailed {
            // A host that is gone altogether says nothing about its TLS.
            let site = &serving.route.site;
            context
                .broken_tls
                .learn(host, site, &failure.reply.text, now);
        }
        Some(connected)
    }

    async fn try_connect(
        &self,
        serving: &Serving<'_>,
        policy: TlsPolicy,
        host: &Host,
    ) -> Option<Result<Connection, NoSession>> {
        let to_end = async {
            match &serving.token {
                Some(token) => token.to_end().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            connected = connect(&serving.hop, &self.context.tls, policy, host) => {
                self.note(&serving.route.site, host, &connected);
                Some(connected)
            }
            () = to_end => None,
            () = serving.stop.cancelled() => None,
        }
    }

    /// Remembers whether there was a connection, whatever came of it. What is wrong with the source says nothing.
    fn note(&self, site: &str, host: &Host, connected: &Result<Connection, NoSession>) {
        let result = match connected {
            Err(failure) if matches!(failure.cause, Cause::Source | Cause::SourceBusy) => return,
            Err(failure) if failure.is_unreachable() => Err(failure.reply.text.as_str()),
            _ => Ok(()),
        };
        let connects = &self.context.health.connects;
        connects.note(Instant::now(), site, host.address, result);
    }

    /// Each connection but the first takes tokens of its own.
    async fn may_connect(&self, serving: &mut Serving<'_>) -> bool {
        if std::mem::take(&mut serving.is_fresh) {
            return true;
        }
        serving.token = None;
        let within = serving.hop.timeouts.idle;
        let ask = Ask {
            wants: &serving.path_policy.connect,
            site: &serving.route.site,
            is_elsewhere: serving.is_elsewhere,
            gone_since: None,
            demand: 1,
        };
        let drain = &self.context.drain;
        serving.token = self.take_within(&ask, within, drain).await;
        serving.token.is_some()
    }

    /// Tokens that are free soon; none after `stop`.
    pub async fn take_within(
        &self,
        ask: &Ask<'_>,
        within: Duration,
        stop: &CancellationToken,
    ) -> Option<Token> {
        let deadline = Instant::now() + within;
        loop {
            let closed = match self.context.limiters.take(ask, || None) {
                Ok(token) => return Some(token),
                Err(closed) => closed,
            };
            if closed.until > deadline {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep_until(closed.until.into()) => {}
                () = stop.cancelled() => return None,
            }
        }
    }
}

//! One attempt at a task: a transaction, and what follows from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_client::trace::AttemptTrace;
use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_smtp::client::TransactionOutcome;
use skein_tls::{Applied, Choice, Level, TlsPolicy};
use tracing::{Instrument, Span};

use crate::destination::destinations::Destinations;
use crate::destination::open::Serving;
use crate::destination::permit::ConnectionPermit;
use crate::destination::state::Destination;
use crate::limits::policy_use::UnderPolicy;
use crate::limits::token::Token;
use crate::metrics::ip_label;
use crate::outcome::{self, Attempt, verdicts};
use crate::route::find::Route;
use crate::route::hosted;
use crate::smtp::connection::Connection;
use crate::smtp::transfer::Content;
use crate::source_ip::spend::Spend;
use crate::task::delivery::DeliveryTask;

/// A task after a transaction that did not settle it here.
pub struct Unsettled {
    /// The host ended the session, or gave none that can be used: else it answered, and is well.
    pub has_ended: bool,
    pub delivery: DeliveryTask,
    pub attempt: Attempt,
    pub verdicts: Vec<(Verdict, Reply)>,
}

impl Unsettled {
    fn of(
        destination: &Destination,
        connection: &Connection,
        delivery: DeliveryTask,
        outcome: &TransactionOutcome,
        began: Instant,
    ) -> Self {
        // Each lock on its own: one within an expression is held to the end of that.
        let (route, source) = destination.path();
        let attempt = Attempt {
            site: route.site.clone(),
            source: connection.source.clone(),
            ip: Some(ip_label(source.name()).to_owned()),
            peer: Some(connection.host.to_string()),
            tls: connection.tls_facts(proved(&route, connection)),
            duration: began.elapsed().into(),
            passes_dsn: connection.capabilities.dsn,
            rest_at_once: outcome::rest_may_follow_at_once(&outcome.recipients),
            ..Attempt::default()
        };
        Self {
            has_ended: !outcome.connection_usable,
            delivery,
            attempt,
            verdicts: verdicts(&connection.host, &outcome.recipients),
        }
    }
}

/// What follows a transaction.
pub enum After {
    /// Another one on the same connection.
    Next,
    /// The connection is of no more use.
    Close,
    /// The host does not take this message, and another host of the destination may.
    Elsewhere(Box<Unsettled>),
}

/// A change of leader or a heartbeat that comes late is over by then.
const NOT_NOW: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits a little until a transaction could be finished. A task that could not is given back, to be handed out again when
/// it can: that says nothing about its host, and counts no attempt. It does not wait on a connection that is to end.
async fn may_finish(delivery: &DeliveryTask, permit: &ConnectionPermit) -> bool {
    let began = Instant::now();
    while !(delivery.lease.holds(delivery.task.session) && delivery.reporter.is_open()) {
        if delivery.is_stopped() || permit.must_leave() || began.elapsed() >= NOT_NOW {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// Whether the host has proved what the tasks that wait here demand now. Those of one destination demand the same, and this is
/// what holds whatever led a task to a connection.
fn is_proved(destination: &Destination, serving: &Serving<'_>, connection: &Connection) -> bool {
    let (route, _) = destination.path();
    let decision = route.tls.decide(&connection.host, serving.path_policy.tls);
    match decision.choice {
        Choice::Try(demand) => demand.is_met_by(&connection.proof),
        Choice::Skip(_) => false,
    }
}

/// What was proved, and by whose word it matters.
fn proved(route: &Route, connection: &Connection) -> &'static str {
    let level = connection.proof.level();
    let decision = route.tls.decide(&connection.host, TlsPolicy::default());
    match (decision.applied, level) {
        (Applied::Sts, Level::Pkix) => Applied::Sts.name(),
        _ => level.name(),
    }
}

/// The span of the transaction that begins, if it is recorded.
fn begin_trace(
    delivery: &mut DeliveryTask,
    serving: &Serving<'_>,
    connection: &Connection,
) -> Span {
    let site = &serving.route.site;
    delivery.trace = AttemptTrace::begin(&delivery.task, site);
    let Some(trace) = &mut delivery.trace else {
        return Span::none();
    };
    let (host, ip) = (&connection.host, serving.ip.map_or("", |ip| &ip.name));
    trace.transaction(&host.name, host.address.to_string(), ip_label(ip))
}

impl Destinations {
    /// One transaction.
    pub async fn attempt(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        serving: &Serving<'_>,
        connection: &mut Connection,
        (mut delivery, token): (DeliveryTask, Token),
        has_more_hosts: bool,
    ) -> After {
        if delivery.spend.as_ref().is_some_and(Spend::is_over) {
            // The task waited here beyond the day that its budget is of.
            token.cancel();
            let route = destination.state.lock().route.as_ref().clone();
            self.push(route, delivery);
            return After::Next;
        }
        if !may_finish(&delivery, &serving.permit).await {
            token.cancel();
            return After::Next;
        }
        if !is_proved(destination, serving, connection) {
            token.cancel();
            destination.state.lock().put_back(delivery);
            return After::Close;
        }
        if let Some(spend) = &mut delivery.spend {
            spend.begin();
        }
        let is_reused = connection.transactions > 0;
        let began = Instant::now();
        let span = begin_trace(&mut delivery, serving, connection);
        let transaction = self.transact(serving, connection, &delivery, token.under.as_ref());
        let Some(outcome) = transaction.instrument(span).await else {
            token.cancel();
            return After::Next;
        };
        if let Some(trace) = &delivery.trace {
            trace.took(connection.steps(), connection.tls.as_deref());
        }
        token.ended();
        let metrics = &self.outbound.metrics;
        metrics.took(&serving.path, &connection.times);
        self.heard(destination, &delivery, &outcome);
        if connection.gave_up || (delivery.is_stopped() && !outcome.dot_sent) {
            // As far as the host can tell it was not begun; the group hands it out again.
            return After::Close;
        }
        let is_elsewhere =
            outcome::may_go_elsewhere(&outcome, has_more_hosts) && delivery.reporter.is_open();
        let usable = outcome.connection_usable;
        self.learn(destination, &outcome);
        if is_elsewhere && is_reused && !usable {
            // The host had enough of this connection; that says nothing about this message.
            destination.state.lock().put_back(delivery);
            return After::Close;
        }
        let unsettled = Unsettled::of(destination, connection, delivery, &outcome, began);
        if is_elsewhere && (has_more_hosts || !usable) {
            return After::Elsewhere(Box::new(unsettled));
        }
        self.results
            .settle(unsettled.delivery, unsettled.attempt, unsettled.verdicts);
        if usable { After::Next } else { After::Close }
    }

    /// The transaction of a task. None: it was stopped before that began.
    async fn transact(
        &self,
        serving: &Serving<'_>,
        connection: &mut Connection,
        delivery: &DeliveryTask,
        under: Option<&UnderPolicy>,
    ) -> Option<TransactionOutcome> {
        let rewrites = &self.outbound.rewrites;
        let prepared = tokio::select! {
            prepared = delivery.prepare(&connection.capabilities, rewrites) => prepared,
            () = delivery.claim.stop.cancelled() => return None,
        };
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(reason) => {
                let recipients = delivery.task.task.recipients.len();
                return Some(connection.keep_back(&reason, recipients));
            }
        };
        if let Some(destination) = &serving.route.hosted {
            let policy = self.placer.policy();
            let recipients = delivery.task.task.recipients.iter();
            for ((_, recipient), to) in recipients.zip(&mut prepared.message.recipients) {
                to.kept_back = hosted::kept_back(&policy, destination, recipient);
            }
        }
        let content = Content {
            spool: &delivery.spool,
            task: &delivery.task,
            lease: &delivery.lease,
            claim: &delivery.claim,
            rewritten: prepared.rewritten.clone(),
            under,
        };
        let timeouts = serving.hop.timeouts;
        let outcome = connection
            .transact(timeouts, &prepared.message, content, &delivery.reporter)
            .await;
        Some(outcome)
    }

    /// Replies that rules are about are told to the meta group.
    fn heard(
        &self,
        destination: &Destination,
        delivery: &DeliveryTask,
        outcome: &TransactionOutcome,
    ) {
        let (route, source) = destination.path();
        let going = delivery.going(&route.site);
        let policy = self.placer.policy();
        let reactions = &self.outbound.reactions;
        reactions.transaction(&policy, source.0.as_deref(), going, outcome);
    }

    /// A host that took or refused something is well, whatever it was.
    fn learn(self: &Arc<Self>, destination: &Arc<Destination>, outcome: &TransactionOutcome) {
        let health = &self.placer.sources.health;
        let has_ended = !outcome.connection_usable && outcome::may_go_elsewhere(outcome, false);
        if has_ended || health.is_all_well() {
            return;
        }
        let (route, source) = destination.path();
        if health.works(&route.site, source.name()) {
            while self.open_if_needed(destination) {}
        }
    }
}

//! One connection's life: hosts, transactions, and what becomes of tasks that no host took.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::spool::Verdict;
use skein_model::throttle::TURN;
use skein_model::{DurationMs, Reply};
use skein_smtp::client::TransactionOutcome;
use tokio_util::sync::CancellationToken;

use crate::automation::active_actions::Going;
use crate::destination::destinations::{Destination, Destinations, NO_MORE, Work};
use crate::destination::open::{NoConnection, Serving};
use crate::limits::limiters::Token;
use crate::limits::path_policy::PathPolicy;
use crate::outcome::{self, Attempt, verdicts};
use crate::route::find::Route;
use crate::smtp::connect::{Hop, SourceAddress};
use crate::smtp::connection::{Connection, Content};
use crate::source_ip::budgets::Spend;
use crate::task::delivery::DeliveryTask;

/// A task after a transaction that did not settle it here.
struct Unsettled {
    /// The host ended the session, or gave none that can be used: else it answered, and is well.
    has_ended: bool,
    delivery: DeliveryTask,
    attempt: Attempt,
    verdicts: Vec<(Verdict, Reply)>,
}

/// A change of leader or a heartbeat that comes late is over by then.
const NOT_NOW: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits a little until a transaction could be finished. A task that could not is given back, to be handed out again when
/// it can: that says nothing about its host, and counts no attempt. It does not wait on a connection that is to end.
async fn may_finish(delivery: &DeliveryTask, seat: Option<&Token>) -> bool {
    let began = Instant::now();
    while !(delivery.lease.holds(delivery.task.session) && delivery.reporter.is_open()) {
        let is_to_end = || seat.is_some_and(Token::must_leave);
        if delivery.is_stopped() || is_to_end() || began.elapsed() >= NOT_NOW {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// What a connection begins with.
struct Begun {
    first: Option<(DeliveryTask, Token)>,
    /// What this host does not take may be tried with another one.
    has_more_hosts: bool,
}

/// What follows a transaction.
enum After {
    /// Another one on the same connection.
    Next,
    /// The connection is of no more use.
    Close,
    /// The host does not take this message, and another host of the destination may.
    Elsewhere(Box<Unsettled>),
}

impl Destinations {
    /// One connection, from its opening to its end, and connections to further hosts when one does not take a message.
    pub async fn serve(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        path_policy: &PathPolicy,
        token: Token,
        stop: CancellationToken,
    ) {
        let context = &self.context;
        let config = &context.config;
        let began = Instant::now();
        let (route, source, whose) = {
            let state = destination.state.lock();
            let first = state.waiting.first();
            let whose = first.map(|delivery| &delivery.task.message.envelope);
            let whose = whose.map(|one| (one.tenant.clone(), one.pool.clone()));
            (state.route.clone(), state.source.clone(), whose)
        };
        let (tenant, pool) = whose.unwrap_or_default();
        let timeouts = path_policy.timeouts(&config.timeouts);
        let policy = path_policy.hop(&route.policy, route.has_rule);
        let own = config.source_address;
        let no_host = source.passes_over(&route.hosts, own);
        let from = match &source.0 {
            Some(ip) => SourceAddress::Pool(ip, &context.router),
            None => SourceAddress::Node(config.source_address),
        };
        let mut serving = Serving {
            route: &route,
            ip: source.0.as_deref(),
            tenant: &tenant,
            pool: &pool,
            path_policy,
            hop: Hop {
                ehlo: source.ehlo(config),
                from,
                policy: &policy,
                timeouts: &timeouts,
            },
            no_host: no_host
                .unwrap_or_else(|| Reply::ours((4, 4, 1), "the destination has no address")),
            is_elsewhere: token.is_elsewhere,
            token: Some(token),
            is_fresh: true,
            stop,
        };
        let fitting = route.hosts.iter().filter(|host| source.fits(host, own));
        // A closure in what is kept over the whole of this life would be one for a single lifetime, and so not `Send`.
        let mut hosts = fitting.collect::<Vec<_>>().into_iter();
        let opened = self.open(&mut serving, &mut hosts).await;
        destination.state.lock().ready -= 1;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(NoConnection::Place) => return,
            Err(NoConnection::Source) => {
                self.choose_again(destination);
                return;
            }
            Err(NoConnection::Hosts(verdict, reply)) => {
                context.metrics.connect_failures.inc();
                self.give_up_waiting(destination, &route, verdict, &reply, began);
                return;
            }
        };
        let mut first = None;
        loop {
            context.metrics.connections.inc();
            let begun = Begun {
                first: first.take(),
                has_more_hosts: hosts.len() > 0,
            };
            let unsettled = self.use_up(destination, &serving, connection, begun).await;
            context.metrics.connections.dec();
            let Some(unsettled) = unsettled else {
                return;
            };
            let next = tokio::select! {
                next = self.open(&mut serving, &mut hosts) => next.ok(),
                () = unsettled.delivery.claim.stop.cancelled() => None,
            };
            let token = match &next {
                Some(_) => {
                    let delivery = &unsettled.delivery;
                    let ask = delivery.ask(&serving.path_policy.message, &route, 1);
                    self.take_within(&ask, timeouts.idle, &delivery.claim.stop)
                        .await
                }
                None => None,
            };
            let (Some(next), Some(token)) = (next, token) else {
                let Unsettled {
                    has_ended,
                    mut delivery,
                    attempt,
                    verdicts,
                } = *unsettled;
                if !delivery.was_cut && outcome::is_cut(&verdicts) {
                    // The host may be gone: whoever connects next finds out.
                    delivery.was_cut = true;
                    destination.state.lock().put_back(delivery);
                    return;
                }
                // What this node could not do, such as to read the message, says nothing about the host.
                let ended = verdicts.first().map(|(_, reply)| reply.clone());
                let ended = ended.filter(|reply| has_ended && reply.host.is_some());
                let site = attempt.site.clone();
                context.settle(delivery, attempt, verdicts);
                if let Some(reply) = ended
                    && context.sources.health.failed(&site, source.name(), &reply)
                {
                    self.choose_again(destination);
                }
                return;
            };
            connection = next;
            first = Some((unsettled.delivery, token));
        }
    }

    /// Runs transactions until the connection is of no more use, and closes it. Returns a task that the host did not
    /// take and another may.
    async fn use_up(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        serving: &Serving<'_>,
        mut connection: Connection,
        mut begun: Begun,
    ) -> Option<Box<Unsettled>> {
        let own = self.context.config.messages_per_connection_max;
        let given = serving.path_policy.messages_per_connection;
        let transactions_max = given.map_or(own, |given| given.min(own));
        let timeouts = serving.hop.timeouts;
        let mut unsettled = None;
        let active_actions = &self.context.active_actions;
        let site = &serving.route.site;
        let (began, opened) = (active_actions.latest_of(site), Instant::now());
        // What began since may allow fewer connections than there are, or none.
        while connection.transactions < transactions_max
            && !connection.is_to_end()
            && !serving.stop.is_cancelled()
            && active_actions.latest_of(site) <= began
        {
            let seat = serving.token.as_ref();
            let had_turn = connection.transactions > 0 && opened.elapsed() >= Duration::from(TURN);
            let is_to_go = |seat: &Token| {
                seat.must_leave() || (had_turn && seat.is_wanted(destination.number))
            };
            if seat.is_some_and(is_to_go) {
                break;
            }
            let next = match begun.first.take() {
                Some(next) => Some(next),
                None => {
                    let leaves = connection.to_end();
                    let to_end = async {
                        tokio::select! {
                            () = leaves => {}
                            () = serving.stop.cancelled() => {}
                        }
                    };
                    self.next_job(destination, timeouts.idle, seat, to_end)
                        .await
                }
            };
            let Some(next) = next else {
                break;
            };
            let after = self
                .attempt(
                    destination,
                    serving,
                    &mut connection,
                    next,
                    begun.has_more_hosts,
                )
                .await;
            match after {
                After::Next => {}
                After::Close => return None,
                After::Elsewhere(delivery) => {
                    unsettled = Some(delivery);
                    break;
                }
            }
        }
        connection.quit().await;
        unsettled
    }

    /// The next task, or none when the connection has been idle for long, a limit holds it up for longer, it has nothing
    /// to do and others wait for its tokens, other senders do, or the sender drains.
    async fn next_job(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        idle: Duration,
        seat: Option<&Token>,
        to_end: impl Future<Output = ()> + Send,
    ) -> Option<(DeliveryTask, Token)> {
        let drain = &self.context.drain;
        let mut over = self.context.limiters.over();
        let mut has_idled = false;
        tokio::pin!(to_end);
        loop {
            if drain.is_cancelled() {
                return None;
            }
            let is_for_long = match self.next_work(destination) {
                Work::Task(delivery, token) if drain.is_cancelled() => {
                    token.cancel();
                    drop(delivery);
                    return None;
                }
                Work::Task(delivery, token) => {
                    if let Some(seat) = seat {
                        seat.set_idle(false);
                    }
                    return Some((*delivery, token));
                }
                Work::Throttled(until) => until > Instant::now() + idle,
                Work::None => {
                    if let Some(seat) = seat {
                        seat.set_idle(true);
                    }
                    seat.is_some_and(|seat| seat.is_wanted(destination.number))
                }
            };
            let is_over = has_idled || is_for_long || seat.is_some_and(Token::must_leave);
            if !is_over {
                has_idled = tokio::select! {
                    () = destination.work.notified() => false,
                    // A task may come at this very moment, so there is one more look.
                    () = tokio::time::sleep(idle) => true,
                    () = drain.cancelled() => false,
                    () = &mut to_end => true,
                    _ = over.changed() => false,
                };
            }
            destination.state.lock().ready -= 1;
            if is_over {
                return None;
            }
        }
    }

    /// One transaction.
    async fn attempt(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        serving: &Serving<'_>,
        connection: &mut Connection,
        (mut delivery, token): (DeliveryTask, Token),
        has_more_hosts: bool,
    ) -> After {
        let context = &self.context;
        if delivery.spend.as_ref().is_some_and(Spend::is_over) {
            // It waited here beyond the day that its budget is of.
            token.cancel();
            let route = destination.state.lock().route.as_ref().clone();
            self.push(route, delivery);
            return After::Next;
        }
        if !may_finish(&delivery, serving.token.as_ref()).await {
            token.cancel();
            return After::Next;
        }
        if let Some(spend) = &mut delivery.spend {
            spend.begin();
        }
        let is_reused = connection.transactions > 0;
        let began = Instant::now();
        let prepared = tokio::select! {
            prepared = delivery.prepare(&connection.capabilities, &context.rewrites) => prepared,
            () = delivery.claim.stop.cancelled() => {
                token.cancel();
                return After::Next;
            }
        };
        let outcome = match prepared {
            Ok(prepared) => {
                let content = Content {
                    spool: &delivery.spool,
                    task: &delivery.task,
                    lease: &delivery.lease,
                    claim: &delivery.claim,
                    rewritten: prepared.rewritten.clone(),
                };
                let timeouts = serving.hop.timeouts;
                connection
                    .transact(timeouts, &prepared.message, content, &delivery.reporter)
                    .await
            }
            Err(reason) => connection.keep_back(&reason, delivery.task.task.recipients.len()),
        };
        token.ended();
        self.heard(destination, &delivery, &outcome);
        if connection.gave_up || (delivery.is_stopped() && !outcome.dot_sent) {
            // Not begun as far as anybody can tell; the group hands it out again.
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
        let unsettled = self.result(destination, connection, delivery, &outcome, began);
        if is_elsewhere && (has_more_hosts || !usable) {
            return After::Elsewhere(Box::new(unsettled));
        }
        context.settle(unsettled.delivery, unsettled.attempt, unsettled.verdicts);
        if usable { After::Next } else { After::Close }
    }

    /// Replies that rules are about are told to the meta group.
    fn heard(
        &self,
        destination: &Destination,
        delivery: &DeliveryTask,
        outcome: &TransactionOutcome,
    ) {
        let (route, source) = {
            let state = destination.state.lock();
            (state.route.clone(), state.source.clone())
        };
        let envelope = &delivery.task.message.envelope;
        let going = Going {
            site: &route.site,
            tenant: &envelope.tenant,
            pool: &envelope.pool,
        };
        let policy = self.context.policy.borrow().clone();
        let reactions = &self.context.reactions;
        reactions.transaction(&policy, source.0.as_deref(), going, outcome);
    }

    fn result(
        &self,
        destination: &Destination,
        connection: &Connection,
        delivery: DeliveryTask,
        outcome: &TransactionOutcome,
        began: Instant,
    ) -> Unsettled {
        let attempt = Attempt {
            site: destination.state.lock().route.site.clone(),
            source: connection.source.clone(),
            peer: Some(connection.host.to_string()),
            tls: connection.tls.clone(),
            duration: began.elapsed().into(),
            passes_dsn: connection.capabilities.dsn,
            rest_at_once: outcome::rest_may_follow_at_once(&outcome.recipients),
            ..Attempt::default()
        };
        Unsettled {
            has_ended: !outcome.connection_usable,
            delivery,
            attempt,
            verdicts: verdicts(&connection.host, &outcome.recipients),
        }
    }

    /// A host that took or refused something is well, whatever it was.
    fn learn(self: &Arc<Self>, destination: &Arc<Destination>, outcome: &TransactionOutcome) {
        let health = &self.context.sources.health;
        let has_ended = !outcome.connection_usable && outcome::may_go_elsewhere(outcome, false);
        if has_ended || health.is_all_well() {
            return;
        }
        let (site, source) = {
            let state = destination.state.lock();
            (state.route.site.clone(), state.source.clone())
        };
        if health.works(&site, source.name()) {
            while self.open_if_needed(destination) {}
        }
    }

    /// No host gave a session: what waits here ends with the reason, unless other connections remain.
    fn give_up_waiting(
        self: &Arc<Self>,
        destination: &Destination,
        route: &Route,
        verdict: Verdict,
        reply: &Reply,
        began: Instant,
    ) {
        if self.context.drain.is_cancelled() {
            return;
        }
        let deliveries: Vec<DeliveryTask> = {
            let mut state = destination.state.lock();
            if state.connections > 1 {
                state.no_more_until = Some(Instant::now() + NO_MORE);
                return;
            }
            state.waiting.drain().collect()
        };
        let is_away = verdict == Verdict::Deferred;
        if is_away {
            let health = &self.context.sources.health;
            let source = destination.state.lock().source.clone();
            health.failed(&route.site, source.name(), reply);
            if health.blocked(&route.site, source.name()).is_some() {
                // They go from another IP, or wait for the site.
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
                duration: began.elapsed().into(),
                away_for: is_away.then_some(DurationMs(0)),
                ..Attempt::default()
            };
            self.context.settle_all(delivery, attempt, verdict, reply);
        }
    }
}

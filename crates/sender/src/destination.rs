//! A destination: tasks that wait for it, and the connections that serve them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_model::Reply;
use skein_model::spool::Verdict;
use skein_smtp::client::TransactionOutcome;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::connect::{Cause, Host, connect};
use crate::connection::{Connection, Content};
use crate::deliver::{Context, Job};
use crate::outcome::{self, Attempt, verdicts};
use crate::route::Route;
use crate::waiting::Waiting;

/// A host that gave one more connection no session while it serves others is asked for none during this time:
/// it has as many as it wants.
const NO_MORE: Duration = Duration::from_secs(5);

/// All destinations that have tasks or connections. Their number is bounded by the sender's window.
pub struct Destinations {
    context: Arc<Context>,
    map: Mutex<HashMap<String, Arc<Destination>>>,
    connections: TaskTracker,
}

struct Destination {
    key: String,
    state: Mutex<State>,
    work: Notify,
}

struct State {
    /// As the latest task found it, so that changed records are followed and hosts of equal preference take turns.
    route: Arc<Route>,
    waiting: Waiting<Job>,
    connections: usize,
    /// Connections that wait for a task, and those that are being opened.
    ready: usize,
    /// Connections beside the present ones are opened after this.
    no_more_until: Option<Instant>,
    /// Taken off the map; a new task needs a new destination.
    closed: bool,
}

impl Destination {
    fn new(key: String, route: Arc<Route>) -> Self {
        let state = State {
            route,
            waiting: Waiting::default(),
            connections: 0,
            ready: 0,
            no_more_until: None,
            closed: false,
        };
        Self {
            key,
            state: Mutex::new(state),
            work: Notify::new(),
        }
    }
}

/// A task after a transaction that did not settle it here.
struct Unsettled {
    job: Job,
    attempt: Attempt,
    verdicts: Vec<(Verdict, Reply)>,
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
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context,
            map: Mutex::default(),
            connections: TaskTracker::new(),
        })
    }

    /// Queues a task and opens a connection if the present ones will not reach it soon.
    pub fn push(self: &Arc<Self>, route: Route, job: Job) {
        let destination = {
            let mut map = self.map.lock();
            let (key, route) = (route.key.clone(), Arc::new(route));
            let destination = map
                .entry(key.clone())
                .or_insert_with(|| Arc::new(Destination::new(key, route.clone())))
                .clone();
            // Both locks are held, so the destination cannot close between the look-up and the push.
            let mut state = destination.state.lock();
            state.route = route;
            state.waiting.push(job.priority(), job);
            drop(state);
            destination
        };
        destination.work.notify_one();
        self.open_if_needed(&destination);
    }

    fn open_if_needed(self: &Arc<Self>, destination: &Arc<Destination>) {
        {
            let mut state = destination.state.lock();
            let is_needed = state.waiting.len() > state.ready;
            let no_more = state.connections > 0
                && state
                    .no_more_until
                    .is_some_and(|until| Instant::now() < until);
            if !is_needed
                || no_more
                || state.closed
                || self.context.drain.is_cancelled()
                || state.connections >= self.context.config.connections_max
            {
                return;
            }
            state.connections += 1;
            state.ready += 1;
        }
        let (destinations, destination) = (self.clone(), destination.clone());
        self.connections.spawn(async move {
            destinations.serve(&destination).await;
            destinations.connection_ended(&destination);
        });
    }

    fn connection_ended(self: &Arc<Self>, destination: &Arc<Destination>) {
        {
            let mut map = self.map.lock();
            let mut state = destination.state.lock();
            state.connections -= 1;
            if state.connections == 0 && state.waiting.is_empty() {
                state.closed = true;
                map.remove(&destination.key);
                return;
            }
        }
        self.open_if_needed(destination);
    }

    /// Gives tasks back that wait for a connection and are not to be sent from here.
    pub fn return_stopped(&self) {
        let destinations: Vec<_> = self.map.lock().values().cloned().collect();
        for destination in destinations {
            let mut state = destination.state.lock();
            state.waiting.retain(|job| !job.is_stopped());
        }
    }

    /// Waits for the connections to end after the drain began.
    pub async fn drained(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    /// One connection, from its opening to its end, and connections to further hosts when one does not take a message.
    async fn serve(self: &Arc<Self>, destination: &Arc<Destination>) {
        let context = &self.context;
        let began = Instant::now();
        let route = destination.state.lock().route.clone();
        let mut hosts = route.hosts.iter();
        let opened = self.open(&route, &mut hosts).await;
        destination.state.lock().ready -= 1;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err((verdict, reply)) => {
                context.metrics.connect_failures.inc();
                self.give_up_waiting(destination, &route, verdict, &reply, began);
                return;
            }
        };
        let mut first = None;
        loop {
            context.metrics.connections.inc();
            let unsettled = self.use_up(destination, connection, first.take()).await;
            context.metrics.connections.dec();
            let Some(unsettled) = unsettled else {
                return;
            };
            match self.open(&route, &mut hosts).await {
                Ok(next) => {
                    connection = next;
                    first = Some(unsettled.job);
                }
                Err(_) => {
                    let Unsettled {
                        job,
                        attempt,
                        verdicts,
                    } = *unsettled;
                    context.settle(job, attempt, verdicts);
                    return;
                }
            }
        }
    }

    /// Runs transactions until the connection is of no more use, and closes it. Returns a task that the host did not
    /// take and another may.
    async fn use_up(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        mut connection: Connection,
        mut first: Option<Job>,
    ) -> Option<Box<Unsettled>> {
        let transactions_max = self.context.config.messages_per_connection_max;
        let mut unsettled = None;
        while connection.transactions < transactions_max {
            let job = match first.take() {
                Some(job) => Some(job),
                None => self.next_job(destination).await,
            };
            let Some(job) = job else {
                break;
            };
            match self.attempt(destination, &mut connection, job).await {
                After::Next => {}
                After::Close => return None,
                After::Elsewhere(job) => {
                    unsettled = Some(job);
                    break;
                }
            }
        }
        connection.quit().await;
        unsettled
    }

    /// A connection to the next of the hosts that gives one, else what the last one said.
    async fn open(
        &self,
        route: &Route,
        hosts: &mut std::slice::Iter<'_, Host>,
    ) -> Result<Connection, (Verdict, Reply)> {
        let context = &self.context;
        let mut last = Reply::ours((4, 4, 1), "the destination has no address");
        let mut lacks_tls = route.requires_tls;
        for host in hosts {
            if context.drain.is_cancelled() {
                lacks_tls = false;
                break;
            }
            let connected = tokio::select! {
                connected = connect(&context.config, &context.tls, &route.policy, host) => connected,
                () = context.drain.cancelled() => continue,
            };
            match connected {
                Ok(connection) => return Ok(connection),
                Err(failure) => {
                    lacks_tls &= failure.cause != Cause::Host;
                    last = failure.reply;
                }
            }
        }
        if lacks_tls {
            // RFC 8689 4.2.1: no host of the destination fulfils what the sender asked for.
            return Err((Verdict::Failed, Reply::ours((5, 7, 10), last.text)));
        }
        Err((Verdict::Deferred, last))
    }

    /// The next task, or none when the connection has been idle for long or the sender drains.
    async fn next_job(&self, destination: &Destination) -> Option<Job> {
        loop {
            if self.context.drain.is_cancelled() {
                return None;
            }
            {
                let mut state = destination.state.lock();
                if let Some(job) = state.waiting.pop() {
                    if !state.waiting.is_empty() {
                        // Two tasks that come before one connection has looked wake only one.
                        destination.work.notify_one();
                    }
                    return Some(job);
                }
                state.ready += 1;
            }
            let woken = tokio::select! {
                () = destination.work.notified() => true,
                () = tokio::time::sleep(self.context.config.timeouts.idle) => false,
                () = self.context.drain.cancelled() => false,
            };
            destination.state.lock().ready -= 1;
            if !woken {
                // A task may have come at this very moment.
                return destination
                    .state
                    .lock()
                    .waiting
                    .pop()
                    .filter(|_| !self.context.drain.is_cancelled());
            }
        }
    }

    /// One transaction.
    async fn attempt(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        connection: &mut Connection,
        job: Job,
    ) -> After {
        let context = &self.context;
        let is_reused = connection.transactions > 0;
        let began = Instant::now();
        let message = context.outgoing(&job, &connection.capabilities).await;
        let content = Content {
            spool: &job.spool,
            task: &job.task,
            lease: &job.lease,
            claim: &job.claim,
        };
        let outcome = connection
            .transact(&context.config.timeouts, &message, content, &job.reporter)
            .await;
        if job.is_stopped() && !outcome.dot_sent {
            // Not begun as far as anybody can tell; the group hands it to another sender.
            return After::Close;
        }
        let is_elsewhere = outcome::may_go_elsewhere(&outcome) && job.reporter.is_open();
        let usable = outcome.connection_usable;
        if is_elsewhere && is_reused && !usable {
            // The host had enough of this connection; that says nothing about this message.
            let priority = job.priority();
            destination.state.lock().waiting.push_front(priority, job);
            return After::Close;
        }
        let unsettled = self.result(destination, connection, job, &outcome, began);
        if is_elsewhere {
            return After::Elsewhere(Box::new(unsettled));
        }
        context.settle(unsettled.job, unsettled.attempt, unsettled.verdicts);
        if usable { After::Next } else { After::Close }
    }

    fn result(
        &self,
        destination: &Destination,
        connection: &Connection,
        job: Job,
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
        };
        Unsettled {
            job,
            attempt,
            verdicts: verdicts(&connection.host, &outcome.recipients),
        }
    }

    /// No host gave a session: what waits here ends with the reason, unless other connections remain.
    fn give_up_waiting(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        route: &Route,
        verdict: Verdict,
        reply: &Reply,
        began: Instant,
    ) {
        if self.context.drain.is_cancelled() {
            return;
        }
        let jobs: Vec<Job> = {
            let mut state = destination.state.lock();
            if state.connections > 1 {
                state.no_more_until = Some(Instant::now() + NO_MORE);
                return;
            }
            state.waiting.drain().collect()
        };
        for job in jobs {
            let attempt = Attempt {
                site: route.site.clone(),
                duration: began.elapsed().into(),
                ..Attempt::default()
            };
            self.context.settle_all(job, attempt, verdict, reply);
        }
    }
}

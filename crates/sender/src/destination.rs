//! A destination: tasks that wait for it, and the connections that serve them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use skein_model::Reply;
use skein_model::spool::Verdict;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::connect::connect;
use crate::connection::{Connection, Content};
use crate::deliver::{Context, Job};
use crate::outcome::{Attempt, verdicts};
use crate::route::Route;

/// All destinations that have tasks or connections. Their number is bounded by the sender's window.
pub struct Destinations {
    context: Arc<Context>,
    map: Mutex<HashMap<String, Arc<Destination>>>,
    connections: TaskTracker,
}

struct Destination {
    route: Route,
    state: Mutex<State>,
    work: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    connections: usize,
    /// Connections that wait for a task, and those that are being opened.
    ready: usize,
    /// Taken off the map; a new task needs a new destination.
    closed: bool,
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
            let key = route.key.clone();
            let destination = map
                .entry(key)
                .or_insert_with(|| {
                    Arc::new(Destination {
                        route,
                        state: Mutex::default(),
                        work: Notify::new(),
                    })
                })
                .clone();
            // Both locks are held, so the destination cannot close between the look-up and the push.
            destination.state.lock().waiting.push_back(job);
            destination
        };
        destination.work.notify_one();
        self.open_if_needed(&destination);
    }

    fn open_if_needed(self: &Arc<Self>, destination: &Arc<Destination>) {
        {
            let mut state = destination.state.lock();
            let is_needed = state.waiting.len() > state.ready;
            if !is_needed
                || state.closed
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
                map.remove(&destination.route.key);
                return;
            }
        }
        self.open_if_needed(destination);
    }

    /// Waits for the connections to end after the drain began.
    pub async fn drained(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    /// One connection, from its opening to its end.
    async fn serve(self: &Arc<Self>, destination: &Arc<Destination>) {
        let context = &self.context;
        let began = Instant::now();
        let opened = self.open(destination).await;
        destination.state.lock().ready -= 1;
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(reply) => {
                context.metrics.connect_failures.inc();
                self.defer_waiting(destination, &reply, began);
                return;
            }
        };
        context.metrics.connections.inc();
        while connection.transactions < context.config.messages_per_connection_max {
            let Some(job) = self.next_job(destination).await else {
                break;
            };
            if !self.attempt(destination, &mut connection, job).await {
                context.metrics.connections.dec();
                return;
            }
        }
        connection.quit().await;
        context.metrics.connections.dec();
    }

    async fn open(&self, destination: &Destination) -> Result<Connection, Reply> {
        let context = &self.context;
        let mut last = Reply::ours((4, 4, 1), "the destination has no address");
        for host in &destination.route.hosts {
            if context.drain.is_cancelled() {
                break;
            }
            match connect(&context.config, &context.tls, host).await {
                Ok(connection) => return Ok(connection),
                Err(failure) => last = failure.reply,
            }
        }
        Err(last)
    }

    /// The next task, or none when the connection has been idle for long or the sender drains.
    async fn next_job(&self, destination: &Destination) -> Option<Job> {
        loop {
            if self.context.drain.is_cancelled() {
                return None;
            }
            {
                let mut state = destination.state.lock();
                if let Some(job) = state.waiting.pop_front() {
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
                    .pop_front()
                    .filter(|_| !self.context.drain.is_cancelled());
            }
        }
    }

    /// One transaction; false when the connection is of no more use.
    async fn attempt(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        connection: &mut Connection,
        job: Job,
    ) -> bool {
        let context = &self.context;
        let is_reused = connection.transactions > 0;
        let began = Instant::now();
        let message = context.outgoing(&job.task).await;
        let content = Content {
            spool: &context.spool,
            task: &job.task,
        };
        let outcome = connection
            .transact(&context.config.timeouts, &message, content, &job.reporter)
            .await;
        let heard_nothing = outcome
            .recipients
            .iter()
            .all(|recipient| !recipient.from_peer);
        if is_reused && heard_nothing && !outcome.connection_usable && !outcome.dot_sent {
            // The host had closed an idle connection; that says nothing about this message.
            destination.state.lock().waiting.push_front(job);
            return false;
        }
        let attempt = Attempt {
            site: destination.route.site.clone(),
            source: connection.source.clone(),
            peer: Some(connection.host.to_string()),
            tls: connection.tls.clone(),
            duration: began.elapsed().into(),
            passes_dsn: connection.capabilities.dsn,
        };
        let usable = outcome.connection_usable;
        context.settle(
            job,
            attempt,
            verdicts(&connection.host, &outcome.recipients),
        );
        usable
    }

    /// No host answered: what waits here is deferred with the reason, unless another connection serves it.
    fn defer_waiting(
        self: &Arc<Self>,
        destination: &Arc<Destination>,
        reply: &Reply,
        began: Instant,
    ) {
        if self.context.drain.is_cancelled() {
            return;
        }
        let jobs: Vec<Job> = {
            let mut state = destination.state.lock();
            if state.connections > state.ready + 1 {
                return;
            }
            state.waiting.drain(..).collect()
        };
        for job in jobs {
            let attempt = Attempt {
                site: destination.route.site.clone(),
                duration: began.elapsed().into(),
                ..Attempt::default()
            };
            self.context
                .settle_all(job, attempt, Verdict::Deferred, reply);
        }
    }
}

//! The sender's life: a session, a work stream, tasks to their destinations, and the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skein_client::{Session, Sessions, Spool, Work};
use skein_dns::Resolver;
use skein_model::Reply;
use skein_model::spool::Verdict;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::deliver::{Context, Job, now};
use crate::destination::Destinations;
use crate::metrics::Metrics;
use crate::outcome::{Attempt, expired};
use crate::route;
use crate::tls::TlsConnectors;

/// After the final dot a peer may take its time; a drain waits for it this long (DESIGN section 8).
const DRAIN: Duration = Duration::from_secs(120);

pub struct Sender {
    context: Arc<Context>,
    sessions: Sessions,
    working: Arc<AtomicBool>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("name", &self.context.config.name)
            .finish_non_exhaustive()
    }
}

/// A sender that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("a root certificate cannot be used")]
    TlsRoots(#[source] rustls::Error),
}

impl Sender {
    pub fn new(
        config: Config,
        sessions: Sessions,
        spool: Spool,
        resolver: Arc<Resolver>,
        registry: &mut Registry,
    ) -> Result<Self, SetupError> {
        let tls = TlsConnectors::new(&config.tls_roots).map_err(SetupError::TlsRoots)?;
        let context = Arc::new(Context {
            config,
            spool,
            resolver,
            metrics: Metrics::register(registry),
            tls,
            drain: CancellationToken::new(),
            reports: TaskTracker::new(),
        });
        Ok(Self {
            context,
            sessions,
            working: Arc::default(),
        })
    }

    /// Tells whether tasks can arrive at this moment.
    pub fn working(&self) -> Arc<AtomicBool> {
        self.working.clone()
    }

    /// Delivers until `shutdown`, then finishes what has passed its final dot and hands the slots back.
    pub async fn run(self, shutdown: CancellationToken) {
        let destinations = Destinations::new(self.context.clone());
        let mut wait = Duration::from_millis(50);
        let mut open = None;
        while !shutdown.is_cancelled() {
            match self.open().await {
                Ok((session, mut work)) => {
                    wait = Duration::from_millis(50);
                    self.working.store(true, Ordering::Release);
                    self.take_tasks(&destinations, &mut work, &shutdown).await;
                    self.working.store(false, Ordering::Release);
                    // The stream is kept through the drain: results go over it.
                    open = Some((session, work));
                }
                Err(error) => {
                    tracing::warn!(%error, "no work stream");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = shutdown.cancelled() => {}
                    }
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
        self.drain(&destinations, open).await;
    }

    async fn open(&self) -> Result<(Session, Work), skein_client::SpoolError> {
        let session = self.sessions.open(&self.context.config.name).await?;
        let work = self
            .context
            .spool
            .work(&session, self.context.config.window)
            .await?;
        tracing::info!(session = %session.id, slots = session.slots.len(), "work stream open");
        Ok((session, work))
    }

    async fn take_tasks(
        &self,
        destinations: &Arc<Destinations>,
        work: &mut Work,
        shutdown: &CancellationToken,
    ) {
        loop {
            let tasks = tokio::select! {
                tasks = work.next() => tasks,
                () = shutdown.cancelled() => return,
            };
            let Some(tasks) = tasks else {
                tracing::warn!("the work stream ended");
                return;
            };
            for task in tasks {
                self.context.metrics.held.inc();
                let job = Job {
                    task,
                    reporter: work.reporter(),
                };
                tokio::spawn(start(self.context.clone(), destinations.clone(), job));
            }
        }
    }

    async fn drain(&self, destinations: &Destinations, open: Option<(Session, Work)>) {
        self.context.drain.cancel();
        let session = open.map(|(session, mut work)| {
            // Tasks that still come are not begun; the group takes them back when the stream ends. They are read
            // all the same, because results come over the same stream.
            let discard = tokio::spawn(async move { while work.next().await.is_some() {} });
            (session, discard)
        });
        let finish = async {
            destinations.drained().await;
            self.context.reports.close();
            self.context.reports.wait().await;
        };
        if tokio::time::timeout(DRAIN, finish).await.is_err() {
            tracing::warn!(
                "the drain took too long; some results may be lost and their mail sent again"
            );
        }
        if let Some((session, discard)) = session {
            if let Err(error) = self.sessions.close(session.id).await {
                tracing::warn!(%error, "the session could not be closed");
            }
            discard.abort();
        }
    }
}

/// Finds the way for one task.
async fn start(context: Arc<Context>, destinations: Arc<Destinations>, job: Job) {
    let created = job.task.task.created;
    if context.config.retry.is_expired(created, now()) {
        let last = job.task.task.last_reply.clone();
        let last = last.unwrap_or_else(|| Reply::ours((4, 4, 7), "no attempt was made"));
        context.settle_all(job, Attempt::default(), Verdict::Expired, &expired(&last));
        return;
    }
    match route::find(&context.config, &context.resolver, &job.task).await {
        Ok(route) => destinations.push(route, job),
        Err((verdict, reply)) => {
            let attempt = Attempt {
                site: job.task.task.domain.to_string(),
                ..Attempt::default()
            };
            context.settle_all(job, attempt, verdict, &reply);
        }
    }
}

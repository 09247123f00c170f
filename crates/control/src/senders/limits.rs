//! Limits that span senders, as the meta group's leader divides them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::since_boot;
use skein_model::feature::Feature;
use skein_model::meta::limits::{self, KeptAlone, SessionAnswers, SessionReports};
use skein_model::meta::{self, Command};
use skein_model::throttle::{LimitAnswer, LimitClock, LimitId, LimitReport, REPORTS_MAX};
use skein_model::{DurationMs, Epoch, LimitMs, SessionId, codec};
use skein_store::Reader;
use skein_wire::internal::{ReportLimitsReply, ReportLimitsRequest, SharedSites};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::clock;
use crate::raft::{Group, VersionGate, propose};

/// Reports that arrive within this time share one command; the first after a pause goes at once.
const GATHER: Duration = Duration::from_millis(20);
/// Requests that wait for the command on its way. Each session has one, so this is more than there are.
const QUEUED: usize = 1024;
/// Limits in one command, so that it stays far below the size of an entry.
const COMMAND_REPORTS: usize = 4096;
/// Between two looks for limits that no session reports of.
const TEND: Duration = Duration::from_secs(10);

/// What senders share: gathers their reports, and knows the time that they are counted in.
#[derive(Clone)]
pub struct Limits {
    meta: Arc<Group>,
    reader: Reader,
    /// Of the term in which this node led last.
    clock: Arc<Mutex<Option<(u64, LimitClock)>>>,
    queue: mpsc::Sender<Waiting>,
    versions: VersionGate,
}

struct Waiting {
    told: SessionReports,
    answer: oneshot::Sender<Result<SessionAnswers, Status>>,
}

impl Limits {
    pub fn start(meta: Arc<Group>, reader: Reader, versions: VersionGate) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUED);
        let limits = Self {
            meta,
            reader,
            clock: Arc::default(),
            queue,
            versions,
        };
        skein_runtime::task("limit-reports", limits.clone().gather(waiting));
        skein_runtime::task("limits", limits.clone().tend());
        limits
    }

    /// Sites that several senders share, if a sender does not know them.
    pub fn shared_sites(&self, known: Option<u64>) -> Option<SharedSites> {
        // Read first: a change that comes between is told again.
        let version = limits::shared_version(&self.reader);
        (known != Some(version)).then(|| SharedSites {
            version,
            sites: limits::shared_sites(&self.reader).into_iter().collect(),
        })
    }

    pub async fn report(&self, request: ReportLimitsRequest) -> Result<ReportLimitsReply, Status> {
        let mut told = read(&request)?;
        if !self.meta.is_leader() {
            return Err(not_leader());
        }
        let withheld = self.withhold(&mut told).await;
        let at = self.at().await?;
        // Whatever is answered was committed once, and has a version: it does no harm if this node leads no more.
        let mut answers = match limits::answer(&self.reader, at, &told) {
            Some(answers) => answers,
            None => self.commit(told).await?,
        };
        if !answers.answers.is_empty() || withheld.len() == request.reports.len() {
            for place in withheld {
                answers.answers.insert(place, LimitAnswer::Later);
            }
        }
        Ok(ReportLimitsReply {
            alive: answers.is_alive,
            answers: answers
                .answers
                .iter()
                .map(|answer| codec::encode(answer).into())
                .collect(),
            shared_sites: self.shared_sites(Some(request.shared_version)),
        })
    }

    /// Takes out what some control node does not read yet; the places where it stood, in order. Nothing of these limits is
    /// granted before all do.
    async fn withhold(&self, told: &mut SessionReports) -> Vec<usize> {
        if !told.has_intake() || self.versions.pass(Feature::IntakeLimits).await.is_ok() {
            return Vec::new();
        }
        let all = told.reports.iter().enumerate();
        let withheld = all.filter(|(_, report)| report.id.is_of_intake());
        let withheld = withheld.map(|(place, _)| place).collect();
        told.reports.retain(|report| !report.id.is_of_intake());
        withheld
    }

    async fn commit(&self, told: SessionReports) -> Result<SessionAnswers, Status> {
        let (answer, answered) = oneshot::channel();
        let stopped = |_| Status::unavailable("the meta group stopped");
        self.queue
            .send(Waiting { told, answer })
            .await
            .map_err(|_| Status::unavailable("the meta group stopped"))?;
        answered.await.map_err(stopped)?
    }

    /// The time of limits, which only a leader knows. It goes on from the latest that was committed before this term.
    async fn at(&self) -> Result<LimitMs, Status> {
        let term = self.meta.view().term;
        let known = *self.clock.lock();
        if let Some((_, clock)) = known.filter(|(of, _)| *of == term) {
            return Ok(clock.at(since_boot()));
        }
        if !self.meta.leads().await {
            return Err(not_leader());
        }
        let latest = limits::time(&self.reader).unwrap_or_else(|| LimitMs::first(clock::now()));
        let clock = LimitClock::resume(latest, since_boot());
        let mut known = self.clock.lock();
        // Another caller may have been here meanwhile.
        let (_, clock) = match *known {
            Some(known) if known.0 >= term => known,
            _ => *known.insert((term, clock)),
        };
        Ok(clock.at(since_boot()))
    }

    async fn gather(self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut last = Instant::now();
        while let Some(first) = waiting.recv().await {
            tokio::time::sleep(GATHER.saturating_sub(last.elapsed())).await;
            last = Instant::now();
            let mut count = first.told.reports.len();
            let mut all = vec![first];
            while count < COMMAND_REPORTS
                && let Ok(next) = waiting.try_recv()
            {
                count += next.told.reports.len();
                all.push(next);
            }
            let (told, callers): (Vec<_>, Vec<_>) = all
                .into_iter()
                .map(|waiting| (waiting.told, waiting.answer))
                .unzip();
            match self.propose_reports(told).await {
                Ok(answers) => {
                    for (caller, answer) in callers.into_iter().zip(answers) {
                        // A caller that is gone asks again.
                        let _ = caller.send(Ok(answer));
                    }
                }
                Err(status) => {
                    for caller in callers {
                        let _ = caller.send(Err(status.clone()));
                    }
                }
            }
        }
    }

    async fn propose_reports(
        &self,
        told: Vec<SessionReports>,
    ) -> Result<Vec<SessionAnswers>, Status> {
        let at = self.at().await?;
        match propose(&self.meta, Command::ReportLimits { at, told }).await? {
            meta::Response::Limits(answers) => Ok(answers),
            other => Err(Status::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// Keeps the time going while anything is counted in it, and forgets what no session uses.
    async fn tend(self) {
        loop {
            tokio::time::sleep(TEND).await;
            if !self.meta.is_leader() || !limits::is_used(&self.reader) {
                continue;
            }
            if let Err(status) = self.tend_once().await {
                tracing::warn!(reason = status.message(), "shared limits are not tended");
            }
        }
    }

    async fn tend_once(&self) -> Result<(), Status> {
        let at = self.at().await?;
        let reader = self.reader.clone();
        // With many limits this reads tens of megabytes.
        let limits: Vec<LimitId> = skein_runtime::blocking(move || limits::due(&reader, at)).await;
        let at = self.at().await?;
        propose(&self.meta, Command::TendLimits { at, limits }).await?;
        Ok(())
    }
}

fn not_leader() -> Status {
    Status::unavailable("this node does not lead the meta group")
}

fn read(request: &ReportLimitsRequest) -> Result<SessionReports, Status> {
    if request.reports.len() > REPORTS_MAX {
        return Err(Status::invalid_argument(format!(
            "reports: at most {REPORTS_MAX} in one request"
        )));
    }
    if request.alone.len() > limits::SHARED_SITES_MAX {
        let most = limits::SHARED_SITES_MAX;
        return Err(Status::invalid_argument(format!(
            "alone: at most {most} in one request"
        )));
    }
    let reports = request.reports.iter().map(|report| {
        let report: LimitReport = codec::decode(report)
            .map_err(|error| Status::invalid_argument(format!("reports: {error}")))?;
        limits::check(&report)
            .map_err(|problem| Status::invalid_argument(format!("reports: {problem}")))?;
        Ok(report)
    });
    let alone = request.alone.iter().map(|kept| KeptAlone {
        site: kept.site.clone(),
        epoch: Epoch(kept.epoch),
        others_gone: kept.others_gone_ms.map(DurationMs),
    });
    Ok(SessionReports {
        session: SessionId(request.session),
        number: request.number,
        shared: request.shared_version,
        reports: reports.collect::<Result<_, Status>>()?,
        alone: alone.collect(),
    })
}

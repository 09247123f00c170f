//! Reports on TLS to the domains that mail goes to (RFC 8460): the leader of the meta group makes and sends them when a day is
//! over, from what senders told. A report has its id, and its mail the id of its message, from the domain and the day; so
//! whichever node leads, one leaves the cluster. By HTTPS it may be posted twice, with the same id, if the leader's process
//! ends between the answer and its commit.

mod json;
mod mail;
mod post;
mod retries;
mod send;

use std::sync::Arc;

use skein_dns::{Questions, RecordKind, Told as Answer};
use skein_model::SessionId;
use skein_model::codec;
use skein_model::meta::tls_reports::{self, Command};
use skein_model::meta::{self, Refusal, Response};
use skein_model::sts::FetchFault;
use skein_model::tls_report::{
    AppliedPolicy, Day, DayCounts, Destination, FailureKind, PolicyKind, TOLD_MAX, TlsResult, Told,
    parse_record,
};
use skein_store::Reader;
use skein_wire::internal::TellTlsRequest;
use tonic::Status;

use crate::clock;
use crate::https::Https;
use crate::raft::{Forward, Group, VersionGate, propose};

pub use json::date;

/// Who reports, and to whom questions are to go.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// The address that reports are from; what stands after its @ submits them.
    pub from: String,
    pub organization: String,
    pub contact: String,
    /// The host in the ids of messages.
    pub hostname: String,
}

impl Reporter {
    pub fn submitter(&self) -> &str {
        self.from.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// How reports are sent.
pub struct TlsReportSettings {
    /// None: no reports are sent, and nothing is counted for them.
    pub reporter: Option<Reporter>,
    pub questions: Questions,
    pub https: Https,
}

impl std::fmt::Debug for TlsReportSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsReportSettings")
            .field("reporter", &self.reporter)
            .finish_non_exhaustive()
    }
}

/// Clones share what is known.
#[derive(Clone)]
pub struct TlsReports {
    settings: Arc<TlsReportSettings>,
    group: Arc<Group>,
    reader: Reader,
    versions: VersionGate,
    counters: Arc<Counters>,
}

/// Reports by what became of them, at each place that they go to.
#[derive(Debug, Default)]
pub struct Counters {
    sent: std::sync::atomic::AtomicU64,
    failed: std::sync::atomic::AtomicU64,
}

impl Counters {
    fn reached(&self, is_sent: bool) {
        let counter = match is_sent {
            true => &self.sent,
            false => &self.failed,
        };
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    pub fn all(&self) -> [(&'static str, u64); 2] {
        let of = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        };
        [("sent", of(&self.sent)), ("failed", of(&self.failed))]
    }
}

impl TlsReports {
    pub fn new(
        settings: Arc<TlsReportSettings>,
        group: Arc<Group>,
        reader: Reader,
        forward: &Forward,
    ) -> Self {
        Self {
            settings,
            group,
            reader,
            versions: forward.versions.clone(),
            counters: Arc::default(),
        }
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether senders are to count.
    pub fn is_on(&self) -> bool {
        self.settings.reporter.is_some()
    }

    /// Counts what a sender tells.
    ///
    /// # Errors
    /// It cannot be read or committed, or the session has ended.
    pub async fn tell(&self, request: TellTlsRequest) -> Result<(), Status> {
        if request.told.len() > TOLD_MAX {
            return Err(Status::invalid_argument(format!(
                "told: has {} entries: {TOLD_MAX} at most",
                request.told.len()
            )));
        }
        let told = request.told.iter().map(|one| codec::decode::<Told>(one));
        let told: Result<Vec<Told>, _> = told.collect();
        let told = told.map_err(|error| Status::invalid_argument(format!("told: {error}")))?;
        let command = Command::Tell {
            session: SessionId(request.session),
            batch: request.batch,
            told,
        };
        match self.propose(command).await? {
            Response::Done => Ok(()),
            Response::Refused(refusal @ Refusal::NoSession) => {
                Err(Status::failed_precondition(format!("session: {refusal}")))
            }
            refused => Err(Status::internal(format!("{refused:?}"))),
        }
    }

    /// Counts that a domain's policy could not be had (RFC 8460 4.3.2.2), if it asks for reports.
    pub async fn count_fault(&self, domain: &str, fault: &FetchFault) {
        if !self.is_on()
            || self
                .destinations(domain)
                .await
                .is_ok_and(|found| found.is_empty())
        {
            return;
        }
        let kind = match fault {
            FetchFault::Fetch(_) => FailureKind::StsPolicyFetchError,
            FetchFault::WebPki(_) => FailureKind::StsWebpkiInvalid,
            FetchFault::Invalid(_) => FailureKind::StsPolicyInvalid,
        };
        let mut counts = DayCounts::default();
        counts.count(TlsResult {
            domain: domain.to_owned(),
            policy: AppliedPolicy {
                kind: PolicyKind::Sts,
                strings: Vec::new(),
                mx: Vec::new(),
            },
            mx_host: String::new(),
            receiving_ip: None,
            sending_ip: None,
            failure: Some(kind),
        });
        let told = Told {
            domain: domain.to_owned(),
            day: Day::of(clock::now()),
            counts,
        };
        if let Err(status) = self.propose(Command::Count(vec![told])).await {
            tracing::debug!(domain, reason = status.message(), "a fault is not counted");
        }
    }

    /// Where a domain wants its reports; empty: nowhere.
    ///
    /// # Errors
    /// The DNS says nothing.
    async fn destinations(&self, domain: &str) -> Result<Vec<Destination>, String> {
        let name = format!("_smtp._tls.{domain}");
        match self
            .settings
            .questions
            .resolver(&name, RecordKind::Txt)
            .await
        {
            Answer::Records(records) => Ok(parse_record(records.iter().map(String::as_str))),
            Answer::Nothing => Ok(Vec::new()),
            Answer::Failed(why) => Err(why),
        }
    }

    async fn propose(&self, command: Command) -> Result<Response, Status> {
        let command = meta::Command::TlsReport(Box::new(command));
        if let Some(feature) = command.feature() {
            self.versions.pass(feature).await?;
        }
        propose(&self.group, command).await
    }

    fn row(&self, day: Day, domain: &str) -> Option<tls_reports::DayRow> {
        tls_reports::counted(&self.reader, day, domain)
    }
}

//! Limits that span senders: reports to the meta group's leader, and its answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skein_model::meta::limits::KeptAlone;
use skein_model::throttle::{LimitAnswer, LimitReport};
use skein_model::{SessionId, codec};
use skein_wire::internal::sessions_client::SessionsClient;
use skein_wire::internal::{self, ReportLimitsReply, ReportLimitsRequest, SharedSites};
use tokio::sync::{Notify, watch};

use super::SenderSession;
use super::leader::MetaLeader;
use crate::channel::Channel;
use crate::error::SpoolError;

/// Between two requests, so that reports which become due one after the other go together.
const GATHER: Duration = Duration::from_millis(2);
/// After a request without an answer: the leader may be another node soon.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// Nothing is due before something is wanted, which wakes; or before shared sites change.
const LOOK: Duration = Duration::from_secs(1);

/// What is told at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reports {
    /// The version of shared sites that is gone by.
    pub shared_version: u64,
    pub reports: Vec<LimitReport>,
    /// Sites that this sender kept alone before that version.
    pub alone: Vec<KeptAlone>,
}

/// The part of a sender that keeps its limits.
pub trait LimitKeeper: Send + Sync {
    /// The sender has another session: what was said to an earlier one holds no more.
    fn begin_session(&self, session: SessionId);
    /// These sites are shared with others from now on, and others are not. Comes before the slots that the session has
    /// since, and before its lease becomes longer.
    fn set_shared_sites(&self, version: u64, sites: BTreeSet<String>);
    fn shared_version(&self) -> u64;
    /// What is to be told now; none: nothing is due.
    fn reports(&self) -> Option<Reports>;
    /// After this, something will be due.
    fn due_in(&self) -> Option<Duration>;
    /// When something is due sooner than was said.
    fn hurry(&self) -> &Notify;
    fn answered(&self, told: &Reports, answers: &[LimitAnswer]);
}

/// Of a sender that shares nothing.
#[derive(Debug, Default)]
pub struct NoLimits(Notify);

impl LimitKeeper for NoLimits {
    fn begin_session(&self, _session: SessionId) {}
    fn set_shared_sites(&self, _version: u64, _sites: BTreeSet<String>) {}
    fn shared_version(&self) -> u64 {
        0
    }
    fn reports(&self) -> Option<Reports> {
        None
    }
    fn due_in(&self) -> Option<Duration> {
        None
    }
    fn hurry(&self) -> &Notify {
        &self.0
    }
    fn answered(&self, _told: &Reports, _answers: &[LimitAnswer]) {}
}

pub(crate) fn take_shared_sites(keeper: &dyn LimitKeeper, told: Option<SharedSites>) {
    if let Some(SharedSites { version, sites }) = told
        && version > keeper.shared_version()
    {
        keeper.set_shared_sites(version, sites.into_iter().collect());
    }
}

/// Reports as long as it is polled, one request after the other: an answer is never older than the one before it.
pub(crate) async fn report(
    leader: MetaLeader,
    mut session: watch::Receiver<SenderSession>,
    keeper: Arc<dyn LimitKeeper>,
) {
    let mut number = 0;
    loop {
        let id = session.borrow_and_update().id;
        let Some(id) = id else {
            if session.changed().await.is_err() {
                return;
            }
            continue;
        };
        let rest = keeper.due_in().map_or(LOOK, |due| due.clamp(GATHER, LOOK));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = keeper.hurry().notified() => {}
            changed = session.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        let Some(reports) = keeper.reports() else {
            continue;
        };
        number += 1;
        let request = ReportLimitsRequest {
            session: id.0,
            number,
            shared_version: reports.shared_version,
            reports: reports
                .reports
                .iter()
                .map(|report| codec::encode(report).into())
                .collect(),
            alone: reports.alone.iter().map(kept_alone).collect(),
        };
        let reporting = |mut client: SessionsClient<Channel>| async move {
            client.report_limits(request).await
        };
        let answered = leader.call("reporting limits", reporting).await;
        if session.borrow().id != Some(id) {
            continue;
        }
        match answered.and_then(read_answers) {
            Ok((answers, shared)) => {
                keeper.answered(&reports, &answers);
                take_shared_sites(&*keeper, shared);
            }
            Err(error) => {
                tracing::warn!(%error, "shared limits are not reported");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

fn kept_alone(kept: &KeptAlone) -> internal::KeptAlone {
    internal::KeptAlone {
        site: kept.site.clone(),
        epoch: kept.epoch.0,
        others_gone_ms: kept.others_gone.map(|gone| gone.0),
    }
}

fn read_answers(
    reply: ReportLimitsReply,
) -> Result<(Vec<LimitAnswer>, Option<SharedSites>), SpoolError> {
    let answers = reply.answers.iter().map(|answer| codec::decode(answer));
    let answers: Result<Vec<LimitAnswer>, _> = answers.collect();
    let answers = answers.map_err(|error| SpoolError::Refused(error.to_string()))?;
    Ok((answers, reply.shared_sites))
}

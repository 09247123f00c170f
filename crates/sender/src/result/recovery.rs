//! Facts of the process before this one are told before this one takes tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skein_client::{LeasedTask, SpoolError, Spools};
use skein_model::UnixMs;
use tokio_util::task::TaskTracker;

use crate::result::recovered::{Recovered, RecoveredFact};
use crate::result::results::Results;
use crate::wall_clock::now;

/// While the session of the process before this one lasts, which is 11.1 s after its last heartbeat, its tasks go to
/// no other sender. After that others have them, and waiting protects nothing.
const TELL_WITHIN: Duration = Duration::from_secs(12);

/// Tells the facts, and returns when all are recorded or it is time to work.
pub async fn tell(recovered: &Recovered, results: &Arc<Results>, spools: &Spools) {
    let told = recovered.all();
    let telling = TaskTracker::new();
    for told in told {
        telling.spawn(tell_one(results.clone(), spools.clone(), told.clone()));
    }
    if telling.is_empty() {
        return;
    }
    let count = telling.len();
    tracing::info!(count, "telling what the process before this one learnt");
    telling.close();
    if tokio::time::timeout(TELL_WITHIN, telling.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            open = telling.len(),
            "not all is recorded yet; those tasks are held until it is"
        );
    }
}

async fn tell_one(results: Arc<Results>, spools: Spools, told: Arc<RecoveredFact>) {
    let mut report = told.fact.report.clone();
    let spool = spools.get(report.task.message.group());
    if let Some(due) = &told.fact.dsn {
        let task = LeasedTask {
            id: report.task,
            session: report.session,
            epoch: report.epoch,
            message: due.message.clone(),
            task: due.task.clone(),
            body: None,
        };
        let at: UnixMs = now();
        let due = results.dsns.due(&task, &report, due.passes_dsn, false);
        report.dsn = results.dsns.store(&spool, &task, &report, &due, at).await;
    }
    match spool.tell(&report).await {
        Ok(()) => {}
        Err(SpoolError::Refused(reason)) => {
            tracing::info!(task = %report.task, reason, "nobody needs to know any more");
            told.is_refused.store(true, Ordering::Release);
        }
        Err(error) => {
            tracing::error!(task = %report.task, %error, "a fact is not recorded");
        }
    }
    results.journal.forget(told.fact.key());
    told.answered.cancel();
}

//! Facts of the process before this one: told before this one takes tasks, and never contradicted by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skein_client::{Assigned, SpoolError, Spools};
use skein_model::{TaskId, UnixMs};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::deliver::{Context, now};
use crate::journal::Fact;

/// While the session of the process before this one lasts, which is 11.1 s after its last heartbeat, its tasks go to
/// nobody else. After that others have them, and waiting protects nothing.
const TELL_WITHIN: Duration = Duration::from_secs(12);

/// By task; an attempt follows the report of the one before, so a task rarely has two.
#[derive(Default)]
pub struct Recovered(HashMap<TaskId, Vec<Arc<Told>>>);

struct Told {
    fact: Fact,
    /// When the fact is committed or refused.
    settled: CancellationToken,
    /// The group has no use for it.
    is_refused: AtomicBool,
}

impl Recovered {
    pub fn new(facts: Vec<Fact>) -> Self {
        let mut by_task: HashMap<TaskId, Vec<Arc<Told>>> = HashMap::new();
        for fact in facts {
            let told = Told {
                fact,
                settled: CancellationToken::new(),
                is_refused: AtomicBool::new(false),
            };
            let task = told.fact.report.task;
            by_task.entry(task).or_default().push(Arc::new(told));
        }
        Self(by_task)
    }

    /// Completes at once for a task of which nothing is known. One that a fact says is done for some recipient was read
    /// before that fact was committed: for it, this completes with true when it is, and the task as it is then will
    /// come again.
    pub async fn contradicts(&self, task: &Assigned) -> bool {
        let Some(told) = self.of(task) else {
            return false;
        };
        told.settled.cancelled().await;
        !told.is_refused.load(Ordering::Acquire)
    }

    fn of(&self, task: &Assigned) -> Option<&Told> {
        let is_open = |number: u32| task.task.recipients.iter().any(|(open, _)| *open == number);
        let told = self.0.get(&task.id)?.iter().find(|told| {
            let mut outcomes = told.fact.report.outcomes.iter();
            outcomes.any(|outcome| is_open(outcome.recipient))
        });
        told.map(Arc::as_ref)
    }
}

/// Tells the facts, and returns when all are recorded or it is time to work.
pub async fn tell(context: &Arc<Context>, spools: &Spools) {
    let told = context.recovered.0.values().flatten();
    let telling = TaskTracker::new();
    for told in told {
        telling.spawn(tell_one(context.clone(), spools.clone(), told.clone()));
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

async fn tell_one(context: Arc<Context>, spools: Spools, told: Arc<Told>) {
    let mut report = told.fact.report.clone();
    let spool = spools.get(report.task.message.group());
    if let Some(due) = &told.fact.dsn {
        let task = Assigned {
            id: report.task,
            session: report.session,
            epoch: report.epoch,
            message: due.message.clone(),
            task: due.task.clone(),
            body: None,
        };
        let at: UnixMs = now();
        let due = crate::dsn::due(&task, &report, due.passes_dsn, false);
        context.add_dsn(&spool, &task, &mut report, &due, at).await;
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
    context.journal.settled(told.fact.key());
    told.settled.cancel();
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use futures::FutureExt;
    use skein_model::Reply;
    use skein_model::retry::RetryPolicy;
    use skein_model::spool::Verdict;

    use super::*;
    use crate::outcome::{self, Attempt};
    use crate::test_tasks;

    #[test]
    fn a_task_is_held_while_its_row_is_older_than_what_is_known() {
        let mut task = test_tasks::task(&["a@there.test", "b@there.test"]);
        let verdicts = [Verdict::Delivered, Verdict::Deferred];
        let verdicts = verdicts.map(|verdict| (verdict, Reply::ours((2, 0, 0), "x")));
        let policy = RetryPolicy::default();
        let attempt = Attempt::default();
        let report = outcome::report(&policy, &task, &attempt, verdicts.into(), UnixMs(5));
        let fact = Fact::of(&report, &task, true).unwrap();
        let recovered = Recovered::new(vec![fact]);

        let mut other = task.clone();
        other.id.number = 7;
        assert_eq!(recovered.contradicts(&other).now_or_never(), Some(false));
        assert_eq!(recovered.contradicts(&task).now_or_never(), None);
        let told = &recovered.0[&task.id][0];
        told.settled.cancel();
        assert_eq!(recovered.contradicts(&task).now_or_never(), Some(true));
        told.is_refused.store(true, Ordering::Release);
        assert_eq!(recovered.contradicts(&task).now_or_never(), Some(false));
        told.is_refused.store(false, Ordering::Release);
        task.task.recipients.remove(0);
        assert_eq!(
            recovered.contradicts(&task).now_or_never(),
            Some(false),
            "the rest of it is to be sent"
        );
    }
}

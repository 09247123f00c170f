//! Facts of the process before this one, which this one never contradicts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use skein_client::LeasedTask;
use skein_model::TaskId;
use tokio_util::sync::CancellationToken;

use crate::result::journal::Fact;

/// By task; an attempt follows the report of the one before, so a task rarely has two.
#[derive(Default)]
pub struct Recovered(HashMap<TaskId, Vec<Arc<RecoveredFact>>>);

pub struct RecoveredFact {
    pub fact: Fact,
    /// When the fact is committed or refused.
    pub answered: CancellationToken,
    /// The group has no use for it.
    pub is_refused: AtomicBool,
}

impl Recovered {
    pub fn new(facts: Vec<Fact>) -> Self {
        let mut by_task: HashMap<TaskId, Vec<Arc<RecoveredFact>>> = HashMap::new();
        for fact in facts {
            let told = RecoveredFact {
                fact,
                answered: CancellationToken::new(),
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
    pub async fn contradicts(&self, task: &LeasedTask) -> bool {
        let Some(told) = self.of(task) else {
            return false;
        };
        told.answered.cancelled().await;
        !told.is_refused.load(Ordering::Acquire)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<RecoveredFact>> {
        self.0.values().flatten()
    }

    fn of(&self, task: &LeasedTask) -> Option<&RecoveredFact> {
        let is_open = |number: u32| task.task.recipients.iter().any(|(open, _)| *open == number);
        let told = self.0.get(&task.id)?.iter().find(|told| {
            let mut outcomes = told.fact.report.outcomes.iter();
            outcomes.any(|outcome| is_open(outcome.recipient))
        });
        told.map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use futures::FutureExt;
    use skein_model::retry::RetryPolicy;
    use skein_model::spool::Verdict;
    use skein_model::{Reply, UnixMs};

    use super::*;
    use crate::outcome::{self, Attempt};
    use crate::task::test_tasks;

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
        told.answered.cancel();
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

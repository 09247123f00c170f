//! How a task ends at this sender without an attempt. Pure.

use skein_client::LeasedTask;
use skein_model::retry::RetryPolicy;
use skein_model::spool::Verdict;
use skein_model::{Reply, UnixMs};

use crate::automation::active_actions::Suspended;
use crate::outcome::{Attempt, expired};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its group hands it out again when an operator does not hold it back any more.
    GivenBack,
    /// All of its recipients have the same result.
    Settled {
        attempt: Box<Attempt>,
        verdict: Verdict,
        reply: Reply,
    },
}

impl Ending {
    /// A task to a site that an operator suspended.
    pub fn of_suspended(suspended: Suspended, site: &str) -> Self {
        match suspended {
            Suspended::HeldBack => Self::GivenBack,
            Suspended::GivenUp(reply) => Self::at(site, Verdict::Failed, reply),
        }
    }

    /// A task that has become too old by now, if it has.
    pub fn of_age(retry: &RetryPolicy, task: &LeasedTask, now: UnixMs) -> Option<Self> {
        let row = &task.task;
        retry.is_expired(row.created, now).then(|| {
            let last = row.last_reply.clone();
            let last = last.unwrap_or_else(|| Reply::ours((4, 4, 7), "no attempt was made"));
            Self::Settled {
                attempt: Box::default(),
                verdict: Verdict::Expired,
                reply: expired(&last),
            }
        })
    }

    /// No host of the site had to do with this end.
    pub fn at(site: &str, verdict: Verdict, reply: Reply) -> Self {
        let attempt = Attempt {
            site: site.to_owned(),
            ..Attempt::default()
        };
        Self::Settled {
            attempt: Box::new(attempt),
            verdict,
            reply,
        }
    }
}

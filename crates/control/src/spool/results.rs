//! What a sender says of a task, committed, and the answer to it.

use bytes::Bytes;
use skein_model::spool::{Command, Refile, Report};
use skein_model::{SessionId, Slot, TaskId, codec, is_site_name};
use skein_wire::convert;
use skein_wire::internal::problem::Kind;
use skein_wire::internal::{Problem, RefileTask, ReportResult};

use super::group::SpoolGroup;

/// A report's answer.
pub struct Recorded {
    pub result: ReportResult,
    /// The task and the attempt that the session is done with.
    pub ended: Option<(TaskId, u32)>,
}

/// A report of an attempt.
pub async fn of_report(group: &SpoolGroup, session: SessionId, bytes: &Bytes) -> Option<Recorded> {
    let report: Report = match convert::row(bytes) {
        Ok(report) => report,
        Err(error) => {
            tracing::error!(%session, %error, "a report cannot be read");
            return None;
        }
    };
    let (task, attempt) = (report.task, report.facts.number);
    Some(commit(group, (task, attempt), &Command::Report(Box::new(report))).await)
}

/// What is asked for in the place of an attempt.
pub async fn of_refile(
    group: &SpoolGroup,
    session: SessionId,
    asked: &RefileTask,
) -> Option<Recorded> {
    let refile: Refile = match convert::row(&asked.refile) {
        Ok(refile) => refile,
        Err(error) => {
            tracing::error!(%session, %error, "a wish to file a task anew cannot be read");
            return None;
        }
    };
    let attempt = (refile.task, asked.attempt);
    let is_place = refile.site.as_deref().is_none_or(is_site_name) && refile.slot.0 < Slot::COUNT;
    if !is_place {
        let problem = convert::problem(
            Kind::Refused,
            "no site has this name, or no slot this number",
        );
        return Some(recorded(attempt, Some(problem)));
    }
    Some(commit(group, attempt, &Command::Refile(Box::new(refile))).await)
}

async fn commit(group: &SpoolGroup, attempt: (TaskId, u32), command: &Command) -> Recorded {
    let problem = super::commit(group, codec::encode(command)).await;
    recorded(attempt, problem.err())
}

fn recorded((task, attempt): (TaskId, u32), problem: Option<Problem>) -> Recorded {
    let has_ended = problem
        .as_ref()
        .is_none_or(|problem| problem.kind() == Kind::Refused);
    Recorded {
        ended: has_ended.then_some((task, attempt)),
        result: result(task, attempt, problem),
    }
}

pub fn result(task: TaskId, attempt: u32, problem: Option<Problem>) -> ReportResult {
    ReportResult {
        message_id: convert::message_id_bytes(task.message),
        number: task.number,
        problem,
        attempt,
    }
}

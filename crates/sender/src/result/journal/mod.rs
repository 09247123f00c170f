//! What this process learnt about tasks and has not yet seen committed, kept for the process after it.
//!
//! A sender that dies after a host took a message and before the report is committed would leave that message to be
//! sent again. So each fact is appended to a file before it is reported. It outlives the process and not the machine:
//! it is written and not fsynced, because an fsync for each delivery would cost more than a rare second copy.
//!
//! Deferrals are not kept: only the owner of a slot may defer, and the next one tries again. Nor is it kept that a final
//! dot was sent: that does not say what the host did, so no copy could be spared for it.

mod files;
mod frame;

use std::path::Path;

use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use skein_client::LeasedTask;
use skein_model::TaskId;
use skein_model::spool::{MessageRow, Report, TaskRow, Verdict};
use skein_policy::DsnPolicy;

use crate::result::dsn;
use files::{Files, Limits};

/// The outcomes of an attempt that nothing can change any more.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fact {
    #[n(0)]
    pub report: Report,
    #[n(1)]
    pub dsn: Option<DsnDue>,
}

/// What it takes to make the DSN that a fact calls for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DsnDue {
    #[n(0)]
    pub message: MessageRow,
    #[n(1)]
    pub task: TaskRow,
    #[n(2)]
    pub passes_dsn: bool,
}

/// An attempt at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct Key {
    #[n(0)]
    task: TaskId,
    #[n(1)]
    attempt: u32,
}

#[derive(Debug, Encode, Decode)]
enum Record {
    #[n(0)]
    Fact(#[n(0)] Box<Fact>),
    /// The report is committed, or was not needed.
    #[n(1)]
    Forget(#[n(0)] Key),
}

impl Key {
    pub fn of(report: &Report) -> Self {
        Self {
            task: report.task,
            attempt: report.facts.number,
        }
    }
}

impl Fact {
    /// The final outcomes of a report; none if it has none. An expiry is found out again by the next sender that looks at the
    /// task's age.
    pub fn of(report: &Report, task: &LeasedTask, passes_dsn: bool) -> Option<Self> {
        let is_fact = |verdict| matches!(verdict, Verdict::Delivered | Verdict::Failed);
        let mut report = report.clone();
        report.outcomes.retain(|outcome| is_fact(outcome.verdict));
        if report.outcomes.is_empty() {
            return None;
        }
        // What the tenant wants is asked when it is told.
        let any = DsnPolicy::Normal;
        let is_due = !dsn::due(any, task, &report, passes_dsn, false).is_empty();
        let dsn = is_due.then(|| DsnDue {
            message: task.message.clone(),
            task: task.task.clone(),
            passes_dsn,
        });
        Some(Self { report, dsn })
    }

    pub fn key(&self) -> Key {
        Key::of(&self.report)
    }
}

/// Facts on a disk, or nowhere. No failure of the disk holds a delivery up.
pub struct Journal(Option<Mutex<OpenJournal>>);

struct OpenJournal {
    files: Files,
    /// The last write failed, and that was said.
    is_failing: bool,
}

impl Journal {
    /// Whether this process has the scratch space to itself.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// A process without scratch space.
    pub fn none() -> Self {
        Self(None)
    }

    /// Opens the journal in this folder, and brings the facts that another process left there.
    pub fn open(dir: &Path) -> (Self, Vec<Fact>) {
        match Files::open(dir, Limits::default()) {
            Ok((files, facts)) => (Self::over(files), facts),
            Err(error) => {
                tracing::warn!(
                    dir = %dir.display(),
                    %error,
                    "no journal of outcomes: if this process is killed, mail of that moment may go out twice"
                );
                (Self::none(), Vec::new())
            }
        }
    }

    fn over(files: Files) -> Self {
        Self(Some(Mutex::new(OpenJournal {
            files,
            is_failing: false,
        })))
    }

    /// Keeps a fact until it is to be forgotten. It is one short write into the page cache, so the caller waits for it.
    pub fn keep(&self, fact: Fact) {
        let Some(kept) = &self.0 else {
            return;
        };
        let mut kept = kept.lock();
        match kept.files.keep(fact) {
            Ok(()) if kept.is_failing => {
                kept.is_failing = false;
                tracing::info!("outcomes are kept again");
            }
            Ok(()) => {}
            Err(error) if !kept.is_failing => {
                kept.is_failing = true;
                tracing::warn!(%error, "outcomes are not kept in delivery.scratch_dir; delivery goes on");
            }
            Err(_) => {}
        }
    }

    pub fn forget(&self, key: Key) {
        if let Some(kept) = &self.0 {
            kept.lock().files.forget(key);
        }
    }
}

#[cfg(test)]
mod tests;

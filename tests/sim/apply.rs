//! One committed entry through the product's `apply`, with the mutations that live there.

use skein_model::rows::Rows;
use skein_model::spool::{Effect, Refusal, SlotRow, Verdict, key, query};
use skein_model::{codec, meta, spool};

use crate::mutation::Mutation;
use crate::raft::{Entry, What};
use crate::rows::HashedRows;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    Done,
    Refused,
    /// The node that asks was removed from the cluster.
    Removed,
}

pub fn entry(
    rows: &mut HashedRows,
    entry: &Entry,
    mutation: Option<Mutation>,
) -> (Result, Vec<Effect>) {
    match &entry.what {
        What::Blank | What::Members(_) => (Result::Done, Vec::new()),
        What::Meta(at, command) => {
            let result = match meta::apply(rows, *at, command) {
                meta::Response::Refused(meta::Refusal::Removed) => Result::Removed,
                meta::Response::Refused(_) => Result::Refused,
                _ => Result::Done,
            };
            (result, Vec::new())
        }
        What::Spool(at, command) => {
            let applied = match mutated(rows, command, mutation) {
                Mutated::Command(command) => spool::apply(rows, *at, &command),
                Mutated::Refused => {
                    return (Result::Refused, Vec::new());
                }
                Mutated::Done => return (Result::Done, vec![Effect::SlotsOpened]),
            };
            let result = match applied.response {
                spool::Response::Refused(Refusal::StaleEpoch | Refusal::NoRecipients) => {
                    Result::Refused
                }
                _ => Result::Done,
            };
            (result, applied.effects)
        }
    }
}

enum Mutated {
    Command(spool::Command),
    Refused,
    Done,
}

fn mutated(rows: &mut HashedRows, command: &spool::Command, mutation: Option<Mutation>) -> Mutated {
    match (command, mutation) {
        (spool::Command::Report(report), Some(Mutation::DropLateFacts)) => {
            let Some(task) = query::task(rows, report.task) else {
                return Mutated::Command(command.clone());
            };
            let owner = query::slot(rows, task.slot);
            let is_late =
                owner.is_none_or(|row| (row.session, row.epoch) != (report.session, report.epoch));
            match is_late {
                true => Mutated::Refused,
                false => Mutated::Command(command.clone()),
            }
        }
        (spool::Command::Report(report), Some(Mutation::TakeLateActions)) => {
            let mut report = report.clone();
            let task = query::task(rows, report.task);
            if let Some(owner) = task.and_then(|task| query::slot(rows, task.slot))
                && report
                    .outcomes
                    .iter()
                    .any(|o| o.verdict == Verdict::Deferred)
            {
                (report.session, report.epoch) = (owner.session, owner.epoch);
            }
            Mutated::Command(spool::Command::Report(report))
        }
        (spool::Command::OpenSlots(open), Some(Mutation::ForgetEpoch)) => {
            for (slot, epoch) in &open.slots {
                let row = SlotRow {
                    session: open.session,
                    epoch: *epoch,
                };
                rows.put(key::slot(*slot), codec::encode(&row));
            }
            Mutated::Done
        }
        _ => Mutated::Command(command.clone()),
    }
}

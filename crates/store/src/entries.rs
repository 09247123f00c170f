//! Entries of the log on their way into the rows of a group.
//!
//! One that cannot be applied stops the replica, and the process with it: going on without it would make the state differ
//! from that of others. When every version stumbles over it, operators have all replicas pass over what cannot be applied
//! of that entry, named by group and number. The rest of the entry is applied.

use std::panic::{AssertUnwindSafe, catch_unwind};

use openraft::{AnyError, ErrorSubject, ErrorVerb, LogId, StorageError, StorageIOError};
use skein_model::UnixMs;

use crate::machines::Machine;
use crate::overlay::Overlay;
use crate::types::{Batch, BatchReply};

/// An entry that this replica cannot apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {index} of Raft group {group} cannot be applied: {reason}. A newer version may be able to: run that again. If \
     none is, stop the control nodes and start every one of them with `--skip-entry {group}:{index}`, which passes over what \
     cannot be applied of this entry and keeps all else"
)]
pub struct CannotApply {
    pub group: u16,
    pub index: u64,
    pub reason: String,
}

impl CannotApply {
    pub(crate) fn at(self, id: LogId<u64>) -> StorageError<u64> {
        let error = AnyError::new(&self);
        StorageIOError::new(ErrorSubject::Apply(id), ErrorVerb::Write, error).into()
    }
}

/// Applies the commands of one entry, all of them.
///
/// # Errors
/// Why one could not be applied. The rows are in no state that may be kept.
pub(crate) fn apply<M: Machine>(
    machine: M,
    rows: &mut Overlay<'_>,
    batch: &Batch,
    effects: &mut Vec<M::Effect>,
) -> Result<BatchReply, String> {
    let mut answer = BatchReply::default();
    for command in &batch.commands {
        let reply = apply_one(machine, rows, batch.at, command, effects)?;
        answer.replies.push(reply);
    }
    Ok(answer)
}

/// Applies what can be applied of an entry that operators named. Its author hears nothing of the rest, and every replica of
/// this version passes over the same.
pub(crate) fn apply_what_can_be<M: Machine>(
    machine: M,
    rows: &mut Overlay<'_>,
    batch: &Batch,
    effects: &mut Vec<M::Effect>,
) -> (BatchReply, Vec<String>) {
    let (mut answer, mut passed_over) = (BatchReply::default(), Vec::new());
    for command in &batch.commands {
        let (saved, known) = (rows.save(), effects.len());
        let reply = match apply_one(machine, rows, batch.at, command, effects) {
            Ok(reply) => reply,
            Err(reason) => {
                rows.restore(saved);
                effects.truncate(known);
                passed_over.push(reason);
                Vec::new()
            }
        };
        answer.replies.push(reply);
    }
    (answer, passed_over)
}

fn apply_one<M: Machine>(
    machine: M,
    rows: &mut Overlay<'_>,
    at: u64,
    command: &[u8],
    effects: &mut Vec<M::Effect>,
) -> Result<Vec<u8>, String> {
    // The caller throws away a batch that a panic leaves half done.
    let applied = catch_unwind(AssertUnwindSafe(|| {
        machine.apply(rows, UnixMs(at), command, effects)
    }));
    match applied {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(format!(
            "this version cannot read it ({error}: {})",
            error.source
        )),
        Err(panic) => Err(format!(
            "the state machine failed ({})",
            skein_runtime::said(&*panic)
        )),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeSet;

    use openraft::storage::RaftStateMachine;
    use openraft::{CommittedLeaderId, Entry, EntryPayload};
    use skein_model::{GroupId, codec, meta};

    use super::*;
    use crate::{Hooks, MetaMachine, Options, StateMachine, Store, TypeConfig};

    const GROUP: GroupId = GroupId(0);
    const BAD: u64 = 2;

    fn drained(sender: &str) -> Vec<u8> {
        codec::encode(&meta::Command::SetDrained {
            sender: sender.into(),
            drained: true,
        })
    }

    /// The second of three entries has a command that no version knows, between two that all do.
    fn entries() -> Vec<Entry<TypeConfig>> {
        let batch = |at, commands| EntryPayload::Normal(Batch { at, commands });
        let payloads = [
            batch(1, vec![drained("a")]),
            batch(2, vec![drained("b"), vec![0xff], drained("c")]),
            batch(3, vec![drained("d")]),
        ];
        let id = |index| LogId::new(CommittedLeaderId::new(1, 1), index);
        let entries = (1..).zip(payloads);
        entries
            .map(|(index, payload)| Entry {
                log_id: id(index),
                payload,
            })
            .collect()
    }

    fn start(
        dir: &std::path::Path,
        skipped: &[u64],
    ) -> (std::sync::Arc<Store>, StateMachine<MetaMachine>) {
        let skip_entries: BTreeSet<_> = skipped.iter().map(|index| (GROUP, *index)).collect();
        let options = Options {
            skip_entries,
            ..Options::small()
        };
        let store = Store::open(dir, options).unwrap();
        let (_, machine) = store.group(GROUP, MetaMachine, Hooks::default()).unwrap();
        (store, machine)
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_applied_is_named_and_passed_over_by_its_number_alone() {
        for (skipped, expected) in [
            (&[][..], None),
            (&[1, 3], None),
            (&[BAD], Some(vec!["a", "b", "c", "d"])),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (store, mut machine) = start(dir.path(), skipped);
            let applied = machine.apply(entries()).await;
            let reader = store.reader(GROUP);
            let known: Vec<String> = meta::drained(&reader).into_iter().collect();
            match expected {
                Some(expected) => {
                    let replies = applied.unwrap();
                    assert_eq!(known, expected);
                    assert_eq!(replies[1].replies[1], Vec::<u8>::new());
                    assert_eq!(machine.applied_state().await.unwrap().0.unwrap().index, 3);
                }
                None => {
                    let error = applied.unwrap_err().to_string();
                    assert!(error.contains("entry 2 of Raft group 0"), "{error}");
                    assert!(error.contains("--skip-entry 0:2"), "{error}");
                    assert_eq!(known, Vec::<String>::new(), "nothing of the batch is kept");
                }
            }
        }
    }

    /// What was written before a command failed would be kept in one replica's checksum and not in another's.
    #[tokio::test]
    async fn replicas_that_passed_over_an_entry_are_alike_however_they_batched_it() {
        let mut states = Vec::new();
        for at_once in [1, 3] {
            let dir = tempfile::tempdir().unwrap();
            let (store, mut machine) = start(dir.path(), &[BAD]);
            for part in entries().chunks(at_once) {
                machine.apply(part.to_vec()).await.unwrap();
            }
            let mut rows = Vec::new();
            store.reader(GROUP).view().scan_all(&mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                true
            });
            states.push(rows);
        }
        assert_eq!(states[0], states[1]);
    }
}

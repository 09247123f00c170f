//! The state machine of one group: a batch of commands becomes one write to RocksDB.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{
    BasicNode, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, SnapshotMeta,
    StorageError, StoredMembership,
};
use rocksdb::{DB, WriteBatch, WriteOptions};
use skein_model::{GroupId, NodeId, codec};

use crate::db::{RAFT, STATE, column};
use crate::entries::{self, CannotApply};
use crate::log::{StoredLogId, failed};
use crate::machines::Machine;
use crate::overlay::Overlay;
use crate::reader::Reader;
use crate::snapshot::{Incoming, Received, View};
use crate::types::{Batch, BatchReply, SnapshotSource, TypeConfig};

type Failure = StorageError<u64>;

#[derive(Encode, Decode)]
struct StoredApplied {
    #[n(0)]
    last: Option<StoredLogId>,
    /// openraft's own JSON of the membership and where in the log it stands.
    #[n(1)]
    membership: ByteVec,
}

type Membership = StoredMembership<u64, BasicNode>;

/// Rows of a snapshot that are written at once.
const INSTALL_BATCH_BYTES: usize = 1 << 20;

fn encode_applied(last: Option<LogId<u64>>, membership: &Membership) -> Result<Vec<u8>, Failure> {
    let json = serde_json::to_vec(membership)
        .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Write, e))?;
    Ok(codec::encode(&StoredApplied {
        last: last.map(StoredLogId::from),
        membership: ByteVec::from(json),
    }))
}

fn decode_applied(row: Option<Vec<u8>>) -> Result<(Option<LogId<u64>>, Membership), Failure> {
    let Some(bytes) = row else {
        return Ok((None, Membership::default()));
    };
    let stored: StoredApplied = codec::decode(&bytes)
        .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e))?;
    let membership = serde_json::from_slice(&stored.membership)
        .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e))?;
    Ok((stored.last.map(LogId::from), membership))
}

fn applied_key(group: GroupId) -> [u8; 3] {
    let [high, low] = group.0.to_be_bytes();
    [high, low, b'a']
}

/// The members of a group with their addresses, as of the last entry that was applied.
pub(crate) fn members(
    db: &DB,
    group: GroupId,
) -> Result<BTreeMap<NodeId, String>, StorageError<u64>> {
    let row = db
        .get_cf(column(db, RAFT), applied_key(group))
        .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e))?;
    let (_, membership) = decode_applied(row)?;
    let nodes = membership.nodes();
    Ok(nodes
        .map(|(id, node)| (NodeId(*id), node.addr.clone()))
        .collect())
}

/// Whether anything of a group was ever applied here.
pub(crate) fn is_begun(db: &DB, group: GroupId) -> bool {
    matches!(db.get_cf(column(db, RAFT), applied_key(group)), Ok(Some(_)))
}

/// What is called after the rows of a group changed.
pub struct Hooks<E> {
    pub on_effects: Arc<dyn Fn(Vec<E>) + Send + Sync>,
    /// The rows were replaced by a snapshot.
    pub on_installed: Arc<dyn Fn() + Send + Sync>,
}

impl<E> Default for Hooks<E> {
    fn default() -> Self {
        Self {
            on_effects: Arc::new(|_| {}),
            on_installed: Arc::new(|| {}),
        }
    }
}

impl<E> std::fmt::Debug for Hooks<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

pub struct StateMachine<M: Machine> {
    db: Arc<DB>,
    group: [u8; 2],
    reader: Reader,
    machine: M,
    /// Entries that operators had this replica pass over.
    skipped: Arc<BTreeSet<u64>>,
    on_effects: Arc<dyn Fn(Vec<M::Effect>) + Send + Sync>,
    on_installed: Arc<dyn Fn() + Send + Sync>,
    /// Where received snapshots are gathered.
    folder: PathBuf,
}

impl<M: Machine> std::fmt::Debug for StateMachine<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateMachine({:?})", self.group)
    }
}

impl<M: Machine> Clone for StateMachine<M> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            group: self.group,
            reader: self.reader.clone(),
            machine: self.machine,
            skipped: self.skipped.clone(),
            on_effects: self.on_effects.clone(),
            on_installed: self.on_installed.clone(),
            folder: self.folder.clone(),
        }
    }
}

impl<M: Machine> StateMachine<M> {
    /// # Errors
    /// A snapshot was being installed when the process ended, and that cannot be finished.
    pub(crate) fn new(
        db: Arc<DB>,
        group: GroupId,
        machine: M,
        hooks: Hooks<M::Effect>,
        skipped: BTreeSet<u64>,
        folder: PathBuf,
    ) -> Result<Self, Failure> {
        let reader = Reader::new(db.clone(), group);
        let machine = Self {
            db,
            group: group.0.to_be_bytes(),
            reader,
            machine,
            skipped: Arc::new(skipped),
            on_effects: hooks.on_effects,
            on_installed: hooks.on_installed,
            folder,
        };
        machine.recover()?;
        Ok(machine)
    }

    fn applied_key(&self) -> [u8; 3] {
        applied_key(GroupId(u16::from_be_bytes(self.group)))
    }

    fn installing_key(&self) -> [u8; 3] {
        [self.group[0], self.group[1], b'i']
    }

    fn applied(&self) -> Result<(Option<LogId<u64>>, Membership), Failure> {
        let row = self
            .db
            .get_cf(column(&self.db, RAFT), self.applied_key())
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e))?;
        decode_applied(row)
    }

    fn put_applied(
        &self,
        batch: &mut WriteBatch,
        last: Option<LogId<u64>>,
        membership: &Membership,
    ) -> Result<(), Failure> {
        let applied = encode_applied(last, membership)?;
        batch.put_cf(column(&self.db, RAFT), self.applied_key(), applied);
        Ok(())
    }

    fn write(&self, batch: WriteBatch) -> Result<(), Failure> {
        // Not synced: after a crash the log is applied again from the last position that is on disk.
        self.db
            .write(batch)
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Write, e))
    }

    /// Applies entries in one batch with the position that they bring the state to.
    pub(crate) fn apply_all(
        &self,
        entries: impl Iterator<Item = Entry<TypeConfig>>,
    ) -> Result<Vec<BatchReply>, Failure> {
        let (mut last, mut membership) = self.applied()?;
        let mut rows = Overlay::new(&self.reader);
        let mut effects = Vec::new();
        let mut answers = Vec::new();
        for entry in entries {
            last = Some(entry.log_id);
            let mut answer = BatchReply::default();
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(batch) => {
                    let applied = self.apply_batch(entry.log_id, &mut rows, &batch, &mut effects);
                    answer = applied.map_err(|error| error.at(entry.log_id))?;
                }
                EntryPayload::Membership(new) => {
                    membership = Membership::new(Some(entry.log_id), new)
                }
            }
            rows.checksum.applied(entry.log_id.index);
            answers.push(answer);
        }
        let mut batch = WriteBatch::default();
        rows.write_to(&mut batch, &self.db);
        self.put_applied(&mut batch, last, &membership)?;
        self.write(batch)?;
        if !effects.is_empty() {
            (self.on_effects)(effects);
        }
        Ok(answers)
    }

    fn apply_batch(
        &self,
        id: LogId<u64>,
        rows: &mut Overlay<'_>,
        batch: &Batch,
        effects: &mut Vec<M::Effect>,
    ) -> Result<BatchReply, CannotApply> {
        let (group, index) = (u16::from_be_bytes(self.group), id.index);
        if !self.skipped.contains(&index) {
            let applied = entries::apply(self.machine, rows, batch, effects);
            return applied.map_err(|reason| CannotApply {
                group,
                index,
                reason,
            });
        }
        let (answer, passed_over) = entries::apply_what_can_be(self.machine, rows, batch, effects);
        for reason in &passed_over {
            tracing::error!(
                group,
                index,
                reason,
                "a command is passed over, as --skip-entry says"
            );
        }
        if passed_over.is_empty() {
            tracing::warn!(
                group,
                index,
                "all of the entry can be applied: --skip-entry is not needed for it"
            );
        }
        Ok(answer)
    }

    /// The rows and the position that they stand for, as of one moment.
    fn snapshot(&self) -> Result<Snapshot<TypeConfig>, Failure> {
        let read = |e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e);
        let view = View::new(self.db.clone(), self.group);
        let row = view.raft_row(&self.applied_key()).map_err(read)?;
        let (last_log_id, last_membership) = decode_applied(row)?;
        let snapshot_id = last_log_id.map_or_else(
            || "empty".to_owned(),
            |id| format!("{}-{}", id.leader_id, id.index),
        );
        Ok(Snapshot {
            meta: SnapshotMeta {
                last_log_id,
                last_membership,
                snapshot_id,
            },
            snapshot: Box::new(SnapshotSource::View(view)),
        })
    }

    fn install(
        &self,
        meta: &SnapshotMeta<u64, BasicNode>,
        source: &SnapshotSource,
    ) -> Result<(), Failure> {
        let io = |e: io::Error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Write, e);
        let received = match source {
            SnapshotSource::Received(received) => received.clone(),
            SnapshotSource::View(view) => self.copy(view).map_err(io)?,
            SnapshotSource::Nothing => {
                return Err(io(io::Error::other("the snapshot has no rows")));
            }
        };
        let mut batch = WriteBatch::default();
        let applied = encode_applied(meta.last_log_id, &meta.last_membership)?;
        batch.put_cf(column(&self.db, RAFT), self.installing_key(), &applied);
        self.write_synced(batch)?;
        self.replace_rows(&received, &applied)
    }

    fn copy(&self, view: &View) -> io::Result<Received> {
        let mut incoming = Incoming::create(&self.folder, GroupId(u16::from_be_bytes(self.group)))?;
        let (mut rows, mut result) = (0, Ok(()));
        view.scan_all(&mut |key, value| {
            rows += 1;
            result = incoming.push(key, value);
            result.is_ok()
        });
        result?;
        incoming.finish(rows)
    }

    /// Goes on with an installation that a crash cut short.
    fn recover(&self) -> Result<(), Failure> {
        let read = |e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e);
        let row = self
            .db
            .get_cf(column(&self.db, RAFT), self.installing_key())
            .map_err(read)?;
        let Some(applied) = row else {
            return Ok(());
        };
        let received = Received::left(&self.folder, GroupId(u16::from_be_bytes(self.group)));
        self.replace_rows(&received, &applied)
    }

    /// Replaces the group's rows by those of a leader. Until it is done a row says so, and a start does it again.
    fn replace_rows(&self, received: &Received, applied: &[u8]) -> Result<(), Failure> {
        let io = |e: io::Error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Read, e);
        let state = column(&self.db, STATE);
        let mut batch = WriteBatch::default();
        let end = (u16::from_be_bytes(self.group) + 1).to_be_bytes();
        batch.delete_range_cf(state, &self.group[..], &end[..]);
        let mut result = Ok(());
        received
            .scan(&mut |key, value| {
                batch.put_cf(state, self.reader.full_key(&key), value);
                if batch.size_in_bytes() >= INSTALL_BATCH_BYTES && result.is_ok() {
                    result = self.write(std::mem::take(&mut batch));
                }
            })
            .map_err(io)?;
        result?;
        let raft = column(&self.db, RAFT);
        batch.put_cf(raft, self.applied_key(), applied);
        batch.delete_cf(raft, self.installing_key());
        self.write_synced(batch)?;
        received.remove();
        Ok(())
    }

    fn write_synced(&self, batch: WriteBatch) -> Result<(), Failure> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db
            .write_opt(batch, &options)
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Write, e))
    }
}

/// A panic here would end openraft's worker without a word, and the group with it.
async fn on_a_thread<T: Send + 'static>(
    group: [u8; 2],
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let work = move || {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let (group, why) = (u16::from_be_bytes(group), skein_runtime::said(&*panic));
            skein_runtime::end(format_args!(
                "the state machine of Raft group {group} has failed: {why}"
            ))
        })
    };
    skein_runtime::blocking(work).await
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for StateMachine<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, Failure> {
        self.snapshot()
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateMachine<M> {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Membership), Failure> {
        self.applied()
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<BatchReply>, Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let machine = self.clone();
        // A batch may take milliseconds, and RocksDB may stall a write; the runtime's threads must not wait for it.
        on_a_thread(self.group, move || machine.apply_all(entries.into_iter())).await
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotSource>, Failure> {
        Ok(Box::new(SnapshotSource::Nothing))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<SnapshotSource>,
    ) -> Result<(), Failure> {
        let (machine, meta) = (self.clone(), meta.clone());
        on_a_thread(self.group, move || machine.install(&meta, &snapshot)).await?;
        (self.on_installed)();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, Failure> {
        let snapshot = self.snapshot()?;
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}

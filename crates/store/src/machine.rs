//! The state machine of one group: a batch of commands becomes one write to RocksDB.

use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{
    BasicNode, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend, SnapshotMeta,
    StorageError, StoredMembership,
};
use rocksdb::{DB, WriteBatch};
use skein_model::rows::Rows;
use skein_model::{GroupId, UnixMs, codec, meta, spool};

use crate::db::{RAFT, STATE, column};
use crate::log::{StoredLogId, failed};
use crate::overlay::Overlay;
use crate::reader::Reader;
use crate::types::{BatchReply, SnapshotSource, TypeConfig};

type Failure = StorageError<u64>;

/// What the commands of a group mean.
pub trait Machine: Send + Sync + 'static {
    type Effect: Send;

    /// Applies one encoded command and returns its encoded reply.
    fn apply<R: Rows>(
        &self,
        rows: &mut R,
        at: UnixMs,
        command: &[u8],
        effects: &mut Vec<Self::Effect>,
    ) -> Vec<u8>;
}

/// Messages and tasks.
#[derive(Debug, Clone, Copy)]
pub struct SpoolMachine;

/// Sessions and slots.
#[derive(Debug, Clone, Copy)]
pub struct MetaMachine;

/// A command of a later version must stop this node: passing over it would make its state differ from the others'.
fn decode<T: for<'b> Decode<'b, ()>>(command: &[u8]) -> T {
    match codec::decode(command) {
        Ok(command) => command,
        Err(error) => panic!(
            "this version cannot read a committed command ({error}); run the newer version again"
        ),
    }
}

impl Machine for SpoolMachine {
    type Effect = spool::Effect;

    fn apply<R: Rows>(
        &self,
        rows: &mut R,
        at: UnixMs,
        command: &[u8],
        effects: &mut Vec<spool::Effect>,
    ) -> Vec<u8> {
        let applied = spool::apply(rows, at, &decode(command));
        effects.extend(applied.effects);
        codec::encode(&applied.response)
    }
}

impl Machine for MetaMachine {
    type Effect = ();

    fn apply<R: Rows>(
        &self,
        rows: &mut R,
        at: UnixMs,
        command: &[u8],
        _effects: &mut Vec<()>,
    ) -> Vec<u8> {
        codec::encode(&meta::apply(rows, at, &decode(command)))
    }
}

#[derive(Encode, Decode)]
struct StoredApplied {
    #[n(0)]
    last: Option<StoredLogId>,
    /// openraft's own JSON of the membership and where in the log it stands.
    #[n(1)]
    membership: ByteVec,
}

type Membership = StoredMembership<u64, BasicNode>;

pub struct StateMachine<M: Machine> {
    db: Arc<DB>,
    group: [u8; 2],
    reader: Reader,
    machine: Arc<M>,
    on_effects: Arc<dyn Fn(Vec<M::Effect>) + Send + Sync>,
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
            machine: self.machine.clone(),
            on_effects: self.on_effects.clone(),
        }
    }
}

impl<M: Machine> StateMachine<M> {
    pub(crate) fn new(
        db: Arc<DB>,
        group: GroupId,
        machine: M,
        on_effects: Arc<dyn Fn(Vec<M::Effect>) + Send + Sync>,
    ) -> Self {
        let reader = Reader::new(db.clone(), group);
        Self {
            db,
            group: group.0.to_be_bytes(),
            reader,
            machine: Arc::new(machine),
            on_effects,
        }
    }

    fn applied_key(&self) -> [u8; 3] {
        [self.group[0], self.group[1], b'a']
    }

    fn applied(&self) -> Result<(Option<LogId<u64>>, Membership), Failure> {
        let read = |e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e);
        let Some(bytes) = self
            .db
            .get_cf(column(&self.db, RAFT), self.applied_key())
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e))?
        else {
            return Ok((None, Membership::default()));
        };
        let stored: StoredApplied = codec::decode(&bytes).map_err(read)?;
        let membership = serde_json::from_slice(&stored.membership)
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Read, e))?;
        Ok((stored.last.map(LogId::from), membership))
    }

    fn put_applied(
        &self,
        batch: &mut WriteBatch,
        last: Option<LogId<u64>>,
        membership: &Membership,
    ) -> Result<(), Failure> {
        let json = serde_json::to_vec(membership)
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Write, e))?;
        let stored = StoredApplied {
            last: last.map(StoredLogId::from),
            membership: ByteVec::from(json),
        };
        batch.put_cf(
            column(&self.db, RAFT),
            self.applied_key(),
            codec::encode(&stored),
        );
        Ok(())
    }

    fn write(&self, batch: WriteBatch) -> Result<(), Failure> {
        // Not synced: after a crash the log is applied again from the last position that is on disk.
        self.db
            .write(batch)
            .map_err(|e| failed(ErrorSubject::StateMachine, ErrorVerb::Write, e))
    }

    /// Applies entries in one batch with the position that they bring the state to.
    fn apply_all(
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
                    for command in &batch.commands {
                        let reply =
                            self.machine
                                .apply(&mut rows, UnixMs(batch.at), command, &mut effects);
                        answer.replies.push(reply);
                    }
                }
                EntryPayload::Membership(new) => {
                    membership = Membership::new(Some(entry.log_id), new)
                }
            }
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

    fn snapshot(&self) -> Result<Snapshot<TypeConfig>, Failure> {
        let (last_log_id, last_membership) = self.applied()?;
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
            snapshot: Box::new(SnapshotSource(Some(self.reader.clone()))),
        })
    }

    /// Replaces the group's rows by those of another state.
    fn replace_rows(
        &self,
        source: &Reader,
        meta: &SnapshotMeta<u64, BasicNode>,
    ) -> Result<(), Failure> {
        let state = column(&self.db, STATE);
        let mut batch = WriteBatch::default();
        let end = (u16::from_be_bytes(self.group) + 1).to_be_bytes();
        batch.delete_range_cf(state, &self.group[..], &end[..]);
        for (key, value) in source.rows(&[], &[]) {
            batch.put_cf(state, self.reader.full_key(&key), value);
        }
        self.put_applied(&mut batch, meta.last_log_id, &meta.last_membership)?;
        self.write(batch)
    }
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
        tokio::task::spawn_blocking(move || machine.apply_all(entries.into_iter()))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotSource>, Failure> {
        Ok(Box::new(SnapshotSource(None)))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<SnapshotSource>,
    ) -> Result<(), Failure> {
        match &snapshot.0 {
            Some(source) => self.replace_rows(source, meta),
            None => Err(failed(
                ErrorSubject::Snapshot(None),
                ErrorVerb::Read,
                std::io::Error::other("the snapshot has no rows"),
            )),
        }
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, Failure> {
        let snapshot = self.snapshot()?;
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}

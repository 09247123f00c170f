//! The Raft log of one group.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use openraft::storage::{LogFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{
    CommittedLeaderId, Entry, EntryPayload, ErrorSubject, ErrorVerb, LogId, OptionalSend,
    StorageError, Vote,
};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions, WriteBatch};
use skein_model::codec::CorruptRow;
use skein_model::{GroupId, codec};
use tokio::sync::oneshot;

use crate::db::{LOG, RAFT, column, disk_failed};
use crate::flusher::Flusher;
use crate::types::{Batch, TypeConfig};

/// What one read of entries for replication returns at most, so that an append never takes longer than a heartbeat.
const READ_BYTES_MAX: usize = 1 << 20;

type Failure = StorageError<u64>;

/// The disk did not do what it was asked, or holds what was not written: ends the process.
///
/// openraft would stop the one group that met it and leave its node a member of the others that looks well. The type is
/// the one that openraft wants.
pub(crate) fn failed(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: impl std::error::Error,
) -> Failure {
    disk_failed(&format!("{verb:?} of {subject:?}"), &error)
}

#[derive(Encode, Decode)]
struct StoredEntry {
    #[n(0)]
    term: u64,
    #[n(1)]
    node: u64,
    #[n(2)]
    index: u64,
    #[n(3)]
    payload: StoredPayload,
}

#[derive(Encode, Decode)]
enum StoredPayload {
    #[n(0)]
    Blank,
    #[n(1)]
    Commands {
        #[n(0)]
        at: u64,
        #[n(1)]
        commands: Vec<ByteVec>,
    },
    /// openraft's own JSON: it changes rarely and is small.
    #[n(2)]
    Membership(#[n(0)] ByteVec),
}

#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct StoredLogId {
    #[n(0)]
    term: u64,
    #[n(1)]
    node: u64,
    #[n(2)]
    index: u64,
}

impl From<LogId<u64>> for StoredLogId {
    fn from(id: LogId<u64>) -> Self {
        Self {
            term: id.leader_id.term,
            node: id.leader_id.node_id,
            index: id.index,
        }
    }
}

impl From<StoredLogId> for LogId<u64> {
    fn from(id: StoredLogId) -> Self {
        Self::new(CommittedLeaderId::new(id.term, id.node), id.index)
    }
}

#[derive(Encode, Decode)]
struct StoredVote {
    #[n(0)]
    term: u64,
    #[n(1)]
    node: u64,
    #[n(2)]
    committed: bool,
}

/// Bytes that are no entry of this version, or a membership without a JSON form.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    #[error(transparent)]
    Row(#[from] CorruptRow),
    #[error("the membership of an entry")]
    Membership(#[from] serde_json::Error),
}

/// An entry as it is on disk, and as it goes to other nodes.
///
/// # Errors
/// Its membership has no JSON form.
pub fn encode_entry(entry: Entry<TypeConfig>) -> Result<Vec<u8>, BadEntry> {
    let payload = match entry.payload {
        EntryPayload::Blank => StoredPayload::Blank,
        EntryPayload::Normal(batch) => StoredPayload::Commands {
            at: batch.at,
            commands: batch.commands.into_iter().map(ByteVec::from).collect(),
        },
        EntryPayload::Membership(membership) => {
            StoredPayload::Membership(ByteVec::from(serde_json::to_vec(&membership)?))
        }
    };
    let StoredLogId { term, node, index } = entry.log_id.into();
    Ok(codec::encode(&StoredEntry {
        term,
        node,
        index,
        payload,
    }))
}

/// # Errors
/// The bytes are not an entry of this version.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry<TypeConfig>, BadEntry> {
    let stored: StoredEntry = codec::decode(bytes)?;
    let payload = match stored.payload {
        StoredPayload::Blank => EntryPayload::Blank,
        StoredPayload::Commands { at, commands } => EntryPayload::Normal(Batch {
            at,
            commands: commands.into_iter().map(Vec::from).collect(),
        }),
        StoredPayload::Membership(json) => EntryPayload::Membership(serde_json::from_slice(&json)?),
    };
    let id = StoredLogId {
        term: stored.term,
        node: stored.node,
        index: stored.index,
    };
    Ok(Entry {
        log_id: id.into(),
        payload,
    })
}

#[derive(Debug, Clone)]
pub struct LogStore {
    db: Arc<DB>,
    flusher: Arc<Flusher>,
    group: [u8; 2],
}

impl LogStore {
    pub(crate) fn new(db: Arc<DB>, flusher: Arc<Flusher>, group: GroupId) -> Self {
        Self {
            db,
            flusher,
            group: group.0.to_be_bytes(),
        }
    }

    fn log_key(&self, index: u64) -> Vec<u8> {
        [&self.group[..], &index.to_be_bytes()].concat()
    }

    fn raft_key(&self, name: u8) -> [u8; 3] {
        [self.group[0], self.group[1], name]
    }

    /// The end of this group's entries.
    fn log_end(&self) -> Vec<u8> {
        (u16::from_be_bytes(self.group) + 1).to_be_bytes().to_vec()
    }

    fn read_raft<T: for<'b> Decode<'b, ()>>(
        &self,
        name: u8,
        subject: ErrorSubject<u64>,
    ) -> Result<Option<T>, Failure> {
        let bytes = self
            .db
            .get_cf(column(&self.db, RAFT), self.raft_key(name))
            .map_err(|e| failed(subject.clone(), ErrorVerb::Read, e))?;
        bytes
            .map(|bytes| codec::decode(&bytes))
            .transpose()
            .map_err(|e| failed(subject, ErrorVerb::Read, e))
    }

    async fn durable(&self) {
        let (done, flushed) = oneshot::channel();
        self.flusher.after_flush(move || {
            // A caller that is gone no longer cares.
            let _ = done.send(());
        });
        flushed
            .await
            .expect("the flusher completes every callback or ends the process");
    }

    fn entries(
        &self,
        start: u64,
        end: Option<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry<TypeConfig>>, Failure> {
        let mut options = ReadOptions::default();
        options
            .set_iterate_upper_bound(end.map_or_else(|| self.log_end(), |end| self.log_key(end)));
        let start = self.log_key(start);
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut entries = Vec::new();
        let mut bytes = 0;
        for row in self
            .db
            .iterator_cf_opt(column(&self.db, LOG), options, mode)
        {
            let (_, value) = row.map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Read, e))?;
            bytes += value.len();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(read_entry(&value)?);
        }
        Ok(entries)
    }

    fn delete(&self, from: u64, until: u64, batch: &mut WriteBatch) {
        batch.delete_range_cf(
            column(&self.db, LOG),
            self.log_key(from),
            self.log_key(until),
        );
    }
}

fn read_entry(bytes: &[u8]) -> Result<Entry<TypeConfig>, Failure> {
    decode_entry(bytes).map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Read, e))
}

const VOTE: u8 = b'v';
const PURGED: u8 = b'p';

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, Failure> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.checked_add(1),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        self.entries(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<TypeConfig>>, Failure> {
        self.entries(start, Some(end), READ_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, Failure> {
        let purged: Option<StoredLogId> = self.read_raft(PURGED, ErrorSubject::Logs)?;
        let last_purged_log_id = purged.map(LogId::from);
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(self.log_key(0));
        options.set_iterate_upper_bound(self.log_end());
        let last = self
            .db
            .iterator_cf_opt(column(&self.db, LOG), options, IteratorMode::End)
            .next();
        let last_log_id = match last {
            Some(row) => {
                let (_, value) = row.map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Read, e))?;
                Some(read_entry(&value)?.log_id)
            }
            None => last_purged_log_id,
        };
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), Failure> {
        let stored = StoredVote {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
            committed: vote.committed,
        };
        self.db
            .put_cf(
                column(&self.db, RAFT),
                self.raft_key(VOTE),
                codec::encode(&stored),
            )
            .map_err(|e| failed(ErrorSubject::Vote, ErrorVerb::Write, e))?;
        self.durable().await;
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, Failure> {
        let stored: Option<StoredVote> = self.read_raft(VOTE, ErrorSubject::Vote)?;
        Ok(stored.map(|vote| match vote.committed {
            true => Vote::new_committed(vote.term, vote.node),
            false => Vote::new(vote.term, vote.node),
        }))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), Failure>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::default();
        for entry in entries {
            let key = self.log_key(entry.log_id.index);
            let entry =
                encode_entry(entry).map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Write, e))?;
            batch.put_cf(column(&self.db, LOG), key, entry);
        }
        self.db
            .write(batch)
            .map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Write, e))?;
        self.flusher
            .after_flush(move || callback.log_io_completed(Ok(())));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId<u64>) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            column(&self.db, LOG),
            self.log_key(log_id.index),
            self.log_end(),
        );
        self.db
            .write(batch)
            .map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Delete, e))?;
        self.durable().await;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId<u64>) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        let purged = codec::encode(&StoredLogId::from(log_id));
        batch.put_cf(column(&self.db, RAFT), self.raft_key(PURGED), purged);
        self.delete(0, log_id.index + 1, &mut batch);
        // A purge that a crash forgets is done again.
        self.db
            .write(batch)
            .map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Delete, e))
    }
}

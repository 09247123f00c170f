//! Commands that arrive while a proposal is in flight share the next Raft entry.
//!
//! openraft 0.9 fsyncs once for each proposal and does nothing else meanwhile, so throughput is the size of a
//! batch over the time of an fsync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openraft::{Raft, ServerState};
use skein_model::proposal::Invalid;
use skein_store::{Batch, TypeConfig};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::GroupCounters;
use crate::clock;

/// An entry holds at most this much, so that replicating one never takes longer than a heartbeat.
const ENTRY_BYTES: usize = 1 << 20;
const ENTRY_COMMANDS: usize = 2048;
/// Commands that wait for the entry in flight; more hold their callers back.
const QUEUED: usize = 8192;
const DEADLINE: Duration = Duration::from_secs(15);
/// openraft 0.9 can forget a pending write of a deposed leader. One that it has not forgotten is answered by then; what
/// waits behind it must not wait for the deadline, because this node may lead again.
const DEPOSED: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// Not committed by this node, and it never will be.
    #[error("this node does not lead the group")]
    NotLeader,
    #[error("the result is not known: {0}")]
    Unknown(String),
    /// It never will be committed by any node.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl ProposeError {
    /// As other nodes and people hear of it.
    pub fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::NotLeader => Status::failed_precondition(text),
            Self::Unknown(_) => Status::unavailable(text),
            Self::Invalid(_) => Status::invalid_argument(text),
        }
    }
}

struct Proposal {
    command: Vec<u8>,
    reply: oneshot::Sender<Result<Vec<u8>, ProposeError>>,
}

pub struct Proposer {
    queue: mpsc::Sender<Proposal>,
    /// Leadership is on its way to another node.
    paused: Arc<AtomicBool>,
    /// Held while an entry is on its way.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Proposer {
    pub fn start(raft: Raft<TypeConfig>, counters: GroupCounters) -> Self {
        let (queue, proposals) = mpsc::channel(QUEUED);
        let paused = Arc::<AtomicBool>::default();
        let writing = Arc::<tokio::sync::Mutex<()>>::default();
        let run = run(raft, proposals, counters, paused.clone(), writing.clone());
        skein_runtime::task("proposer", run);
        Self {
            queue,
            paused,
            writing,
        }
    }

    /// While it is paused, this node commits nothing new.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    /// Completes when no entry is on its way. While it is paused, none follows.
    pub async fn is_quiet(&self) {
        drop(self.writing.lock().await);
    }

    pub async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, ProposeError> {
        if self.paused.load(Ordering::Acquire) {
            return Err(ProposeError::NotLeader);
        }
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(Proposal { command, reply })
            .await
            .map_err(|_| ProposeError::NotLeader)?;
        answer
            .await
            .unwrap_or_else(|_| Err(ProposeError::Unknown("the group stopped".into())))
    }
}

async fn run(
    raft: Raft<TypeConfig>,
    mut proposals: mpsc::Receiver<Proposal>,
    counters: GroupCounters,
    paused: Arc<AtomicBool>,
    writing: Arc<tokio::sync::Mutex<()>>,
) {
    while let Some(first) = proposals.recv().await {
        let _writing = writing.lock().await;
        if paused.load(Ordering::Acquire) {
            // A waiter that is gone was cancelled.
            let _ = first.reply.send(Err(ProposeError::NotLeader));
            continue;
        }
        let mut bytes = first.command.len();
        let mut commands = vec![first.command];
        let mut waiting = vec![first.reply];
        while commands.len() < ENTRY_COMMANDS && bytes < ENTRY_BYTES {
            let Ok(next) = proposals.try_recv() else {
                break;
            };
            bytes += next.command.len();
            commands.push(next.command);
            waiting.push(next.reply);
        }
        plant_bad_command(&mut commands);
        let began = Instant::now();
        match write(&raft, commands).await {
            Ok(replies) => {
                counters.commit.observe(began.elapsed().as_secs_f64());
                counters.commands.inc_by(replies.len() as u64);
                for (reply, waiter) in replies.into_iter().zip(waiting) {
                    // A waiter that is gone was cancelled; its command is committed all the same.
                    let _ = waiter.send(Ok(reply));
                }
            }
            Err(error) => {
                for waiter in waiting {
                    let _ = waiter.send(Err(error.clone()));
                }
            }
        }
    }
}

/// For tests of what becomes of a command that is committed and cannot be applied, as an older version could commit one.
fn plant_bad_command(commands: &mut Vec<Vec<u8>>) {
    fail::fail_point!("control-bad-command", |_| commands.push(vec![0xff]));
    // Without failpoints nothing is planted.
    let _ = commands;
}

async fn write(
    raft: &Raft<TypeConfig>,
    commands: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, ProposeError> {
    let batch = Batch {
        at: clock::now().0,
        commands,
    };
    let unknown = |reason: String| Err(ProposeError::Unknown(reason));
    let deposed = deposed(raft);
    let raft = raft.clone();
    let write = tokio::spawn(async move { raft.client_write(batch).await });
    fail::fail_point!("control-after-propose");
    let written = tokio::select! {
        written = write => written,
        () = deposed => return unknown("this node leads no more".to_owned()),
        () = tokio::time::sleep(DEADLINE) => {
            return unknown(format!("not committed within {} s", DEADLINE.as_secs()));
        }
    };
    match written {
        Ok(Ok(response)) => Ok(response.data.replies),
        Ok(Err(error)) if error.forward_to_leader::<openraft::BasicNode>().is_some() => {
            Err(ProposeError::NotLeader)
        }
        Ok(Err(error)) => unknown(error.to_string()),
        Err(error) => unknown(error.to_string()),
    }
}

/// Completes some time after this node ceased to lead the term in which it is now.
fn deposed(raft: &Raft<TypeConfig>) -> impl Future<Output = ()> + use<> {
    let mut metrics = raft.metrics();
    let term = metrics.borrow().current_term;
    async move {
        let leads_no_more = metrics
            .wait_for(|now| now.current_term != term || now.state != ServerState::Leader)
            .await
            .is_ok();
        match leads_no_more {
            true => tokio::time::sleep(DEPOSED).await,
            // The group has stopped, and the write says so.
            false => std::future::pending().await,
        }
    }
}

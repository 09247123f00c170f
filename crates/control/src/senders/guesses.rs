//! Failed logins of all nodes, as the leader of the meta group adds them up: in memory only. Nodes tell the next leader. From where
//! accounts have logged in is written down as well ([`super::known_clients`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use skein_model::lockout::{KnownClient, SharedFailures, Standing};
use skein_model::meta;
use skein_store::Reader;
use skein_wire::convert;
use skein_wire::internal::{LocksReply, TellGuessesReply, TellGuessesRequest};
use tonic::Status;

/// Of who is locked out, or made to wait; with 100 bytes for each. Those who are locked for longest come first.
const SHOWN_MAX: usize = 10_000;

#[derive(Clone)]
pub struct GuessMemory(Arc<Memory>);

struct Memory {
    failures: Mutex<SharedFailures>,
    /// It knows what the group has written down, since this node leads.
    has_begun: AtomicBool,
    /// What their time counts from.
    began: Instant,
}

impl Default for GuessMemory {
    fn default() -> Self {
        Self(Arc::new(Memory {
            failures: Mutex::new(SharedFailures::new(rand::random())),
            has_begun: AtomicBool::new(false),
            began: Instant::now(),
        }))
    }
}

impl GuessMemory {
    /// # Errors
    /// What a node tells cannot be read.
    pub fn tell(
        &self,
        request: TellGuessesRequest,
        reader: &Reader,
    ) -> Result<TellGuessesReply, Status> {
        let told = convert::guesses(request)
            .map_err(|error| Status::invalid_argument(format!("failed: {error}")))?;
        let now = self.0.began.elapsed();
        let mut failures = self.0.failures.lock();
        if !self.0.has_begun.swap(true, Ordering::AcqRel) {
            failures.begin_with(meta::known_clients(reader), now);
        }
        let heard = failures.tell(told, now);
        Ok(convert::guesses_reply(&heard))
    }

    /// Another node writes down what it learns: it is read when this one leads again.
    pub fn leads_no_more(&self) {
        self.0.has_begun.store(false, Ordering::Release);
    }

    /// From where accounts have logged in, as far as the group may not have it.
    pub fn unwritten(&self) -> Vec<KnownClient> {
        self.0.failures.lock().unwritten()
    }

    pub fn are_written(&self, written: &[KnownClient]) {
        self.0.failures.lock().are_written(written);
    }

    /// Unlocks whoever has this name, if it is one, and says who is locked out or made to wait then.
    pub fn locks(&self, unlock: &str) -> LocksReply {
        let now = self.0.began.elapsed();
        let mut failures = self.0.failures.lock();
        let unlocked = match unlock {
            "" => 0,
            name => failures.unlock(name, now),
        };
        let mut all: Vec<Standing> = failures.all(now);
        let count = all.len();
        all.truncate(SHOWN_MAX);
        LocksReply {
            locks: all.iter().map(convert::standing_told).collect(),
            all: count as u64,
            unlocked: u32::try_from(unlocked).unwrap_or(u32::MAX),
        }
    }
}

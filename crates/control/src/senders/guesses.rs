//! Failed logins of all nodes, as the leader of the meta group adds them up: in memory only. Nodes tell the next leader.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use skein_model::lockout::{SharedFailures, Standing};
use skein_wire::convert;
use skein_wire::internal::{LocksReply, TellGuessesReply, TellGuessesRequest};
use tonic::Status;

/// Of who is locked out, or made to wait; with 100 bytes for each. Those who are locked for longest come first.
const SHOWN_MAX: usize = 10_000;

#[derive(Clone)]
pub struct GuessMemory(Arc<Memory>);

struct Memory {
    failures: Mutex<SharedFailures>,
    /// What their time counts from.
    began: Instant,
}

impl Default for GuessMemory {
    fn default() -> Self {
        Self(Arc::new(Memory {
            failures: Mutex::new(SharedFailures::new(rand::random())),
            began: Instant::now(),
        }))
    }
}

impl GuessMemory {
    /// # Errors
    /// What a node tells cannot be read.
    pub fn tell(&self, request: TellGuessesRequest) -> Result<TellGuessesReply, Status> {
        let told = convert::guesses(request)
            .map_err(|error| Status::invalid_argument(format!("failed: {error}")))?;
        let heard = self.0.failures.lock().tell(told, self.0.began.elapsed());
        Ok(convert::guesses_reply(&heard))
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

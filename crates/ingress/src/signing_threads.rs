//! Threads that make signatures.
//!
//! An RSA-2048 signature takes a quarter of a millisecond and an RSA-4096 one six times as long, and a message may have four:
//! made where the session is, it would keep a thread of the runtime from all others' sockets. Here one follows the other
//! while what it needs is in the processor's caches.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use skein_dkim::signer::SignError;
use skein_model::UnixMs;
use tokio::sync::oneshot;

use crate::signatures::Signatures;

type Written = Result<Vec<u8>, SignError>;

struct Job {
    signatures: Signatures,
    at: UnixMs,
    done: oneshot::Sender<Written>,
}

/// As many as processors. A session has one message, so no more wait for them than there are sessions.
#[derive(Debug)]
pub struct SigningThreads(mpsc::Sender<Job>);

impl SigningThreads {
    /// They end with the last clone of what is returned.
    ///
    /// # Errors
    /// The system has no thread for them.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            let queue = queue.clone();
            skein_runtime::thread("dkim-sign", move || sign(&queue))?;
        }
        Ok(Self(jobs))
    }

    /// The signatures of a message whose body was seen, as header fields.
    ///
    /// # Errors
    /// They would be too long, or a key cannot sign.
    pub async fn finish(&self, signatures: Signatures, at: UnixMs) -> Written {
        let (done, written) = oneshot::channel();
        let job = Job {
            signatures,
            at,
            done,
        };
        // A process whose threads have ended is ending itself.
        if self.0.send(job).is_err() {
            std::future::pending::<()>().await;
        }
        match written.await {
            Ok(written) => written,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Until nobody has anything to sign any more.
fn sign(queue: &Mutex<mpsc::Receiver<Job>>) -> bool {
    loop {
        // The threads that wait for a job wait for the lock.
        let Ok(job) = queue.lock().recv() else {
            return true;
        };
        // A client that has gone needs no answer.
        let _ = job.done.send(job.signatures.finish(job.at));
    }
}

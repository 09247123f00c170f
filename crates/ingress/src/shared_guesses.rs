//! Failed logins of this node and of the others: told and heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::guesses::Guesses as Cluster;

use crate::guessing::Guesses;

/// Failures within this time are told together.
const GATHER: Duration = Duration::from_millis(250);
/// With nothing to tell, it is asked so often what others have told.
const EVERY: Duration = Duration::from_secs(2);
/// After a call without an answer: the leader may be another node soon.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Tells and hears as long as it is polled. The time of guesses counts from `began`.
pub async fn share(cluster: Cluster, guesses: Arc<Mutex<Guesses>>, began: Instant) {
    let mut told_at: Option<Instant> = None;
    loop {
        tokio::time::sleep(GATHER).await;
        let told = {
            let mut guesses = guesses.lock();
            let is_due = told_at.is_none_or(|at| at.elapsed() >= EVERY);
            (is_due || guesses.is_untold()).then(|| guesses.to_tell(began.elapsed()))
        };
        let Some(told) = told else {
            continue;
        };
        match cluster.tell(&told).await {
            Ok(heard) => {
                guesses.lock().was_told(&told, heard, began.elapsed());
                told_at = Some(Instant::now());
            }
            Err(error) => {
                tracing::debug!(%error, "failed logins of this node are not told");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

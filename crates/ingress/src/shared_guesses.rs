//! Failed logins of this node and of the others: told and heard.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_client::guesses::Guesses as Cluster;

use crate::guessing::Guesses;
use crate::lockout::Lock;

/// Failures within this time are told together.
const GATHER: Duration = Duration::from_millis(250);
/// With nothing to tell, it is asked so often what others have told.
const EVERY: Duration = Duration::from_secs(2);
/// After a call without an answer: the leader may be another node soon.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Tells and hears as long as it is polled. The time of guesses counts from `began`; `tell_of` takes who is locked out because nodes
/// count together, with the address of a failure here.
pub async fn share(
    cluster: Cluster,
    guesses: Arc<Mutex<Guesses>>,
    began: Instant,
    tell_of: impl Fn(IpAddr, Lock),
) {
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
                let locks = guesses.lock().was_told(&told, heard, began.elapsed());
                for (client, lock) in locks {
                    tell_of(client.addr(), lock);
                }
                told_at = Some(Instant::now());
            }
            Err(error) => {
                tracing::debug!(%error, "failed logins of this node are not told");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

//! A node under attack and overload: one test at a time, since each uses both cores and says how long others wait meanwhile.
#![expect(clippy::unwrap_used, reason = "tests")]

mod guesses;
mod hostile;
mod overload;
mod random_calls;

use tokio::sync::{Mutex, MutexGuard};

/// The machine is one test's as long as it has this.
async fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::const_new(());
    MACHINE.lock().await
}

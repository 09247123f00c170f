//! Ends the process the hard way at a place that a fault test names.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

/// `SKEIN_KILL_AT=NAME:COUNT` sends SIGKILL to this process when it passes the failpoint for the `COUNT`th time.
pub fn arm() -> anyhow::Result<()> {
    let Ok(text) = std::env::var("SKEIN_KILL_AT") else {
        return Ok(());
    };
    let (name, count) = text
        .split_once(':')
        .context("SKEIN_KILL_AT: not NAME:COUNT")?;
    let left = AtomicU64::new(count.parse().context("SKEIN_KILL_AT: not a count")?);
    fail::cfg_callback(name, move || {
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            kill();
        }
    })
    .map_err(|reason| anyhow::anyhow!("SKEIN_KILL_AT: {reason}"))
}

fn kill() {
    #[expect(unsafe_code, reason = "only SIGKILL leaves no chance to flush")]
    // SAFETY: kill and getpid have no preconditions.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    std::thread::park();
}

//! Ends the process the hard way, or lets a call fail, at a place that a fault test names.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

/// `SKEIN_KILL_AT=NAME:COUNT` sends SIGKILL to this process when it passes the failpoint for the `COUNT`th time;
/// `SKEIN_FAIL_AT=NAME:COUNT` lets the call fail that the failpoint stands for, that time and no other.
/// `SKEIN_WIRE_VERSION=NUMBER` has a control node report that it reads commands of this version, as an older build does.
/// `SKEIN_PANIC_AT=NAME` lets the permanent task of this name panic when it begins.
pub fn arm() -> anyhow::Result<()> {
    if let Some((name, count)) = setting("SKEIN_KILL_AT")? {
        let left = AtomicU64::new(count);
        let kill_in_time = move || {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                kill();
            }
        };
        fail::cfg_callback(name, kill_in_time)
            .map_err(|reason| anyhow::anyhow!("SKEIN_KILL_AT: {reason}"))?;
    }
    if let Ok(name) = std::env::var("SKEIN_PANIC_AT") {
        skein_runtime::plant_panic(name);
    }
    if let Ok(version) = std::env::var("SKEIN_WIRE_VERSION") {
        fail::cfg("control-wire-version", &format!("return({version})"))
            .map_err(|reason| anyhow::anyhow!("SKEIN_WIRE_VERSION: {reason}"))?;
    }
    if let Some((name, count)) = setting("SKEIN_FAIL_AT")? {
        let passes = count.saturating_sub(1);
        fail::cfg(name, &format!("{passes}*off->1*return->off"))
            .map_err(|reason| anyhow::anyhow!("SKEIN_FAIL_AT: {reason}"))?;
    }
    Ok(())
}

fn setting(variable: &str) -> anyhow::Result<Option<(String, u64)>> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(None);
    };
    let parts = text.split_once(':');
    let (name, count) = parts.with_context(|| format!("{variable}: not NAME:COUNT"))?;
    let count = count
        .parse()
        .with_context(|| format!("{variable}: not a count"))?;
    Ok(Some((name.to_owned(), count)))
}

fn kill() {
    #[expect(unsafe_code, reason = "only SIGKILL leaves no chance to flush")]
    // SAFETY: kill and getpid have no preconditions.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    std::thread::park();
}

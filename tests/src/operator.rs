//! What an operator does with a node, and reads.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::binary;

/// Runs `skeinctl` against a node.
///
/// # Errors
/// It cannot be run.
pub fn try_skeinctl(admin: SocketAddr, args: &[&str]) -> Result<Output> {
    let server = format!("http://{admin}");
    let mut command = Command::new(binary("SKEINCTL_BIN")?);
    Ok(command.args(["--server", &server]).args(args).output()?)
}

/// What `skeinctl` prints.
///
/// # Errors
/// It fails; with what it says.
pub fn skeinctl(admin: SocketAddr, args: &[&str]) -> Result<String> {
    let output = try_skeinctl(admin, args)?;
    if !output.status.success() {
        bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Applies policy, from a file in the folder. All nodes go by it then.
///
/// # Errors
/// It is refused, or a node does not go by it within a minute.
pub fn apply(admin: SocketAddr, folder: &Path, policy: &str) -> Result<()> {
    let file = folder.join("policy.yaml");
    std::fs::write(&file, policy)?;
    let path = file.to_str().context("a path of text")?;
    skeinctl(admin, &["apply", "-f", path, "--wait"])?;
    Ok(())
}

/// What an event log has so far, oldest first; nothing if there is no such file.
///
/// # Errors
/// A line is no JSON.
pub fn events(log: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

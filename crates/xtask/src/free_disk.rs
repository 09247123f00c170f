//! Whether the disks hold what the tests write.

use std::path::Path;
use std::process::Command;

use crate::run::{Result, target_dir};

/// What the nodes of all tests that run at once keep, a small disk of some tests among it, and images of containers.
const TEMPORARY_MIB: u64 = 2 << 10;
/// Test programs that are linked again.
const TARGET_MIB: u64 = 512;

/// Nodes refuse mail on a disk that is full: tests there would fail by the hundred, and none would say why.
pub fn check() -> Result {
    let places = [
        (std::env::temp_dir(), TEMPORARY_MIB),
        (target_dir()?, TARGET_MIB),
    ];
    for (path, needed) in places {
        let free = free_mib(&path)?;
        println!("{}: {free} MiB free", path.display());
        if free < needed {
            let path = path.display();
            return Err(format!(
                "{path}: {free} MiB are free, and the tests need {needed}; remove something there, or set TMPDIR and CARGO_TARGET_DIR to another disk"
            ));
        }
    }
    Ok(())
}

fn free_mib(path: &Path) -> Result<u64> {
    let output = Command::new("df").args(["-P", "-m"]).arg(path).output();
    let output = output.map_err(|error| format!("df: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    available(&said).ok_or_else(|| format!("df {}: {said}", path.display()))
}

/// POSIX: a heading, and a line with file system, size, used, available.
fn available(said: &str) -> Option<u64> {
    said.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn df_is_read() {
        let said = "Filesystem     1048576-blocks  Used Available Capacity Mounted on\n/dev/vda 258040 14336 79360 16% /\n";
        assert_eq!(available(said), Some(79_360));
        assert_eq!(available("df: no such file"), None);
    }
}

//! Files of a node are for the user that runs it.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::Mode;

/// Others get nothing; the group may read what is outside of the data directory, such as an event log that another program
/// takes from there.
const UMASK: Mode = Mode::from_raw_mode(0o027);
const PRIVATE: u32 = 0o700;

/// For all files that this process makes.
pub fn keep_private() {
    rustix::process::umask(UMASK);
}

/// Makes the data directory, or takes the rights of others from it: bodies, logs and policy with its secrets are in it.
///
/// # Errors
/// It belongs to another user, and others may look into it.
pub fn claim(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(folder);
    made.with_context(|| format!("making {}", folder.display()))?;
    let found = fs::metadata(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let own = rustix::process::geteuid().as_raw();
    let narrowed = fs::set_permissions(folder, Permissions::from_mode(mode & 0o7700));
    match narrowed {
        Ok(()) => {
            let folder = folder.display();
            tracing::warn!(%folder, "others could look into the data directory, mode {mode:o}; it is {PRIVATE:o} from here on");
            Ok(())
        }
        Err(error) => bail!(
            "{} has mode {mode:o}, so others can look into it, and belongs to uid {} where this node runs as {own}: {error}; \
             `chmod 700` it, and let the node's user own it",
            folder.display(),
            found.uid()
        ),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_data_directory_is_made_private_and_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let new = folder.path().join("a/b");
        claim(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
        for (before, after) in [
            (0o755, 0o700),
            (0o750, 0o700),
            (0o777, 0o700),
            (0o500, 0o500),
            (0o701, 0o700),
        ] {
            fs::set_permissions(&new, Permissions::from_mode(before)).unwrap();
            claim(&new).unwrap();
            assert_eq!(mode(&new), after, "{before:o}");
        }
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(claim(&folder.path().join("file")).is_err());
    }
}

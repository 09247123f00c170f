//! A small disk that a test can fill.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Result, io_error, system};
use crate::room;

/// Of the folders of all runs; the id of the process follows.
pub const PREFIX: &str = "skein-faults-";
const FILL: &str = "filled-by-the-test";

/// A tmpfs. It is unmounted when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(at: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(at).map_err(io_error("a mount point"))?;
        let (size, place) = (format!("size={bytes}"), at.display().to_string());
        system("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &place])?;
        Ok(Self(at.to_owned()))
    }

    /// Takes the room that is left.
    pub fn fill(&self) -> Result<()> {
        room::take(&self.0.join(FILL)).map_err(io_error("filling a disk"))
    }

    /// Gives it back.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.0.join(FILL)).map_err(io_error("freeing a disk"))
    }

    /// Unmounts what runs that died have left, and removes their folders.
    pub fn remove_leftovers() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| is_leftover(Path::new(place))) {
            unmount(Path::new(place));
        }
        let folders = fs::read_dir(std::env::temp_dir()).into_iter().flatten();
        for folder in folders.flatten().map(|entry| entry.path()) {
            let is_kept = folder.join("kept").exists();
            if is_leftover(&folder) && !is_kept {
                // The next run tries again.
                let _ = fs::remove_dir_all(folder);
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(place: &Path) {
    // Files that are still open there keep it until they are closed.
    let _ = system("umount", &["-l", &place.display().to_string()]);
}

/// Whether a path belongs to a run whose process has ended.
fn is_leftover(path: &Path) -> bool {
    let mut names = path.iter().filter_map(|name| name.to_str());
    let rest = names.find_map(|name| name.strip_prefix(PREFIX));
    let process = rest.and_then(|rest| rest.split('-').next());
    process.is_some_and(|process| !Path::new("/proc").join(process).exists())
}

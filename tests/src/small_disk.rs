//! A file system of a few hundred megabytes, for tests of a full disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use skein_testkit::room;

/// Mounted while this lives.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// An ext4 file system in a file beside `path`; None where this process may not mount, and then it says so.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub fn mount(path: &Path, bytes: u64) -> io::Result<Option<Self>> {
        fs::create_dir_all(path)?;
        let image = path.with_extension("ext4");
        File::create(&image)?.set_len(bytes)?;
        let made = run(Command::new("mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(&image));
        let mounted = made
            && run(Command::new("mount")
                .args(["-o", "loop"])
                .args([&image, path]));
        if !mounted {
            println!("not tested: this machine does not allow mounts");
        }
        Ok(mounted.then(|| Self {
            path: path.to_owned(),
        }))
    }

    /// Something foreign takes all that is left; the path is that of its file.
    ///
    /// # Errors
    /// The space cannot be taken.
    pub fn fill(&self) -> io::Result<PathBuf> {
        let path = self.path.join("foreign");
        room::take(&path)?;
        Ok(path)
    }
}

fn run(command: &mut Command) -> bool {
    let output = command.output();
    output.is_ok_and(|output| output.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if !run(Command::new("umount").arg(&self.path)) {
            println!("{} stays mounted", self.path.display());
        }
    }
}

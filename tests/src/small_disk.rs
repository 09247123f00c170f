//! A file system of a few hundred megabytes, for tests of a full disk.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

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

    /// Something foreign takes all that is left, at once: what a node gives up for itself afterwards is its own.
    ///
    /// # Errors
    /// The space cannot be taken.
    pub fn fill(&self) -> io::Result<PathBuf> {
        let path = self.path.join("foreign");
        let mut left = self.available()?;
        // The file system keeps some blocks for itself.
        while !run(Command::new("fallocate")
            .args(["-l", &left.to_string()])
            .arg(&path))
        {
            left = left
                .checked_sub(64 << 10)
                .ok_or_else(|| io::Error::other("no space can be taken"))?;
        }
        Ok(path)
    }

    fn available(&self) -> io::Result<u64> {
        let output = Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(&self.path)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = text.lines().last().unwrap_or_default().trim().parse();
        number.map_err(io::Error::other)
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

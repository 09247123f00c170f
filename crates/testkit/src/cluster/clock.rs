//! A wall clock for one process, which others can set. Clocks that are not set stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ClusterError, Result, io_error};

/// libfaketime would do, were it not that jemalloc asks for the time while that library allocates.
const SOURCE: &str = include_str!("clock.c");

/// What is preloaded.
#[derive(Debug, Clone)]
pub struct Shim(PathBuf);

impl Shim {
    /// Compiles it into this folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, SOURCE).map_err(io_error("writing clock.c"))?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-o"]);
        let made = command.arg(&library).arg(&source).output();
        let made = made.map_err(io_error("cc"))?;
        match made.status.success() {
            true => Ok(Self(library)),
            false => Err(ClusterError::Command {
                command: "cc clock.c".to_owned(),
                stderr: String::from_utf8_lossy(&made.stderr).trim().to_owned(),
            }),
        }
    }
}

#[derive(Debug)]
pub struct WallClock {
    shim: Shim,
    file: PathBuf,
}

impl WallClock {
    /// One that is right.
    pub fn new(shim: Shim, file: PathBuf) -> Result<Self> {
        let clock = Self { shim, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// The process sees it at once.
    pub fn set(&self, ahead_s: i64) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let doing = || format!("setting {}", self.file.display());
        let mut open = fs::File::options();
        let open = open.write(true).create(true).truncate(false);
        let file = open.open(&self.file).map_err(io_error(doing()))?;
        let written = file.write_all_at(&ahead_s.to_ne_bytes(), 0);
        written.map_err(io_error(doing()))
    }

    /// What a process is started with that goes by it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), path(&self.shim.0)),
            ("SKEIN_WALL_CLOCK".to_owned(), path(&self.file)),
        ]
    }
}

//! A wall clock for one process, which others can set: libfaketime, preloaded. Clocks that nobody sets stay as they are.

use std::fs;
use std::path::PathBuf;

use super::{Result, io_error};

/// Where Debian has it; the second for other machines than PCs.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// The library, if it is installed.
pub fn library() -> Option<&'static str> {
    let mut libraries = LIBRARIES.into_iter();
    libraries.find(|library| fs::exists(library).unwrap_or(false))
}

#[derive(Debug)]
pub struct WallClock {
    /// The process reads it again every second.
    file: PathBuf,
}

impl WallClock {
    /// One that is right.
    pub fn new(file: PathBuf) -> Result<Self> {
        let clock = Self { file };
        clock.set(0)?;
        Ok(clock)
    }

    pub fn set(&self, ahead_s: i64) -> Result<()> {
        let doing = format!("setting {}", self.file.display());
        fs::write(&self.file, format!("{ahead_s:+}\n")).map_err(io_error(doing))
    }

    /// What a process is started with that goes by it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let library = library().unwrap_or_default().to_owned();
        let all = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        all.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

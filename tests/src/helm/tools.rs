//! Programs that `cargo xtask setup --tests` has installed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const HELMS: [&str; 2] = ["helm3", "helm4"];

/// The top of the checkout.
pub fn root() -> PathBuf {
    crate::manifest_dir().parent().unwrap().to_owned()
}

pub fn chart() -> PathBuf {
    root().join("helm/skein")
}

fn tools() -> PathBuf {
    let told = std::env::var_os("SKEIN_TOOLS");
    PathBuf::from(told.expect("run these tests with `cargo xtask test`"))
}

/// A program of the tools' folder.
pub fn tool(name: &str) -> Command {
    let python = tools().join("python/bin").join(name);
    let path = match python.exists() {
        true => python,
        false => tools().join(name),
    };
    Command::new(path)
}

/// The chart's files as the golden renders have them.
pub fn is_refresh() -> bool {
    std::env::var_os("SKEIN_REFRESH").is_some_and(|value| value == "1")
}

pub fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// What it printed; it must succeed.
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All files below with such an ending, in the order of their names.
pub fn files(below: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new(extension)) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

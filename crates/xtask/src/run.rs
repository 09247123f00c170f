//! Running other programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// An error is a sentence for the person at the terminal.
pub type Result<T = ()> = std::result::Result<T, String>;

/// The top of the checkout that cargo runs this program for, which need not be the one that it was built in: a target
/// directory may serve several checkouts.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
        let root = Path::new(&manifest_dir).ancestors().nth(2);
        root.unwrap_or(Path::new(".")).to_owned()
    });
    &ROOT
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(dir).map_err(|error| format!("CARGO_TARGET_DIR: {error}")),
        None => Ok(root().join("target")),
    }
}

/// Cargo, with a compiler cache before the C and C++ compilers. It goes in by PATH, which no build script watches,
/// so that commands with and without it share their builds.
pub fn cargo(args: &[&str], env: &[(&str, String)]) -> Result {
    run(cargo_command(args, env))
}

/// The same, not yet started.
pub fn cargo_command(args: &[&str], env: &[(&str, String)]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    prepare(&cargo, args, env)
}

pub fn command(program: &str, args: &[&str], env: &[(&str, String)]) -> Result {
    run(prepare(program, args, env))
}

fn prepare(program: &str, args: &[&str], env: &[(&str, String)]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .envs(env.iter().map(|(name, value)| (*name, value.as_str())))
        .env("PATH", path_with_ccache())
        .current_dir(root());
    command
}

fn run(mut command: Command) -> Result {
    let status = command.status();
    let status = status.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() {
        return Ok(());
    }
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let program = command.get_program().display();
    Err(format!("failed: {program} {} ({status})", args.join(" ")))
}

fn path_with_ccache() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let links = PathBuf::from("/usr/lib/ccache");
    if !links.is_dir() || std::env::split_paths(&path).any(|entry| entry == links) {
        return path;
    }
    let entries = std::iter::once(links).chain(std::env::split_paths(&path));
    std::env::join_paths(entries).unwrap_or(path)
}

pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

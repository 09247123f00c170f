//! All tests, or those that are named.

use std::io::{BufRead as _, BufReader};

use crate::repeat::Repeat;
use crate::run::{Result, cargo, cargo_command, target_dir};
use crate::{WHAT, arrows, rooms, setup};

/// So many tests that fail run once more: what a machine does for a moment fails one, a fault fails more, or fails again.
const SECOND_RUNS_MAX: usize = 3;

/// The tests of the crates, and then those of `tests/`, which start the daemon as it was just built.
pub fn run(rest: &[String]) -> Result {
    let repeat = Repeat::of(rest)?;
    setup::run()?;
    arrows::check()?;
    rooms::check()?;
    cargo(&[&["build", "--all-targets"], WHAT].concat(), &[])?;
    let bin = target_dir()?.join("debug");
    let path = |name: &str| bin.join(name).display().to_string();
    let env = [
        ("SKEIN_BIN", path("skein")),
        ("SKEINCTL_BIN", path("skeinctl")),
    ];
    if let Some(repeat) = repeat {
        return repeat.run(&env);
    }
    // One run names every test that fails.
    let mut args = vec!["test", "--no-fail-fast"];
    args.extend(WHAT);
    let named: Vec<&str> = rest.iter().map(String::as_str).collect();
    let Err(first) = tests(&[&args[..], &named].concat(), &env)? else {
        return Ok(());
    };
    let failed = match first {
        Failed::Tests(failed) if failed.len() <= SECOND_RUNS_MAX => failed,
        Failed::Tests(failed) => return Err(format!("{} tests failed", failed.len())),
        Failed::Otherwise => return Err("the tests failed".to_owned()),
    };
    let names = failed.join(", ");
    println!("failed, and run once more, one at a time: {names}");
    args.extend(["--", "--test-threads=1", "--exact"]);
    args.extend(failed.iter().map(String::as_str));
    match tests(&args, &env)? {
        Ok(()) => {
            println!("{} passed only in a second run: {names}", failed.len());
            Ok(())
        }
        Err(_) => Err(format!("failed twice, one or more of: {names}")),
    }
}

/// Why a run failed.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    /// These did.
    Tests(Vec<String>),
    /// The build, or a process of tests that did not come to its end.
    Otherwise,
}

/// Shows what cargo prints while it comes.
fn tests(args: &[&str], env: &[(&str, String)]) -> Result<std::result::Result<(), Failed>> {
    let mut command = cargo_command(args, env);
    let run = command.stdout(std::process::Stdio::piped()).spawn();
    let mut run = run.map_err(|error| format!("cargo: {error}"))?;
    let mut outcome = Outcome::default();
    if let Some(output) = run.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|error| format!("the output of cargo: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            outcome.read(&line);
        }
    }
    let status = run.wait().map_err(|error| format!("cargo: {error}"))?;
    Ok(match status.success() {
        true => Ok(()),
        false => Err(outcome.failed()),
    })
}

/// What the test processes have printed so far.
#[derive(Debug, Default)]
struct Outcome {
    begun: usize,
    ended: usize,
    is_list: bool,
    failed: Vec<String>,
}

impl Outcome {
    /// The form is that of libtest: the names of those that failed are a list of their own, before the last line.
    fn read(&mut self, line: &str) {
        self.begun += usize::from(line.starts_with("running ") && line.contains(" test"));
        self.ended += usize::from(line.starts_with("test result: "));
        match line.strip_prefix("    ") {
            Some(name) if self.is_list => self.failed.push(name.to_owned()),
            _ => self.is_list = line == "failures:",
        }
    }

    fn failed(self) -> Failed {
        match self.begun == self.ended && !self.failed.is_empty() {
            true => Failed::Tests(self.failed),
            false => Failed::Otherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(output: &str) -> Failed {
        let mut outcome = Outcome::default();
        output.lines().for_each(|line| outcome.read(line));
        outcome.failed()
    }

    const ONE: &str = "
running 2 tests
test a::b ... FAILED
test c ... ok

failures:

---- a::b stdout ----
thread 'a::b' panicked:
    a line that is no name

failures:
    a::b

test result: FAILED. 1 passed; 1 failed
";
    const GOOD: &str = "
running 1 test
test d ... ok

test result: ok. 1 passed; 0 failed
";

    #[test]
    fn the_tests_that_failed_are_read_of_all_processes() {
        let both = format!("{ONE}{GOOD}{}", ONE.replace("a::b", "e"));
        let names = vec!["a::b".to_owned(), "e".to_owned()];
        assert_eq!(failed(&both), Failed::Tests(names));
    }

    #[test]
    fn a_process_that_did_not_end_is_no_list_of_tests() {
        let cut = format!("{ONE}\nrunning 5 tests\ntest f ... ok\n");
        assert_eq!(failed(&cut), Failed::Otherwise);
        assert_eq!(failed("error: could not compile"), Failed::Otherwise);
    }
}

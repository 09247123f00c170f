//! All tests, or those that are named.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::repeat::Repeat;
use crate::run::{Result, cargo, cargo_command, target_dir};
use crate::{WHAT, arrows, free_disk, rooms, setup, tools};

/// So many tests that fail run once more: what a machine does for a moment fails one, a fault fails more, or fails again.
const SECOND_RUNS_MAX: usize = 3;

/// End-to-end tests wait for a host, a lease or a limit most of their time, so more of them run at once than there are
/// cores. With three to a core, what they bound came late now and then.
const WAITING_TESTS_PER_CORE: usize = 2;

/// Test targets of cargo that run by one command.
struct Stage {
    targets: &'static [&'static str],
    pace: Pace,
}

/// What tests do with the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// They compute, or must have the machine for themselves.
    Alone,
    /// They wait more than they compute.
    Waits,
    /// They compute without regard to the time that passes, and have what the stages after them leave of the processors.
    GivesWay,
}

const fn stage(pace: Pace, targets: &'static [&'static str]) -> Stage {
    Stage { targets, pace }
}

/// One after the other, but for those that give way.
const STAGES: &[Stage] = &[
    stage(
        Pace::Alone,
        &[
            "--lib",
            "--bins",
            "--examples",
            "--test=collected",
            "--test=dns",
            "--test=fuzz",
            "--test=judged",
            "--test=names",
            "--test=peers",
            "--test=resolver",
            "--test=simulation",
            "--test=sockets",
            "--test=transport",
            "--test=verified",
        ],
    ),
    stage(Pace::Alone, &["--doc"]),
    stage(Pace::Waits, &["--test=e2e", "--test=manual"]),
    stage(Pace::GivesWay, &["--test=sim", "--test=chart"]),
    stage(Pace::Alone, &["--test=faults"]),
    stage(Pace::Alone, &["--test=containers"]),
    stage(Pace::Alone, &["--test=alone"]),
];

/// The tests of the crates, and then those of `tests/`, which start the daemon as it was just built.
pub fn run(rest: &[String]) -> Result {
    let repeat = Repeat::of(rest)?;
    setup::for_tests()?;
    arrows::check()?;
    rooms::check()?;
    cargo(&[&["build", "--all-targets"], WHAT].concat(), &[])?;
    free_disk::check()?;
    let bin = target_dir()?.join("debug");
    let path = |name: &str| bin.join(name).display().to_string();
    let env = [
        ("SKEIN_BIN", path("skein")),
        ("SKEINCTL_BIN", path("skeinctl")),
        ("SKEIN_DEMO_BIN", path("skein-demo")),
        ("SKEIN_TOOLS", tools::dir()?.display().to_string()),
    ];
    if let Some(repeat) = repeat {
        return repeat.run(&env);
    }
    let first = match rest {
        [] => every_stage(&env)?,
        named => {
            let named: Vec<&str> = named.iter().map(String::as_str).collect();
            tests(cargo_command(&[TEST, WHAT, &named].concat(), &env), print)?
        }
    };
    let failed = match first {
        Ok(()) => return Ok(()),
        Err(Failed::Tests(failed)) if failed.len() <= SECOND_RUNS_MAX => failed,
        Err(Failed::Tests(failed)) => {
            let names = failed.join(", ");
            return Err(format!("{} tests failed: {names}", failed.len()));
        }
        Err(Failed::Otherwise) => return Err("the tests failed".to_owned()),
    };
    let names = failed.join(", ");
    println!("failed, and run once more, one at a time: {names}");
    let mut args = [TEST, WHAT, &["--", "--test-threads=1", "--exact"]].concat();
    args.extend(failed.iter().map(String::as_str));
    match tests(cargo_command(&args, &env), print)? {
        Ok(()) => {
            println!("{} passed only in a second run: {names}", failed.len());
            Ok(())
        }
        Err(_) => Err(format!("failed twice, one or more of: {names}")),
    }
}

/// One run names every test that fails.
const TEST: &[&str] = &["test", "--no-fail-fast"];

/// Every stage, whatever failed before. What a stage prints that gives way is shown when it is done, at the end.
fn every_stage(env: &[(&str, String)]) -> Result<Ran> {
    thread::scope(|scope| {
        let (mut ran, mut beside) = (Ok(()), Vec::new());
        for stage in STAGES {
            match stage.pace {
                Pace::GivesWay => beside.push(scope.spawn(|| {
                    let mut lines = Vec::new();
                    let ran = stage.run(env, |line| lines.push(line.to_owned()));
                    (ran, lines)
                })),
                Pace::Alone | Pace::Waits => {
                    ran = both(ran, stage.run(env, print)?);
                }
            }
        }
        for stage in beside {
            let (also, lines) = stage.join().map_err(|_| "a stage panicked".to_owned())?;
            lines.iter().for_each(|line| print(line));
            ran = both(ran, also?);
        }
        Ok(ran)
    })
}

fn print(line: &str) {
    println!("{line}");
}

fn both(one: Ran, other: Ran) -> Ran {
    match (one, other) {
        (Ok(()), other) => other,
        (one, Ok(())) => one,
        (Err(Failed::Tests(mut one)), Err(Failed::Tests(other))) => {
            one.extend(other);
            Err(Failed::Tests(one))
        }
        _ => Err(Failed::Otherwise),
    }
}

impl Stage {
    fn run(&self, env: &[(&str, String)], mut show: impl FnMut(&str)) -> Result<Ran> {
        let began = Instant::now();
        let ran = tests(self.command(env), &mut show)?;
        let (name, seconds) = (self.targets.join(" "), began.elapsed().as_secs());
        show(&format!("{name}: {seconds} s"));
        Ok(ran)
    }

    fn command(&self, env: &[(&str, String)]) -> Command {
        let mut args = [TEST, WHAT, self.targets].concat();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = format!("--test-threads={}", cores * WAITING_TESTS_PER_CORE);
        match self.pace {
            Pace::Alone => cargo_command(&args, env),
            Pace::Waits => {
                args.extend(["--", &threads]);
                cargo_command(&args, env)
            }
            Pace::GivesWay => giving_way(cargo_command(&args, env)),
        }
    }
}

/// The command at the scheduling class that runs when no other process wants the processor (sched(7), SCHED_IDLE), and
/// with a niceness by which the kernel counts its time apart.
fn giving_way(command: Command) -> Command {
    let mut idle = Command::new("nice");
    idle.args(["-n", "19", "chrt", "--idle", "0"]);
    idle.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        idle.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => idle.env(name, value),
            None => idle.env_remove(name),
        };
    }
    idle
}

/// What the tests of a run came to.
type Ran = std::result::Result<(), Failed>;

/// Why a run failed.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    /// These did.
    Tests(Vec<String>),
    /// The build, or a process of tests that did not come to its end.
    Otherwise,
}

/// Shows what cargo prints while it comes.
fn tests(mut command: Command, mut show: impl FnMut(&str)) -> Result<Ran> {
    let run = command.stdout(Stdio::piped()).spawn();
    let mut run = run.map_err(|error| format!("cargo: {error}"))?;
    let mut outcome = Outcome::default();
    if let Some(output) = run.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.map_err(|error| format!("the output of cargo: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            show(&line);
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
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::run::root;

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
    fn every_test_target_is_in_one_stage() {
        let targets = STAGES.iter().flat_map(|stage| stage.targets.iter());
        let mut named: Vec<&str> = targets
            .filter_map(|target| target.strip_prefix("--test="))
            .collect();
        let crates = fs::read_dir(root().join("crates")).expect("crates");
        let folders = crates.map(|entry| entry.expect("a crate").path().join("tests"));
        let of_crates = folders.flat_map(|folder| {
            let files = fs::read_dir(folder).into_iter().flatten();
            let is_target = |path: &PathBuf| {
                path.extension().is_some_and(|ext| ext == "rs") || path.join("main.rs").exists()
            };
            files
                .map(|entry| entry.expect("a file").path())
                .filter(is_target)
                .collect::<Vec<_>>()
        });
        let of_crates = of_crates.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
        let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).expect("a manifest");
        let of_processes = manifest.split("[[test]]\nname = \"").skip(1);
        let of_processes = of_processes.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
        let mut targets: Vec<String> = of_crates.chain(of_processes).collect();
        targets.sort_unstable();
        targets.dedup();
        named.sort_unstable();
        assert_eq!(named, targets);
    }

    #[test]
    fn a_process_that_did_not_end_is_no_list_of_tests() {
        let cut = format!("{ONE}\nrunning 5 tests\ntest f ... ok\n");
        assert_eq!(failed(&cut), Failed::Otherwise);
        assert_eq!(failed("error: could not compile"), Failed::Otherwise);
    }
}

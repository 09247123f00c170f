//! A test again and again, alone or beside busy loops: whether it holds on a slow machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::WHAT;
use crate::run::{Result, root, target_dir};

/// As many as the cores of the smallest machine on which the tests are to hold.
const BUSY_LOOPS: usize = 2;

/// `--repeat N NAME [--busy] [--test TARGET]`
#[derive(Debug, PartialEq, Eq)]
pub struct Repeat {
    times: usize,
    name: String,
    is_busy: bool,
    target: String,
}

impl Repeat {
    /// None: a test is not to be repeated.
    pub fn of(args: &[String]) -> Result<Option<Self>> {
        const USAGE: &str = "use: cargo xtask test --repeat N NAME [--busy] [--test TARGET]";
        if !args.iter().any(|arg| arg == "--repeat") {
            return Ok(None);
        }
        let mut repeat = Self {
            times: 0,
            name: String::new(),
            is_busy: false,
            target: "e2e".to_owned(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || {
                args.next()
                    .ok_or_else(|| format!("{arg} needs a value; {USAGE}"))
            };
            match arg.as_str() {
                "--repeat" => {
                    let times = value()?;
                    let parsed = times.parse().ok().filter(|times| *times > 0);
                    repeat.times = parsed
                        .ok_or_else(|| format!("--repeat {times}: a number above 0; {USAGE}"))?;
                }
                "--test" => repeat.target = value()?.clone(),
                "--busy" => repeat.is_busy = true,
                name if repeat.name.is_empty() && !name.starts_with('-') => {
                    name.clone_into(&mut repeat.name)
                }
                other => return Err(format!("{other:?} is not understood; {USAGE}")),
            }
        }
        match repeat.name.is_empty() {
            true => Err(format!("which test? {USAGE}")),
            false => Ok(Some(repeat)),
        }
    }

    /// Runs a test that is built, with this environment. Each run is told of, and what failed ones print is kept.
    pub fn run(&self, env: &[(&str, String)]) -> Result {
        let folder = target_dir()?.join("repeat");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let _loops = match self.is_busy {
            true => BusyLoops::start(BUSY_LOOPS)?,
            false => BusyLoops(Vec::new()),
        };
        let mut failed = Vec::new();
        for nth in 1..=self.times {
            let began = Instant::now();
            let log = folder.join(format!("{}-{nth}.log", self.name.replace("::", "-")));
            let passes = self.once(env, &log)?;
            let took = began.elapsed().as_secs_f32();
            let (word, more) = match passes {
                true => ("ok", String::new()),
                false => ("FAILED", format!(": {}", log.display())),
            };
            println!(
                "run {nth} of {}: {word} after {took:.1} s{more}",
                self.times
            );
            if passes {
                // What is left in the folder is what failed.
                let _ = fs::remove_file(&log);
            } else {
                failed.push(nth);
            }
        }
        let beside = match self.is_busy {
            true => format!(" beside {BUSY_LOOPS} busy loops"),
            false => String::new(),
        };
        println!(
            "{} of {} passed{beside}",
            self.times - failed.len(),
            self.times
        );
        match failed.is_empty() {
            true => Ok(()),
            false => Err(format!("runs that failed: {failed:?}")),
        }
    }

    fn once(&self, env: &[(&str, String)], log: &PathBuf) -> Result<bool> {
        let file = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let status = Command::new(cargo)
            .arg("test")
            .args(WHAT)
            .args(["--test", &self.target, &self.name, "--", "--nocapture"])
            .envs(env.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(root())
            .stdout(file)
            .stderr(errors)
            .status()
            .map_err(|error| format!("cargo test: {error}"))?;
        if status.success() {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.contains("running 0 tests") {
                return Err(format!("no test of {} is named {}", self.target, self.name));
            }
        }
        Ok(status.success())
    }
}

/// Processes that use a core each until they are dropped.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start(count: usize) -> Result<Self> {
        let mut loops = Self(Vec::new());
        for _ in 0..count {
            let child = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .map_err(|error| format!("sh: {error}"))?;
            loops.0.push(child);
        }
        Ok(loops)
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended by itself is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_or_explained() {
        let read = |line: &str| {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Repeat::of(&args)
        };
        let repeat = |times, name: &str, is_busy, target: &str| Repeat {
            times,
            name: name.to_owned(),
            is_busy,
            target: target.to_owned(),
        };
        assert_eq!(read("--test e2e drain"), Ok(None));
        assert_eq!(
            read("--repeat 20 lease::x"),
            Ok(Some(repeat(20, "lease::x", false, "e2e")))
        );
        assert_eq!(
            read("x --busy --test sim --repeat 2"),
            Ok(Some(repeat(2, "x", true, "sim")))
        );
        for (line, word) in [
            ("--repeat", "needs a value"),
            ("--repeat x y", "a number"),
            ("--repeat 0 y", "a number"),
            ("--repeat 3", "which test"),
            ("--repeat 3 a b", "\"b\""),
            ("--repeat 3 a --frob", "\"--frob\""),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(word) && error.contains("use:"), "{error}");
        }
    }
}

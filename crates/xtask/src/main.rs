//! Setup, demo, test and CI commands of the project. It depends on nothing, so it starts before RocksDB can build.

mod arrows;
mod bench;
mod free_disk;
mod repeat;
mod rooms;
mod run;
mod setup;
mod test;
mod tools;

use std::process::ExitCode;

use run::{Result, cargo, target_dir};

const USAGE: &str = "cargo xtask COMMAND

  setup    install what the build needs (Debian), or name it (elsewhere); `setup --tests`: what the tests need as well
  demo     build a release, start a node with sinks around it, and watch mail flow; `demo --cluster`: three and three nodes, two are killed
  test     build everything and run every test, and a test that fails a second time, which is told; `test --repeat N NAME [--busy]`: one end-to-end test N times, beside two busy loops if wanted
  ci       what must pass before a change lands: format, lints, docs, arrows, tests
  bench    measure a release build; without a name it lists what it can measure
  arrows   check that crates depend only on lower ones, and that modules form no circles
";

/// One set of packages and features for every check, so that nothing is built twice.
const WHAT: &[&str] = &[
    "--locked",
    "--workspace",
    "--features",
    "skein-node/failpoints",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("setup") => setup::run(rest),
        Some("demo") => demo(rest),
        Some("test") => test::run(rest),
        Some("bench") => bench::run(rest),
        Some("ci") => ci(),
        Some("arrows") => arrows::check().and_then(|()| rooms::check()),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn demo(rest: &[String]) -> Result {
    setup::for_build()?;
    let packages = ["-p", "skein-node", "-p", "skein-ctl", "-p", "skein-testkit"];
    cargo(
        &[&["build", "--release", "--locked"], &packages[..]].concat(),
        &[],
    )?;
    let bin = target_dir()?.join("release");
    let path = |name: &str| bin.join(name).display().to_string();
    let (skein, skeinctl) = (path("skein"), path("skeinctl"));
    let mut args = vec!["--skein", skein.as_str(), "--skeinctl", skeinctl.as_str()];
    args.extend(rest.iter().map(String::as_str));
    run::command(&path("skein-demo"), &args, &[])
}

fn ci() -> Result {
    setup::for_tests()?;
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(
        &[
            &["clippy", "--all-targets"],
            WHAT,
            &["--", "-D", "warnings"],
        ]
        .concat(),
        &[],
    )?;
    cargo(
        &[&["doc", "--no-deps"], WHAT].concat(),
        &[("RUSTDOCFLAGS", "-D warnings".to_owned())],
    )?;
    if run::exists("cargo-deny") {
        cargo(&["deny", "check"], &[])?;
    }
    test::run(&[])
}

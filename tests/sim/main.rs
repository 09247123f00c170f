//! The product's state machines and protocols in a simulated world, where everything goes wrong and all of it repeats.
//!
//! `SKEIN_SIM_SEEDS=1000` runs that many seeds, `SKEIN_SIM_SEED=7` one with a full trace, and `SKEIN_SIM_MUTATION=NAME`
//! puts a fault into the product.
#![expect(clippy::unwrap_used, reason = "tests")]

mod apply;
mod client;
mod control;
mod coverage;
mod disk;
mod judge;
mod message;
mod mutation;
mod nemesis;
mod raft;
mod rng;
mod rows;
mod sender;
mod sim;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use coverage::Coverage;
use mutation::Mutation;
use world::{Ended, run};

/// Seeds of a usual run.
const SEEDS: u64 = 200;
/// A mutation that no seed below this shows is not found.
const SEEDS_FOR_A_MUTATION: u64 = 400;
/// Each test uses all processors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let value = variable(name)?;
    Some(value.parse().expect("the variable holds a number"))
}

fn the_mutation() -> Option<Mutation> {
    let name = variable("SKEIN_SIM_MUTATION")?;
    Some(Mutation::named(&name).expect("SKEIN_SIM_MUTATION names a mutation"))
}

/// The one line that shows a failure again.
fn repeat(seed: u64, mutation: Option<Mutation>) -> String {
    let mutation = mutation.map(|m| format!("SKEIN_SIM_MUTATION={m:?} "));
    let mutation = mutation.unwrap_or_default();
    format!(
        "{mutation}SKEIN_SIM_SEED={seed} cargo test -p skein-tests --test sim seeds -- --nocapture"
    )
}

/// Runs seeds on all processors until one fails; returns the lowest that did.
fn run_all(seeds: u64, mutation: Option<Mutation>) -> (Coverage, Option<(u64, Ended)>) {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Coverage::default());
    let failed: Mutex<Option<(u64, Ended)>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let ended = run(seed, mutation, false);
                    sum.lock().unwrap().add(&ended.coverage);
                    if ended.violation.is_some() {
                        let mut failed = failed.lock().unwrap();
                        if failed.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *failed = Some((seed, ended));
                        }
                    }
                }
            });
        }
    });
    (sum.into_inner().unwrap(), failed.into_inner().unwrap())
}

/// A seed that shows the mutation, and how it ended.
fn caught(mutation: Mutation) -> Option<(u64, Ended)> {
    let known = mutation
        .known_seed()
        .map(|seed| (seed, run(seed, Some(mutation), false)));
    let known = known.filter(|(_, ended)| ended.violation.is_some());
    known.or_else(|| run_all(SEEDS_FOR_A_MUTATION, Some(mutation)).1)
}

fn fail(seed: u64, mutation: Option<Mutation>, ended: &Ended) -> ! {
    let violation = ended.violation.as_ref().expect("it failed");
    for line in &ended.last {
        println!("{line}");
    }
    println!("{}: {}", violation.invariant, violation.text);
    println!("{}", repeat(seed, mutation));
    panic!("{} is broken with seed {seed}", violation.invariant);
}

#[test]
fn seeds() {
    let _alone = ONE_AT_A_TIME.lock();
    let mutation = the_mutation();
    if let Some(seed) = number("SKEIN_SIM_SEED") {
        let ended = run(seed, mutation, true);
        if ended.violation.is_some() {
            fail(seed, mutation, &ended);
        }
        return;
    }
    let seeds = number("SKEIN_SIM_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let (coverage, failed) = run_all(seeds, mutation);
    if let Some((seed, ended)) = failed {
        fail(seed, mutation, &ended);
    }
    println!("{seeds} seeds in {:.1?}", began.elapsed());
    for (says, times) in coverage.lines() {
        println!("{times:>9} {says}");
    }
    if seeds >= SEEDS {
        let missing = coverage.missing();
        assert!(missing.is_empty(), "this never happened: {missing:?}");
    }
}

#[test]
fn a_seed_repeats_itself() {
    for seed in [2, 3] {
        assert_eq!(run(seed, None, false).hash, run(seed, None, false).hash);
    }
}

#[test]
fn every_mutation_is_caught() {
    let _alone = ONE_AT_A_TIME.lock();
    let only = the_mutation();
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        if only.is_some_and(|only| only != mutation) {
            continue;
        }
        match caught(mutation) {
            Some((seed, ended)) => {
                let violation = ended.violation.expect("it failed");
                let name = format!("{mutation:?}");
                println!(
                    "{name:<32} {:<10} seed {seed:<4} {}",
                    violation.invariant, violation.text
                );
            }
            None => {
                println!("{mutation:?} is not caught");
                missed.push(mutation);
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

//! What a sender's set of suppressed keys costs: ten million of them, or as many as the argument says.
//!
//! Run: `cargo run --release -p skein-model --example filter_cost`.
#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::hint::black_box;
use std::time::Instant;

use skein_model::suppression::{Filter, Key, Scope, Subject, lookup_keys};

const KEYS: u64 = 10_000_000;
const MEASURED: u64 = 1_000_000;

fn key(n: u64) -> Key {
    Key {
        scope: Scope::Tenant("acme".to_owned()),
        subject: Subject::Address(format!("someone.{n}@example{}.com", n % 1000)),
    }
}

/// Spread as hashes of keys are, without the time that these take (SplitMix64).
fn hash(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn main() {
    let asked = std::env::args().nth(1);
    let keys: u64 = asked.and_then(|asked| asked.parse().ok()).unwrap_or(KEYS);
    let keys = keys.max(1);
    let began = Instant::now();
    let before = resident_bytes();
    let mut filter: Filter = (0..keys).map(hash).collect();
    let built = began.elapsed();
    println!("{keys} keys, built in {:.2} s", built.as_secs_f64());
    println!("MB, counted      {:>8.1}", filter.bytes() as f64 / 1e6);
    if let Some((before, after)) = before.zip(resident_bytes()) {
        let bytes = after.saturating_sub(before);
        println!("MB, of memory    {:>8.1}", bytes as f64 / 1e6);
    }
    print_cost("is there", |n| {
        black_box(filter.contains(hash(n * 7 % keys)));
    });
    print_cost("is not there", |n| {
        black_box(filter.contains(hash(keys + n)));
    });
    print_cost("insert", |n| {
        filter.insert(hash(keys + n));
    });
    print_cost("remove", |n| {
        filter.remove(hash(keys + n));
    });
    print_cost("hash of a key", |n| {
        black_box(key(n % 64).hash());
    });
    let recipient = key(7).subject;
    print_cost("recipient", |_| {
        let keys = lookup_keys("acme", Some("newsletter"), &recipient);
        black_box(keys.iter().any(|key| filter.contains(key.hash())));
    });
}

fn print_cost(name: &str, mut each: impl FnMut(u64)) {
    let began = Instant::now();
    for n in 0..MEASURED {
        each(n);
    }
    let ns = began.elapsed().as_secs_f64() * 1e9 / MEASURED as f64;
    println!("ns, {name:<13}{ns:>8.0}");
}

/// Of this process; none where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

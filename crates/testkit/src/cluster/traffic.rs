//! What clients hand in: drawn from the seed of the run.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::pace::is_paced;
use super::world::{SENDER_DOMAIN, SITES, domain};
use crate::load::{Injected, InjectorConfig};

/// Clients that talk at the same time. More than a node that stands still can hold up.
const CONNECTIONS: usize = 24;
const RECIPIENTS_MAX: usize = 5;
/// How often a recipient is at the hot site, the first.
const HOT: f64 = 0.25;
/// In a run that is longer than a wave, sites with limits get mail in the first half of each. They get more than they take
/// then, and what waits is gone before the next: else it would grow for as long as the run lasts.
const WAVE: Duration = Duration::from_secs(60);
/// From 1 KiB to 256 KiB, small ones more often.
const DOUBLINGS_MAX: u32 = 8;
/// A reply that does not come for this long never comes: the server says so itself after 20 s.
const REPLY_WAIT: Duration = Duration::from_secs(25);

pub fn config(targets: Vec<SocketAddr>, per_second: f64) -> InjectorConfig {
    InjectorConfig {
        connections: CONNECTIONS,
        rate: Some(per_second),
        tries: 40,
        reply_wait: REPLY_WAIT,
        ..InjectorConfig::to_all(targets)
    }
}

/// The messages of so many seconds, by connection.
pub fn plan(rng: &mut StdRng, per_second: f64, lasts: Duration) -> Vec<Vec<Injected>> {
    let mut lanes = vec![Vec::new(); CONNECTIONS];
    let count = (per_second * lasts.as_secs_f64()) as usize;
    for number in 0..count {
        let at = number as f64 / per_second;
        let is_ebb = lasts > WAVE && at % WAVE.as_secs_f64() >= WAVE.as_secs_f64() / 2.0;
        lanes[number % CONNECTIONS].push(message(rng, number, is_ebb));
    }
    lanes
}

fn message(rng: &mut StdRng, number: usize, is_ebb: bool) -> Injected {
    let mut sites = Vec::new();
    for _ in 0..rng.random_range(1..=RECIPIENTS_MAX) {
        let site = match rng.random_bool(HOT) {
            true => 0,
            false => rng.random_range(0..SITES),
        };
        let site = match is_ebb && is_paced(site) {
            true => 0,
            false => site,
        };
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    let recipients = sites
        .iter()
        .map(|site| format!("r{number}@{}", domain(*site)));
    // The smaller of two draws, so that large ones are rare.
    let mut doublings = || rng.random_range(0..=DOUBLINGS_MAX);
    let bytes = 1024 << doublings().min(doublings()).min(doublings());
    let sender = format!("sender@{SENDER_DOMAIN}");
    Injected::generated(&format!("m{number}"), &sender, recipients.collect(), bytes)
}

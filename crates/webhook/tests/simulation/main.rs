//! An endpoint through outages, throttles, crashes, settings that change and a log that grows and forgets: each event arrives, or
//! it is told which did not.
#![expect(clippy::unwrap_used, reason = "tests")]

mod log;
mod receiver;
mod sender;

use proptest::prelude::*;
use skein_model::{DurationMs, UnixMs};
use skein_webhook::endpoint::AfterDeadLetter;
use skein_webhook::progress::AlertKind;

use crate::receiver::Mood;
use crate::sender::World;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Steps between a second and some hours.
fn spans() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => SECOND..10 * SECOND,
        3 => MINUTE..10 * MINUTE,
        1 => HOUR..10 * HOUR,
    ]
}

#[derive(Debug, Clone)]
enum Step {
    /// So many events, after which so much time passes.
    Events(u8, u64),
    Mood(Mood),
    /// The process ends; another goes on with what is kept.
    Crash,
    /// Settings change: events of a batch, and their octets.
    Limits(usize, usize),
    /// What arrived within the last hours is sent again.
    Replay(u64),
    /// The log keeps so many events of a group.
    Forget(u64),
}

fn step(forgets: bool) -> impl Strategy<Value = Step> {
    let forget = if forgets { 1 } else { 0 };
    prop_oneof![
        20 => (0..12u8, spans()).prop_map(|(events, span)| Step::Events(events, span)),
        3 => prop::sample::select(Mood::ALL.to_vec()).prop_map(Step::Mood),
        2 => Just(Step::Crash),
        1 => (1..30usize, 4096..20_000usize).prop_map(|(events, bytes)| Step::Limits(events, bytes)),
        1 => (1..100u64).prop_map(Step::Replay),
        forget => (0..40u64).prop_map(Step::Forget),
    ]
}

fn run(seed: u64, steps: Vec<Step>, after: AfterDeadLetter) -> World {
    let mut world = World::new(seed, after);
    for step in steps {
        match step {
            Step::Events(count, span) => {
                world.log.append(count, world.now);
                world.act();
                world.now = world.now + DurationMs(span);
            }
            Step::Mood(mood) => world.receiver.mood = mood,
            Step::Crash => world.crash(),
            Step::Limits(events, bytes) => {
                world.endpoint.limits.events = events;
                world.endpoint.limits.bytes = bytes;
            }
            Step::Replay(hours) => world.replay(world.now - DurationMs(hours * HOUR)),
            Step::Forget(kept) => world.forget(kept),
        }
        world.check_bounds();
    }
    world.receiver.mood = Mood::Up;
    world.drain();
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn each_event_arrives_at_least_once_and_in_order(
        seed: u64, steps in prop::collection::vec(step(false), 0..250), pauses: bool,
    ) {
        let after = if pauses { AfterDeadLetter::Pause } else { AfterDeadLetter::Continue };
        let world = run(seed, steps, after);
        let wanted = world.log.wanted(&world.endpoint);
        prop_assert_eq!(&world.receiver.ids(), &wanted);
        prop_assert!(world.progress.iter().all(|progress| progress.records().counters.lost == 0));
        if world.dead == 0 {
            prop_assert!(world.receiver.is_in_order());
        }
    }

    #[test]
    fn what_a_log_forgets_is_counted(seed: u64, steps in prop::collection::vec(step(true), 0..250)) {
        let world = run(seed, steps, AfterDeadLetter::Continue);
        let arrived = world.receiver.ids();
        for (nth, progress) in world.progress.iter().enumerate() {
            let missing = world.log.wanted_of(nth, &world.endpoint);
            let missing: Vec<_> = missing.difference(&arrived).collect();
            prop_assert!(missing.len() as u64 <= progress.records().counters.lost + world.unreplayed);
            let is_told = progress.records().alerts.iter().any(|alert| alert.kind == AlertKind::EventsLost);
            prop_assert!(missing.is_empty() || is_told || world.unreplayed > 0);
        }
    }
}

/// Three days of failures kill the batch that is tried, and only that one.
#[test]
fn an_outage_of_four_days_costs_one_batch_that_a_replay_brings_back() {
    let mut world = World::new(7, AfterDeadLetter::Pause);
    world.receiver.mood = Mood::Down;
    while world.now < UnixMs(World::START.0 + 96 * HOUR) {
        world.log.append(2, world.now);
        world.act();
        world.now = world.now + DurationMs(10 * MINUTE);
    }
    let dead: usize = world
        .progress
        .iter()
        .map(|progress| progress.records().dead_letters.len())
        .sum();
    assert_eq!(dead, world.progress.len());
    assert!(world.receiver.ids().is_empty());
    world.receiver.mood = Mood::Up;
    world.drain();
    assert_eq!(world.receiver.ids(), world.log.wanted(&world.endpoint));
    assert_eq!(world.dead, dead as u64);
}

//! Three control nodes and three senders under load, and everything that may befall them. Each run prints a table.
//!
//! `SKEIN_FAULTS_SEED=n` repeats a run; `SKEIN_FAULTS_SECONDS=3600` is the length of the soak, whose faults are drawn;
//! with `SKEIN_FAULTS_FROM=/path/to/an/older/skein` nodes begin with that build and come back from a restart or a kill with
//! this one.

use std::io::Write;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use skein_testkit::cluster::{Binaries, Cut, Fault, Host, Scenario, Step, Who, run, soak};

/// Of each scenario's load.
const MINUTE: Duration = Duration::from_secs(60);
/// Messages a second, to three recipients each: what two cores carry with all nodes on them.
const PER_SECOND: f64 = 60.0;

const SCENARIO: Scenario = Scenario {
    name: "",
    lasts: MINUTE,
    per_second: PER_SECOND,
    steps: |_, _| Vec::new(),
    requires: &[],
    may_duplicate: true,
    disk_bytes: None,
};

fn play(scenario: &Scenario) {
    let _alone = crate::MACHINE.blocking_write();
    let binaries = Binaries {
        skein: std::env::var_os("SKEIN_BIN")
            .expect("run these tests with `cargo xtask test`")
            .into(),
        skeinctl: std::env::var_os("SKEINCTL_BIN")
            .expect("run these tests with `cargo xtask test`")
            .into(),
        before: std::env::var_os("SKEIN_FAULTS_FROM").map(Into::into),
    };
    let report = run(scenario, seed(), &binaries);
    // Not by eprint!, which a test that passes does not show.
    std::io::stderr()
        .write_all(report.to_string().as_bytes())
        .unwrap();
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
}

fn seed() -> u64 {
    let given = std::env::var("SKEIN_FAULTS_SEED");
    given.map_or_else(
        |_| rand::random_range(0..1_000_000),
        |seed| seed.parse().unwrap(),
    )
}

/// About then: up to two seconds later.
fn near(rng: &mut StdRng, at_s: f64) -> f64 {
    at_s + rng.random_range(0.0..2.0)
}

#[test]
fn nothing_is_sent_twice_without_faults_in_a_drain_and_in_a_rolling_restart() {
    play(&Scenario {
        name: "fault-free, a drain, a rolling restart",
        steps: |rng, _| {
            let sender = Host::Sender(rng.random_range(1..=3));
            let drain = Step::new(15.0, 4.0, Fault::Drain, Who::The(sender));
            let restart = |(place, host)| {
                Step::new(
                    24.0 + 5.0 * f64::from(place),
                    0.0,
                    Fault::Restart,
                    Who::The(host),
                )
            };
            let restarts = (0_u8..).zip(Host::nodes()).map(restart);
            [drain].into_iter().chain(restarts).collect()
        },
        requires: &[
            "drain of a sender",
            "restart of a leader",
            "restart of a sender",
        ],
        may_duplicate: false,
        ..SCENARIO
    });
}

#[test]
fn kill_9_of_every_role() {
    play(&Scenario {
        name: "kill -9",
        steps: |rng, _| {
            vec![
                // Longer than its lease, so that others must take over.
                Step::new(near(rng, 4.0), 14.0, Fault::Kill, Who::Sender),
                Step::new(near(rng, 26.0), 5.0, Fault::Kill, Who::Leader),
                Step::new(near(rng, 38.0), 2.0, Fault::Kill, Who::Follower),
                Step::new(near(rng, 47.0), 5.0, Fault::Kill, Who::SpoolLeader),
                // Shorter: it comes back with a new session.
                Step::new(near(rng, 58.0), 1.0, Fault::Kill, Who::Sender),
            ]
        },
        requires: &["kill -9 of a sender", "kill -9 of a leader"],
        ..SCENARIO
    });
}

#[test]
fn links_that_carry_nothing() {
    play(&Scenario {
        name: "partitions",
        steps: |rng, _| {
            let cut = |at, lasts, cut, who| Step::new(at, lasts, Fault::Cut(cut), who);
            vec![
                cut(near(rng, 4.0), 6.0, Cut::Full, Who::Leader),
                cut(near(rng, 14.0), 5.0, Cut::Mute, Who::Leader),
                cut(near(rng, 23.0), 5.0, Cut::Deaf, Who::Follower),
                cut(near(rng, 31.0), 14.0, Cut::Meta, Who::Sender),
                cut(near(rng, 33.0), 14.0, Cut::Spool, Who::Sender),
                cut(near(rng, 48.0), 13.0, Cut::Full, Who::Sender),
            ]
        },
        requires: &[
            "cut off of a leader",
            "cut one way, not heard of a leader",
            "cut from the meta leader of a sender",
            "cut from a spool leader of a sender",
            "cut off of a sender",
        ],
        ..SCENARIO
    });
}

#[test]
fn nodes_that_stand_still_and_clocks_that_do_not_keep_time() {
    const DAY_S: i64 = 86_400;
    play(&Scenario {
        name: "SIGSTOP for 15 s, clocks that are set",
        steps: |rng, _| {
            let clock = |at, days, who| Step::new(at, 8.0, Fault::Clock(days * DAY_S), who);
            vec![
                Step::new(near(rng, 5.0), 15.0, Fault::Pause, Who::Leader),
                // Longer than any mail is tried.
                clock(near(rng, 22.0), 6, Who::Leader),
                clock(near(rng, 23.0), 6, Who::SpoolLeader),
                Step::new(near(rng, 24.0), 15.0, Fault::Pause, Who::Sender),
                clock(near(rng, 34.0), -1, Who::Leader),
                Step::new(near(rng, 42.0), 15.0, Fault::Pause, Who::SpoolLeader),
                clock(near(rng, 50.0), 6, Who::Sender),
            ]
        },
        requires: &[
            "SIGSTOP of a leader",
            "SIGSTOP of a sender",
            "clock set forward of a leader",
            "clock set back of a leader",
            "clock set forward of a sender",
        ],
        ..SCENARIO
    });
}

#[test]
fn nodes_that_lose_their_disk_or_their_place() {
    play(&Scenario {
        name: "a wiped node rejoins, a node is removed and comes again",
        steps: |rng, _| {
            vec![
                Step::new(near(rng, 4.0), 4.0, Fault::Wipe, Who::Follower),
                Step::new(near(rng, 20.0), 8.0, Fault::Remove, Who::SpoolLeader),
                // The others, the new ones among them, go on without it.
                Step::new(near(rng, 45.0), 5.0, Fault::Kill, Who::Leader),
            ]
        },
        requires: &["wipe of a", "removal of a", "kill -9 of a leader"],
        ..SCENARIO
    });
}

#[test]
fn disks_that_are_full() {
    play(&Scenario {
        name: "full disks",
        steps: |rng, _| {
            let full = |at, lasts, who| Step::new(at, lasts, Fault::FillDisk, who);
            let majority = near(rng, 28.0);
            vec![
                full(near(rng, 6.0), 12.0, Who::Follower),
                full(majority, 14.0, Who::Leader),
                full(majority + 1.0, 14.0, Who::Follower),
            ]
        },
        requires: &["full disk of a leader", "full disk of a"],
        disk_bytes: Some(256 << 20),
        ..SCENARIO
    });
}

#[test]
#[ignore = "longer than all other tests may take: SKEIN_FAULTS_SECONDS, 600 without it"]
fn soaked() {
    let given = std::env::var("SKEIN_FAULTS_SECONDS");
    let seconds = given.map_or(600, |seconds| seconds.parse().unwrap());
    play(&Scenario {
        name: "soak",
        lasts: Duration::from_secs(seconds),
        steps: soak,
        ..SCENARIO
    });
}

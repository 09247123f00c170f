//! What goes wrong in a run, and when: all of it from the seed.

use skein_model::GroupId;

use crate::rng::Rng;
use crate::sim::{Pid, Weather};

#[derive(Debug, Clone, Copy)]
pub enum Act {
    Crash(Pid),
    Start(Pid),
    Isolate(Pid, bool),
    Cut(Pid, Pid),
    Heal(Pid, Pid),
    Pause(Pid, u64),
    Storm(Weather),
    SlowDisk(bool),
    SetClock(Pid, i64),
    /// SIGTERM.
    Drain(Pid),
    OperatorDrain(Pid, bool),
    MoveSlot,
    /// Leaders of this node go elsewhere.
    HandOver(Pid),
    Elect(GroupId, Pid),
    Add,
    Remove,
    Wipe,
}

/// What a run is like, by its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Nothing happens: no duplicate is excused.
    Calm,
    /// Drains, moves of slots and leaders, restarts: no duplicate is excused either.
    Clean,
    Chaos,
}

impl Profile {
    pub fn of(seed: u64) -> Self {
        match seed % 10 {
            0 => Self::Calm,
            1 => Self::Clean,
            _ => Self::Chaos,
        }
    }
}

/// Acts of a run and when they happen, ending before `until`.
pub fn plan(
    rng: &mut Rng,
    profile: Profile,
    controls: &[Pid],
    senders: &[Pid],
    until: u64,
) -> Vec<(u64, Act)> {
    let mut acts = Vec::new();
    let mut at = 6_000;
    let rest = match profile {
        Profile::Calm => return acts,
        Profile::Clean => (6_000, 9_000),
        Profile::Chaos => (500, 5_000),
    };
    let changes_members = rng.in_thousand(400);
    while at < until {
        let last = at.max(until.saturating_sub(1));
        let end = (at + rng.range(1_000, 20_000)).min(last);
        let all: Vec<Pid> = controls.iter().chain(senders).copied().collect();
        let pick = |rng: &mut Rng, of: &[Pid]| rng.pick(of).expect("there are some");
        let (control, sender) = (pick(rng, controls), pick(rng, senders));
        let any = pick(rng, &all);
        if profile == Profile::Clean {
            clean(&mut acts, rng, at, control, sender);
        } else if changes_members && rng.in_thousand(200) {
            let act = match rng.below(3) {
                0 => Act::Add,
                1 => Act::Remove,
                _ => Act::Wipe,
            };
            acts.push((at, act));
        } else {
            let other = pick(rng, &all);
            chaos(&mut acts, rng, (at, end), (control, sender), (any, other));
        }
        at += rng.range(rest.0, rest.1);
    }
    acts
}

fn clean(acts: &mut Vec<(u64, Act)>, rng: &mut Rng, at: u64, control: Pid, sender: Pid) {
    match rng.below(4) {
        0 => acts.push((at, Act::Drain(sender))),
        1 => {
            acts.push((at, Act::OperatorDrain(sender, true)));
            acts.push((at + 5_000, Act::OperatorDrain(sender, false)));
        }
        2 => acts.extend([(at, Act::MoveSlot), (at, Act::MoveSlot)]),
        _ => acts.push((at, Act::HandOver(control))),
    }
}

fn chaos(
    acts: &mut Vec<(u64, Act)>,
    rng: &mut Rng,
    (at, end): (u64, u64),
    (control, sender): (Pid, Pid),
    (any, other): (Pid, Pid),
) {
    match rng.below(16) {
        0 | 1 => acts.extend([(at, Act::Crash(control)), (end, Act::Start(control))]),
        2 | 3 => acts.extend([(at, Act::Crash(sender)), (end, Act::Start(sender))]),
        4 => acts.extend([
            (at, Act::Isolate(control, true)),
            (end, Act::Isolate(control, false)),
        ]),
        5 => acts.extend([
            (at, Act::Isolate(sender, true)),
            (end, Act::Isolate(sender, false)),
        ]),
        6 if any != other => {
            acts.extend([(at, Act::Cut(any, other)), (end, Act::Heal(any, other))])
        }
        7 if any != other => acts.extend([
            (at, Act::Cut(any, other)),
            (at, Act::Cut(other, any)),
            (end, Act::Heal(any, other)),
            (end, Act::Heal(other, any)),
        ]),
        // From a sender to a leader of one group.
        8 => acts.extend([
            (at, Act::Cut(sender, control)),
            (at, Act::Cut(control, sender)),
            (end, Act::Heal(sender, control)),
            (end, Act::Heal(control, sender)),
        ]),
        9 => acts.push((at, Act::Pause(control, end - at))),
        10 => acts.push((at, Act::Pause(sender, end - at))),
        11 => {
            let storm = Weather {
                lost: rng.below(200),
                doubled: rng.below(200),
                late: rng.below(150),
            };
            acts.extend([
                (at, Act::Storm(storm)),
                (end, Act::Storm(Weather::default())),
            ]);
        }
        12 => acts.extend([(at, Act::SlowDisk(true)), (end, Act::SlowDisk(false))]),
        13 => {
            let minutes = rng.below(21) as i64 - 10;
            acts.push((at, Act::SetClock(control, minutes * 60_000)));
        }
        14 => acts.extend([
            (at, Act::OperatorDrain(sender, true)),
            (end, Act::OperatorDrain(sender, false)),
        ]),
        15 => acts.push((at, Act::Drain(sender))),
        _ => acts.push((at, Act::HandOver(control))),
    }
}

//! What is broken, when, and for how long. Scenarios are lists of these; a soak draws them.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::ctl::Leaders;
use super::host::Host;
use super::net::Link;

/// The number of the group with members, sessions and assignments.
pub const META: u32 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and started again at the end.
    Kill,
    /// SIGSTOP until the end.
    Pause,
    Cut(Cut),
    /// SIGTERM and, when it has stopped, started again. Takes as long as it takes.
    Restart,
    /// By the operator, until the end.
    Drain,
    /// No room is left on the node's disk until the end.
    FillDisk,
    /// kill -9, and started again with an empty disk at the end.
    Wipe,
    /// Its wall clock is so many seconds ahead, or behind if negative, until the end.
    Clock(i64),
    /// Taken out of the cluster by the operator, who lets it join again, with an empty disk, at the end.
    Remove,
}

/// Which links of a node carry nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Those to and from all other nodes. The world outside stays in reach, which is the harder case.
    Full,
    /// Those from it: it hears the others, and they do not hear it.
    Mute,
    /// Those to it: the others hear it, and it does not hear them.
    Deaf,
    /// Those between it and the leader of the meta group.
    Meta,
    /// Those between it and the leader of a spool group that does not lead the meta group as well, where there is one.
    Spool,
}

/// Whom it befalls; drawn among the nodes that are well at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    The(Host),
    Sender,
    /// Of the meta group.
    Leader,
    /// Of a spool group.
    SpoolLeader,
    /// A control node that does not lead the meta group.
    Follower,
}

#[derive(Debug, Clone)]
pub struct Step {
    /// Since the load began. A step waits for the end of one that takes as long as it takes.
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
    pub who: Who,
}

impl Step {
    pub fn new(at_s: f64, lasts_s: f64, fault: Fault, who: Who) -> Self {
        Self {
            at: Duration::from_secs_f64(at_s),
            lasts: Duration::from_secs_f64(lasts_s),
            fault,
            who,
        }
    }
}

impl Who {
    pub fn resolve(self, rng: &mut StdRng, leaders: &Leaders, ill: &[Host]) -> Option<Host> {
        let meta = leaders.get(&META).copied();
        let candidates: Vec<Host> = match self {
            Self::The(host) => vec![host],
            Self::Sender => Host::senders().collect(),
            Self::Leader => meta.into_iter().collect(),
            Self::SpoolLeader => {
                let spools = leaders.iter().filter(|(group, _)| **group != META);
                spools.map(|(_, leader)| *leader).collect()
            }
            Self::Follower => Host::controls()
                .filter(|host| Some(*host) != meta)
                .collect(),
        };
        let well: Vec<Host> = candidates
            .into_iter()
            .filter(|host| !ill.contains(host))
            .collect();
        well.choose(rng).copied()
    }
}

impl Cut {
    pub fn links(self, victim: Host, leaders: &Leaders) -> Vec<Link> {
        let meta = leaders.get(&META).copied();
        let spool_alone = || {
            let spools = leaders.iter().filter(|(group, _)| **group != META);
            let mut leaders: Vec<Host> = spools.map(|(_, leader)| *leader).collect();
            leaders.sort_by_key(|leader| Some(*leader) == meta);
            leaders.first().copied()
        };
        let others: Vec<Host> = match self {
            Self::Full | Self::Mute | Self::Deaf => Host::nodes().collect(),
            Self::Meta => meta.into_iter().collect(),
            Self::Spool => spool_alone().into_iter().collect(),
        };
        let others = others.into_iter().filter(|other| *other != victim);
        others
            .flat_map(|other| {
                let (from, to) = ((victim, other), (other, victim));
                match self {
                    Self::Mute => vec![from],
                    Self::Deaf => vec![to],
                    Self::Full | Self::Meta | Self::Spool => vec![from, to],
                }
            })
            .collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Pause => "SIGSTOP",
            Self::Cut(Cut::Full) => "cut off",
            Self::Cut(Cut::Mute) => "cut one way, not heard",
            Self::Cut(Cut::Deaf) => "cut one way, hears nobody",
            Self::Cut(Cut::Meta) => "cut from the meta leader",
            Self::Cut(Cut::Spool) => "cut from a spool leader",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::FillDisk => "full disk",
            Self::Clock(0..) => "clock set forward",
            Self::Clock(_) => "clock set back",
            Self::Wipe => "wipe",
            Self::Remove => "removal",
        })
    }
}

/// Faults for a long run: one to three at a time, each of 5 s to 20 s, with a rest after each round.
pub fn soak(rng: &mut StdRng, lasts: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = 5.0;
    while at + 60.0 < lasts.as_secs_f64() {
        for _ in 0..rng.random_range(1..=3) {
            let begins = at + rng.random_range(0.0..10.0);
            let lasts = rng.random_range(5.0..20.0);
            let (fault, who) = draw(rng);
            steps.push(Step::new(begins, lasts, fault, who));
        }
        at += 45.0;
    }
    steps
}

fn draw(rng: &mut StdRng) -> (Fault, Who) {
    const ALL: [(Fault, Who); 14] = [
        (Fault::Kill, Who::Sender),
        (Fault::Kill, Who::Leader),
        (Fault::Kill, Who::SpoolLeader),
        (Fault::Kill, Who::Follower),
        (Fault::Pause, Who::Sender),
        (Fault::Pause, Who::Leader),
        (Fault::Pause, Who::Follower),
        (Fault::Cut(Cut::Full), Who::Sender),
        (Fault::Cut(Cut::Full), Who::SpoolLeader),
        (Fault::Cut(Cut::Mute), Who::Leader),
        (Fault::Cut(Cut::Deaf), Who::Follower),
        (Fault::Cut(Cut::Meta), Who::Sender),
        (Fault::Cut(Cut::Spool), Who::Sender),
        (Fault::Drain, Who::Sender),
    ];
    *ALL.choose(rng).expect("there are some")
}

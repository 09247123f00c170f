//! Sites with limits that bind, and whether one was ever exceeded.

use super::history::Happened;
use super::host::Addresses;
use super::judge::Seen;
use super::nemesis::Fault;
use super::report::Report;
use super::world::domain;
use crate::sink::{Visit, most_at_once, most_within};

/// After a sender stands still no more, it closes what it has open within this time.
const CLOSED_WITHIN_MS: u64 = 2_000;

/// What a site takes: less than the load has for it, so that mail waits, and enough that what waits is gone soon after.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    pub site: u8,
    /// How many senders share it.
    slots: u8,
    limits: &'static [Limit],
    messages_per_connection: u32,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    /// So many in any window of so many seconds.
    Messages(usize, u64),
    Openings(usize, u64),
    /// At once.
    Connections(usize),
}

/// Limits that the owner of the site's slot keeps by itself; then one whose tokens the leader grants; then some of which each
/// sender has a share.
pub const PACED: [Paced; 5] = [
    Paced::alone(7, &[Limit::Messages(5, 1)]),
    Paced::alone(8, &[Limit::Messages(180, 30)]),
    Paced {
        slots: 3,
        messages_per_connection: 3,
        ..Paced::alone(9, &[Limit::Connections(2), Limit::Openings(20, 8)])
    },
    Paced {
        slots: 3,
        ..Paced::alone(10, &[Limit::Messages(7, 1)])
    },
    Paced {
        slots: 3,
        ..Paced::alone(11, &[Limit::Messages(140, 20)])
    },
];

impl Paced {
    const fn alone(site: u8, limits: &'static [Limit]) -> Self {
        Self {
            site,
            slots: 1,
            limits,
            messages_per_connection: 100,
        }
    }

    fn name(&self) -> String {
        format!("paced-{}", self.site)
    }
}

pub fn is_paced(site: u8) -> bool {
    PACED.iter().any(|paced| paced.site == site)
}

/// As an operator applies it.
pub fn policy() -> String {
    let one = |paced: &Paced| {
        let limits = paced.limits.iter().map(|limit| match limit {
            Limit::Messages(count, seconds) => format!("message_rate: {count}/{seconds}s"),
            Limit::Openings(count, seconds) => format!("connection_rate: {count}/{seconds}s"),
            Limit::Connections(count) => format!("connections: {count}"),
        });
        let limits: Vec<String> = limits.collect();
        format!(
            "kind: provider\nname: {}\ndomains: [{}]\nmessages_per_connection: {}\ntotal: {{{}}}\n",
            paced.name(),
            domain(paced.site),
            paced.messages_per_connection,
            limits.join(", ")
        )
    };
    PACED.each_ref().map(one).join("---\n")
}

/// Sites that are spread, and over how many slots.
pub fn spreads() -> impl Iterator<Item = (String, u8)> {
    let spread = PACED.iter().filter(|paced| paced.slots > 1);
    spread.map(|paced| (paced.name(), paced.slots))
}

/// Tells the most that each of the sites got, and whether that was too much.
pub fn judge(seen: &Seen, addresses: Addresses, report: &mut Report) {
    for paced in &PACED {
        let address = addresses.site(paced.site);
        let of_site = || {
            let of_site = seen.visits.iter().filter(|(site, _)| *site == paced.site);
            of_site.map(|(_, visit)| *visit)
        };
        let accepted = || {
            let accepted = seen.records.iter().filter(|record| record.accepted);
            accepted.filter(|record| record.local.ip() == address)
        };
        for limit in paced.limits {
            let (most, may, what) = match *limit {
                Limit::Messages(may, seconds) => {
                    let at = accepted().map(|record| record.at_ms).collect();
                    let what = format!("messages in {seconds} s");
                    (most_within(at, seconds * 1000), may, what)
                }
                Limit::Openings(may, seconds) => {
                    let at = of_site().map(|visit| visit.began_ms).collect();
                    let what = format!("new connections in {seconds} s");
                    (most_within(at, seconds * 1000), may, what)
                }
                Limit::Connections(may) => {
                    let stands = |visit: &Visit| stands_still(visit, &seen.history, addresses);
                    let moving: Vec<Visit> = of_site().filter(|visit| !stands(visit)).collect();
                    let (most, at) = most_at_once(&moving, 0..u64::MAX);
                    if most > may {
                        let standing = moving.iter().filter(|visit| visit.stands_at(at));
                        shown(standing, seen, report);
                    }
                    (most, may, "connections at once".to_owned())
                }
            };
            let name = format!("{}, {what}", domain(paced.site));
            report.row(name.clone(), format!("{most} at most (limit {may})"));
            if most > may {
                report.problem(format!("{name}: {most}, and {may} may be"));
            }
        }
    }
}

/// Whether a connection is of a sender that stood still while it was open, and so could not close it when its session ended.
fn stands_still(visit: &Visit, history: &[Happened], addresses: Addresses) -> bool {
    let mut pauses = history.iter().filter(|happened| {
        happened.fault == Fault::Pause && addresses.of(happened.victim) == visit.peer.ip()
    });
    let ended = visit.ended_ms.unwrap_or(u64::MAX);
    pauses.any(|pause| {
        let until = pause.ended_ms + CLOSED_WITHIN_MS;
        visit.began_ms <= until && ended >= pause.began_ms
    })
}

/// From when to when connections stood, and whose they were.
fn shown<'v>(visits: impl Iterator<Item = &'v Visit>, seen: &Seen, report: &mut Report) {
    for visit in visits {
        let (began, ended) = (visit.began_ms, visit.ended_ms.unwrap_or(u64::MAX));
        report.row(
            format!("  a connection from {}", visit.peer),
            format!(
                "{:.3} s to {:.3} s",
                seen.seconds_at(began),
                seen.seconds_at(ended)
            ),
        );
    }
}

//! Sites that are given a pace, and whether it was ever exceeded.

use std::sync::Arc;

use super::host::Addresses;
use super::report::Report;
use super::world::domain;
use crate::sink::Record;

/// What a site may get in any window of so many seconds: less than the load has for it, so that mail waits, and enough that
/// what waits is gone soon after.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub site: u8,
    messages: usize,
    seconds: u64,
}

/// One that the owner of the site's slot keeps by itself, and one that the leader grants.
pub const PACES: [Pace; 2] = [
    Pace {
        site: 7,
        messages: 5,
        seconds: 1,
    },
    Pace {
        site: 8,
        messages: 180,
        seconds: 30,
    },
];

pub fn is_paced(site: u8) -> bool {
    PACES.iter().any(|pace| pace.site == site)
}

/// As an operator applies it.
pub fn policy() -> String {
    let one = |pace: &Pace| {
        let Pace {
            site,
            messages,
            seconds,
        } = pace;
        format!(
            "kind: provider\nname: paced-{site}\ndomains: [{}]\ntotal: {{message_rate: {messages}/{seconds}s}}\n",
            domain(*site)
        )
    };
    PACES.each_ref().map(one).join("---\n")
}

/// Tells the most that each of the sites got in a window, and whether that was too much.
pub fn judge(records: &[Arc<Record>], addresses: Addresses, report: &mut Report) {
    for pace in &PACES {
        let address = addresses.site(pace.site);
        let at = records
            .iter()
            .filter(|record| record.accepted && record.local.ip() == address);
        let most = most_within(at.map(|record| record.at_ms).collect(), pace.seconds * 1000);
        let name = format!("{} in {} s", domain(pace.site), pace.seconds);
        report.row(
            name.clone(),
            format!("{most} at most (limit {})", pace.messages),
        );
        if most > pace.messages {
            report.problem(format!(
                "{name}: {most} messages, and {} may be",
                pace.messages
            ));
        }
    }
}

/// The most of these moments that lie within a window of so many milliseconds.
fn most_within(mut at_ms: Vec<u64>, window: u64) -> usize {
    at_ms.sort_unstable();
    let mut first = 0;
    let within = at_ms.iter().enumerate().map(|(last, at)| {
        while at_ms[first] + window <= *at {
            first += 1;
        }
        last - first + 1
    });
    within.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_before_its_length_is_over() {
        assert_eq!(most_within(Vec::new(), 1000), 0);
        assert_eq!(most_within(vec![0, 999, 1000, 1998, 1999], 1000), 3);
        assert_eq!(most_within(vec![5, 5, 5], 1), 3);
    }
}

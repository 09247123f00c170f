//! What was done to the cluster, and what that explains.

use super::host::{Addresses, Host};
use super::nemesis::{Cut, Fault, META};
use super::net::Link;
use crate::oracle::Window;

/// A result is committed this soon after the final dot when nothing is wrong.
const REPORTED_MS: u64 = 3_000;
/// Messages that a sender sent before it died have arrived by then: sites think about the final dot.
const ARRIVED_MS: u64 = 1_000;

/// A fault that befell a node; times in milliseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub struct Happened {
    pub fault: Fault,
    pub victim: Host,
    /// Groups that the victim led.
    pub led: Vec<u32>,
    pub links: Vec<Link>,
    /// Packets that a cut swallowed.
    pub swallowed: u64,
    pub began_ms: u64,
    /// 0 until it has ended.
    pub ended_ms: u64,
}

impl Happened {
    /// What it is called where it must have happened: "kill -9 of a sender".
    pub fn kind(&self) -> String {
        format!("{} of a {}", self.fault, self.role())
    }

    fn role(&self) -> &'static str {
        match self.victim {
            _ if self.led.contains(&META) => "leader",
            Host::Control(_) if !self.led.is_empty() => "spool leader",
            Host::Control(_) => "follower",
            _ => "sender",
        }
    }

    /// The same with names.
    pub fn title(&self) -> String {
        let led = self.led.iter().map(|group| match *group {
            META => "meta".to_owned(),
            number => format!("spool {number}"),
        });
        let led: Vec<String> = led.collect();
        let mut title = format!("{} of {}", self.fault, self.victim);
        if !led.is_empty() {
            title += &format!(", leader of {}", led.join(", "));
        }
        if let Fault::Cut(Cut::Meta | Cut::Spool) = self.fault {
            let from = self.links.first().map(|(_, other)| other.to_string());
            title += &format!(", {}", from.unwrap_or("nobody".to_owned()));
        }
        title
    }

    /// Whether it happened at all: links that carried nothing while they were cut were not missed.
    pub fn had_effect(&self) -> bool {
        !matches!(self.fault, Fault::Cut(_)) || self.swallowed > 0
    }

    /// Whether results of the victim's deliveries may be lost, or known too late.
    fn may_duplicate(&self) -> bool {
        let is_sudden = matches!(self.fault, Fault::Kill | Fault::Pause | Fault::Cut(_));
        is_sudden && !self.victim.is_control()
    }
}

/// Which copies the faults explain (DESIGN section 6): those that a sender delivered before it died, stood still or was
/// cut off, and whose results were not committed by then.
///
/// What befalls control nodes explains none: senders keep their results and report them to the next leader. But it holds
/// results up, so that the death of a sender meanwhile explains more.
pub fn windows(history: &[Happened], addresses: Addresses) -> Vec<Window> {
    let sudden = history.iter().filter(|fault| fault.may_duplicate());
    sudden
        .map(|fault| {
            let held_up = history.iter().filter(|other| {
                let ended = other.ended_ms + REPORTED_MS;
                other.began_ms < fault.began_ms && ended > fault.began_ms
            });
            let from = held_up.map(|other| other.began_ms).min();
            let from = from.unwrap_or(fault.began_ms).min(fault.began_ms);
            let to = match fault.fault {
                Fault::Kill => fault.began_ms + ARRIVED_MS,
                _ => fault.ended_ms + REPORTED_MS,
            };
            Window {
                from_ms: from.saturating_sub(REPORTED_MS),
                to_ms: to,
                peer: Some(addresses.of(fault.victim)),
                cause: fault.kind(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(fault: Fault, victim: Host, began_ms: u64, ended_ms: u64) -> Happened {
        Happened {
            fault,
            victim,
            led: Vec::new(),
            links: Vec::new(),
            swallowed: 0,
            began_ms,
            ended_ms,
        }
    }

    #[test]
    fn a_fault_explains_what_its_sender_delivered_shortly_before() {
        let addresses = Addresses([10, 77]);
        let (sender, control) = (Host::Sender(1), Host::Control(1));
        let rows = [
            (vec![happened(Fault::Kill, control, 50_000, 60_000)], None),
            (vec![happened(Fault::Drain, sender, 50_000, 60_000)], None),
            (
                vec![happened(Fault::Kill, sender, 50_000, 60_000)],
                Some((47_000, 51_000)),
            ),
            (
                vec![happened(Fault::Pause, sender, 50_000, 65_000)],
                Some((47_000, 68_000)),
            ),
            (
                vec![
                    happened(Fault::Kill, control, 48_000, 58_000),
                    happened(Fault::Kill, sender, 50_000, 60_000),
                ],
                Some((45_000, 51_000)),
            ),
        ];
        for (history, expected) in rows {
            let windows = windows(&history, addresses);
            let found = windows.first().map(|window| (window.from_ms, window.to_ms));
            assert_eq!(found, expected, "{history:?}");
        }
    }
}

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::screen::bold;
use super::world::{DOMAINS, World};
use crate::load::Injected;
use crate::oracle::read_dsn;

/// Which messages the node has accepted, and when.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<String, Accepted>>);

#[derive(Debug)]
struct Accepted {
    at: Instant,
    recipients: Vec<String>,
}

impl Ledger {
    pub fn note(&self, message: &Injected) {
        if message.acked() {
            let accepted = Accepted {
                at: Instant::now(),
                recipients: message.recipients.clone(),
            };
            self.0.lock().insert(message.id.clone(), accepted);
        }
    }

    /// Messages.
    pub fn accepted(&self) -> usize {
        self.0.lock().len()
    }

    /// When the first message was accepted after this moment.
    pub fn first_after(&self, moment: Instant) -> Option<Instant> {
        let accepted = self.0.lock();
        let times = accepted.values().map(|accepted| accepted.at);
        times.filter(|at| *at > moment).min()
    }
}

/// One destination's counts of recipients, seen from outside the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub domain: &'static str,
    pub behaviour: &'static str,
    /// Accepted by the node.
    pub accepted: usize,
    /// Of those, neither delivered nor bounced so far.
    pub waiting: usize,
    pub delivered: usize,
    /// Recipients that the destination answered with 4xx, each time counted.
    pub deferred: usize,
    /// Failure DSNs that reached the sender.
    pub bounced: usize,
    /// Since the acceptance of the oldest that waits.
    pub oldest_wait: Option<Duration>,
}

/// Counts each destination from what the injector and the sinks recorded.
pub fn rows<L: Borrow<Ledger>>(world: &World, ledgers: &[L]) -> Vec<Row> {
    let mut rows: Vec<Row> = DOMAINS
        .iter()
        .map(|(domain, behaviour)| Row {
            domain,
            behaviour: behaviour.label(),
            accepted: 0,
            waiting: 0,
            delivered: 0,
            deferred: 0,
            bounced: 0,
            oldest_wait: None,
        })
        .collect();
    let index: HashMap<&str, usize> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| (row.domain, i))
        .collect();
    let row_of = |address: &str| domain_of(address).and_then(|domain| index.get(domain).copied());
    let mut finished = HashSet::new();
    for record in world.records() {
        if let Some(dsn) = read_dsn(&record) {
            for recipient in dsn.failed {
                if let Some(at) = row_of(&recipient) {
                    rows[at].bounced += 1;
                    finished.insert((dsn.id.clone(), recipient));
                }
            }
            continue;
        }
        for recipient in &record.recipients {
            let Some(at) = row_of(&recipient.address) else {
                continue;
            };
            rows[at].deferred += usize::from((400..500).contains(&recipient.code));
            if let (true, Some(id)) = (record.accepted && recipient.accepted, &record.test_id) {
                rows[at].delivered += 1;
                finished.insert((id.clone(), recipient.address.clone()));
            }
        }
    }
    for ledger in ledgers {
        for (id, accepted) in ledger.borrow().0.lock().iter() {
            for recipient in &accepted.recipients {
                let Some(at) = row_of(recipient) else {
                    continue;
                };
                rows[at].accepted += 1;
                if !finished.contains(&(id.clone(), recipient.clone())) {
                    rows[at].waiting += 1;
                    let oldest = rows[at].oldest_wait.max(Some(accepted.at.elapsed()));
                    rows[at].oldest_wait = oldest;
                }
            }
        }
    }
    rows
}

fn domain_of(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// The table of all destinations, and the line that stands for it where nothing can be redrawn.
pub fn view(rows: &[Row]) -> (Vec<String>, String) {
    let total = total(rows);
    let head = bold(&format!(
        "{:<19}{:<14}{:>9}{:>8}{:>10}{:>8}{:>8}{:>8}",
        "destination",
        "behaviour",
        "accepted",
        "waiting",
        "delivered",
        "defers",
        "bounced",
        "oldest"
    ));
    let lines = rows.iter().chain([&total]).map(|row| {
        format!(
            "{:<19}{:<14}{:>9}{:>8}{:>10}{:>8}{:>8}{:>8}",
            row.domain,
            row.behaviour,
            row.accepted,
            row.waiting,
            row.delivered,
            row.deferred,
            row.bounced,
            seconds(row.oldest_wait)
        )
    });
    ([head].into_iter().chain(lines).collect(), line(&total))
}

pub fn total(rows: &[Row]) -> Row {
    let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>();
    Row {
        domain: "all",
        behaviour: "",
        accepted: sum(|row| row.accepted),
        waiting: sum(|row| row.waiting),
        delivered: sum(|row| row.delivered),
        deferred: sum(|row| row.deferred),
        bounced: sum(|row| row.bounced),
        oldest_wait: rows.iter().filter_map(|row| row.oldest_wait).max(),
    }
}

fn line(total: &Row) -> String {
    format!(
        "accepted {:>4}   waiting {:>4}   delivered {:>4}   defers {:>4}   bounced {:>4}   oldest {:>6}",
        total.accepted,
        total.waiting,
        total.delivered,
        total.deferred,
        total.bounced,
        seconds(total.oldest_wait)
    )
}

fn seconds(wait: Option<Duration>) -> String {
    wait.map_or("-".to_owned(), |wait| {
        format!("{:.1} s", wait.as_secs_f64())
    })
}

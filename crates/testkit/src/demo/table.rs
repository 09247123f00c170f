use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::world::{DOMAINS, World};
use crate::load::Injected;
use crate::oracle::read_dsn;

/// How often a line is printed when there is no terminal to redraw.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// One destination's counts, seen from outside the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub domain: &'static str,
    pub behaviour: &'static str,
    /// Messages that are or will be handed to the node.
    pub planned: usize,
    pub delivered: usize,
    /// Attempts that the destination answered with 4xx.
    pub deferred: usize,
    /// Failure DSNs that reached the sender.
    pub bounced: usize,
}

/// Counts each destination from what the sinks recorded.
pub fn rows(world: &World, planned: &[Injected]) -> Vec<Row> {
    let mut rows: Vec<Row> = DOMAINS
        .iter()
        .map(|(domain, behaviour)| Row {
            domain,
            behaviour: behaviour.label(),
            planned: planned.iter().filter(|m| goes_to(m, domain)).count(),
            delivered: 0,
            deferred: 0,
            bounced: 0,
        })
        .collect();
    let index: HashMap<&str, usize> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| (row.domain, i))
        .collect();
    for record in world.records() {
        if let Some(dsn) = read_dsn(&record) {
            let domains: HashSet<&str> = dsn.failed.iter().filter_map(|r| domain_of(r)).collect();
            for at in domains.iter().filter_map(|domain| index.get(domain)) {
                rows[*at].bounced += 1;
            }
            continue;
        }
        for recipient in &record.recipients {
            let Some(at) = domain_of(&recipient.address).and_then(|domain| index.get(domain))
            else {
                continue;
            };
            rows[*at].delivered += usize::from(record.accepted && recipient.accepted);
            rows[*at].deferred += usize::from((400..500).contains(&recipient.code));
        }
    }
    rows
}

fn goes_to(message: &Injected, domain: &str) -> bool {
    message
        .recipients
        .iter()
        .any(|recipient| domain_of(recipient) == Some(domain))
}

fn domain_of(address: &str) -> Option<&str> {
    address.rsplit_once('@').map(|(_, domain)| domain)
}

/// Shows the rows: redrawn in place on a terminal, one line every 2 s elsewhere.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    lines_drawn: usize,
    last_line: Option<Instant>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            lines_drawn: 0,
            last_line: None,
        }
    }
}

impl Screen {
    /// # Errors
    /// Standard output is closed.
    pub fn show(&mut self, acked: u64, rows: &[Row]) -> io::Result<()> {
        let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>();
        let (delivered, deferred) = (sum(|r| r.delivered), sum(|r| r.deferred));
        let total = format!(
            "accepted {acked:>4} of {}   delivered {delivered:>4}   451s {deferred:>4}   bounced {:>4}",
            sum(|r| r.planned),
            sum(|r| r.bounced)
        );
        let mut out = io::stdout().lock();
        if !self.terminal {
            if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
                self.last_line = Some(Instant::now());
                writeln!(out, "{total}")?;
            }
            return out.flush();
        }
        let mut text = String::new();
        if self.lines_drawn > 0 {
            // Back up to the table's first line and overwrite it.
            text = format!("\x1b[{}A", self.lines_drawn);
        }
        let mut lines = vec![format!(
            "\x1b[1m{:<20}{:<14}{:>8}{:>11}{:>8}{:>9}\x1b[0m",
            "destination", "behaviour", "mail", "delivered", "451s", "bounced"
        )];
        lines.extend(rows.iter().map(|row| {
            format!(
                "{:<20}{:<14}{:>8}{:>11}{:>8}{:>9}",
                row.domain, row.behaviour, row.planned, row.delivered, row.deferred, row.bounced
            )
        }));
        lines.push(total);
        for line in &lines {
            // Each line is cleared to its end, as the one below it may have been longer.
            writeln!(text, "{line}\x1b[K").map_err(io::Error::other)?;
        }
        self.lines_drawn = lines.len();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

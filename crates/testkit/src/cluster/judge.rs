//! What a run was, against what it promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::history::{Happened, windows};
use super::host::{Addresses, Host};
use super::nemesis::{Fault, META};
use super::net::Net;
use super::pace;
use super::report::{Report, seconds};
use super::run::Scenario;
use super::times::{Silence, accepted_again, flows_again, longest_pause, percentile};
use super::world::steady_sites;
use crate::load::{Injected, Outcome};
use crate::oracle::{Reconciliation, judge_with};
use crate::sink::{Record, Visit};
use crate::unix_ms;

/// The times that are promised.
const SENDER_KILLED: Duration = Duration::from_secs(15);
const SENDER_DRAINED: Duration = Duration::from_secs(2);
const LEADER_KILLED: Duration = Duration::from_secs(5);
const ACCEPT_P99: Duration = Duration::from_millis(100);
/// Processors that have less time to spare than that keep everything waiting, and say nothing of the product.
const IDLE_PERCENT_MIN: u64 = 15;
/// Outages are told of, not every try: an hour of them must not fill a disk.
const LOG_BYTES_PER_SECOND: u64 = 20_000;

/// Kinds of replies that a report lists.
const REPLIES_MAX: usize = 5;

/// All that there is to see.
#[derive(Debug)]
pub struct Seen {
    pub injected: Vec<Injected>,
    pub records: Vec<Arc<Record>>,
    /// Each with the number of its site.
    pub visits: Vec<(u8, Visit)>,
    pub history: Vec<Happened>,
    /// Of the processors' time under load before the first fault.
    pub idle_percent: Option<u64>,
    /// How long it took after the last fault until all was well, or what is not.
    pub quiet: Result<Duration, String>,
    /// Nodes that ended by themselves.
    pub dead: Vec<(Host, String)>,
    pub log_bytes: u64,
}

impl Seen {
    /// Since the first message was answered.
    pub fn seconds_at(&self, unix_ms: u64) -> f64 {
        let answered = self.injected.iter().map(|message| message.answered_at_ms);
        unix_ms.saturating_sub(answered.min().unwrap_or_default()) as f64 / 1000.0
    }
}

pub fn judge(scenario: &Scenario, seen: &Seen, net: &Net, report: &mut Report) {
    let windows = windows(&seen.history, net.addresses);
    let verdict = judge_with(&seen.injected, &seen.records, &windows);
    messages(seen, &verdict, report);
    wrongs(scenario, &verdict, report);
    copies(seen, &verdict, report);
    pace::judge(seen, net.addresses, report);
    for happened in &seen.history {
        told(happened, seen, net.addresses, report);
    }
    match &seen.quiet {
        Ok(time) => report.row("all well after", seconds(*time)),
        Err(unrest) => report.problem(format!("60 s after the last fault: {unrest}")),
    }
    for (host, log) in &seen.dead {
        report.problem(format!(
            "{host} ended by itself; the end of its log:\n{log}"
        ));
    }
    logs(scenario, seen, report);
    covered(scenario, seen, net, report);
}

fn messages(seen: &Seen, verdict: &Reconciliation, report: &mut Report) {
    let of = |is: fn(&Outcome) -> bool| {
        seen.injected
            .iter()
            .filter(|message| is(&message.outcome))
            .count()
    };
    let (offered, acked) = (
        seen.injected.len(),
        of(|outcome| matches!(outcome, Outcome::Acked { .. })),
    );
    if acked < offered / 2 {
        report.problem(format!(
            "{acked} messages of {offered} were taken: too few to show anything"
        ));
    }
    report.row(
        "messages",
        format!(
            "{offered} offered, {acked} acknowledged, {} refused, {} unknown",
            of(|outcome| matches!(outcome, Outcome::Refused { .. })),
            of(|outcome| matches!(outcome, Outcome::Unknown)),
        ),
    );
    refused(seen, report);
    let acked = seen.injected.iter().filter(|message| message.acked());
    let mut waits: Vec<Duration> = acked.map(|message| message.waited).collect();
    report.row(
        "from dot to 250",
        format!(
            "p50 {}, p99 {}, longest {}; longest pause between two {}",
            seconds(percentile(&mut waits, 50)),
            seconds(percentile(&mut waits, 99)),
            seconds(percentile(&mut waits, 100)),
            seconds(longest_pause(&seen.injected)),
        ),
    );
    report.row(
        "recipients",
        format!(
            "{} acknowledged, {} delivered, {} lost",
            verdict.acked,
            verdict.delivered.len(),
            verdict.lost.len()
        ),
    );
}

/// How often each reply came that took no message.
fn refused(seen: &Seen, report: &mut Report) {
    let mut replies: BTreeMap<&str, usize> = BTreeMap::new();
    for message in &seen.injected {
        if let Outcome::Refused { reply, .. } = &message.outcome {
            *replies.entry(reply).or_default() += 1;
        }
    }
    for (reply, count) in replies.into_iter().take(REPLIES_MAX) {
        report.row(format!("  refused {count} times with"), reply);
    }
}

/// When each copy of the first duplicate arrived, and from whom: that tells which fault it belongs to, if any.
fn copies(seen: &Seen, verdict: &Reconciliation, report: &mut Report) {
    let Some(first) = verdict.duplicates.first() else {
        return;
    };
    for record in &seen.records {
        let mut to = record.delivered_to();
        let is_it = record.test_id.as_ref() == Some(&first.id);
        if is_it && to.any(|to| to.eq_ignore_ascii_case(&first.recipient)) {
            let (at, from) = (seen.seconds_at(record.at_ms), record.peer.ip());
            report.row(
                format!("  copy of {}", first.id),
                format!("{at:.1} s, from {from}, {} bytes", record.message_bytes),
            );
        }
    }
}

fn wrongs(scenario: &Scenario, verdict: &Reconciliation, report: &mut Report) {
    let causes = verdict.causes.iter();
    let causes: Vec<String> = causes
        .map(|(cause, count)| format!("{count} by {cause}"))
        .collect();
    report.row(
        "duplicates",
        match causes.is_empty() {
            true => verdict.duplicates.len().to_string(),
            false => format!(
                "{} without explanation; explained: {}",
                verdict.duplicates.len(),
                causes.join(", ")
            ),
        },
    );
    let lists = [
        ("lost", &verdict.lost),
        ("duplicates without explanation", &verdict.duplicates),
        ("corrupted", &verdict.corrupted),
        ("delivered and bounced", &verdict.contradictory),
        ("bounced", &verdict.bounced),
        ("never handed in", &verdict.unexpected),
        ("not compared", &verdict.unchecked),
    ];
    for (what, list) in lists {
        if let Some(first) = list.first() {
            report.problem(format!(
                "{} {what}, first {} for {}",
                list.len(),
                first.id,
                first.recipient
            ));
        }
    }
    if !scenario.may_duplicate && !verdict.excused.is_empty() {
        report.problem(format!(
            "{} duplicates where none may be",
            verdict.excused.len()
        ));
    }
}

/// One row for each fault: when, whom, and how long until mail went its way again.
fn told(happened: &Happened, seen: &Seen, addresses: Addresses, report: &mut Report) {
    let at = seen.seconds_at(happened.began_ms);
    let lasted = happened.ended_ms.saturating_sub(happened.began_ms);
    let name = format!("at {at:>5.1} s: {}", happened.title());
    report.row(name, format!("{:.1} s", lasted as f64 / 1000.0));
    let (began, now) = (happened.began_ms, unix_ms());
    let is_alone = !seen.history.iter().any(|other| overlaps(happened, other));
    if happened.victim.is_control() {
        let spools = happened.led.iter().copied().filter(|group| *group != META);
        let spools: Vec<u32> = spools.collect();
        let again = accepted_again(&seen.injected, &spools, began, now);
        let limit = (happened.fault == Fault::Kill && is_alone).then_some(LEADER_KILLED);
        if !spools.is_empty() && happened.fault != Fault::FillDisk {
            report.time("  mail is accepted by its groups after", again, limit);
        }
        return;
    }
    let limit = match happened.fault {
        _ if !is_alone => None,
        Fault::Kill => Some(SENDER_KILLED),
        Fault::Drain | Fault::Restart => Some(SENDER_DRAINED),
        _ => None,
    };
    let witnesses = steady_sites(addresses);
    let silence = Silence {
        sender: addresses.of(happened.victim),
        began_ms: began,
        ended_ms: happened.ended_ms,
    };
    let again = flows_again(&seen.records, &witnesses, silence);
    // Whose clock is set goes on.
    if again.is_some() && !matches!(happened.fault, Fault::Clock(_)) {
        report.time("  mail of its slots flows after", again, limit);
    }
}

/// Whether another fault may have a part in what one takes. A sudden one may still be felt a moment after it ended.
fn overlaps(one: &Happened, other: &Happened) -> bool {
    let felt_ms = match other.fault {
        Fault::Drain | Fault::Restart => 0,
        _ => 5_000,
    };
    let is_same = one.began_ms == other.began_ms;
    !is_same && other.began_ms < one.ended_ms && other.ended_ms + felt_ms > one.began_ms
}

fn logs(scenario: &Scenario, seen: &Seen, report: &mut Report) {
    report.row("longest log", format!("{} kB", seen.log_bytes / 1000));
    if seen.log_bytes > LOG_BYTES_PER_SECOND * scenario.lasts.as_secs() {
        report.problem(format!("a log of {} kB", seen.log_bytes / 1000));
    }
}

/// A run in which a required fault did not happen proves nothing.
fn covered(scenario: &Scenario, seen: &Seen, net: &Net, report: &mut Report) {
    let kinds: Vec<String> = seen
        .history
        .iter()
        .filter(|happened| happened.had_effect())
        .map(Happened::kind)
        .collect();
    for required in scenario.requires {
        let is_cut = required.starts_with("cut");
        if !kinds.iter().any(|kind| kind.starts_with(required)) && (net.can_cut() || !is_cut) {
            report.problem(format!("it did not happen: {required}"));
        }
    }
    if seen.history.is_empty() {
        return;
    }
    let first = seen.history.iter().map(|happened| happened.began_ms).min();
    let before = first.unwrap_or_default();
    let acked = seen.injected.iter().filter(|message| message.acked());
    let calm = acked.filter(|message| message.answered_at_ms < before);
    let mut waits: Vec<Duration> = calm.map(|message| message.waited).collect();
    let p99 = percentile(&mut waits, 99);
    let idle = seen.idle_percent;
    report.row(
        "processors idle before the first fault",
        idle.map_or("not known".to_owned(), |percent| format!("{percent} %")),
    );
    let had_time = idle.is_none_or(|percent| percent >= IDLE_PERCENT_MIN);
    let is_promised = !scenario.may_duplicate && had_time;
    let limit = is_promised.then_some(ACCEPT_P99);
    report.time(
        "p99 from dot to 250 before the first fault",
        Some(p99),
        limit,
    );
}

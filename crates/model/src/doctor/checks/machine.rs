//! What nodes have besides groups: disks, clocks, certificates, sinks of events.

use super::groups::each_group;
use super::{note, problem};
use crate::disk::Room;
use crate::doctor::Finding;
use crate::doctor::facts::{Answer, CertificateEnd, Facts, group_name};
use crate::id::NodeId;
use crate::time::UnixMs;

/// What NTP keeps with a wide margin. Due times and ages come from the leader's clock.
const CLOCKS_APART_MAX_MS: u64 = 2000;
/// Events are a few hundred bytes, and stay on disk until a sink has them.
const EVENTS_WAITING_MAX: u64 = 100_000;
/// Percent of the disk that are left before no new mail is taken.
const NEARLY_FULL: u32 = 10;
/// Enough to renew by hand; what renews by itself does so earlier.
const ENDS_SOON_DAYS: u64 = 30;
/// What should have renewed it has failed.
const ENDS_VERY_SOON_DAYS: u64 = 7;
const DAY_MS: u64 = 24 * 3600 * 1000;

fn answers(facts: &Facts) -> impl Iterator<Item = (NodeId, &Answer)> {
    let nodes = facts.nodes.iter();
    nodes.filter_map(|(id, node)| Some((*id, node.answer.as_ref()?)))
}

pub(super) fn events(facts: &Facts) -> Vec<Finding> {
    let faults = answers(facts).filter_map(|(id, answer)| {
        let what = format!("cannot write events: {}", answer.events_fault.as_ref()?);
        let todo = "nothing is lost, they wait in the spool; mend what is named, or set events.path to another file";
        Some(problem(facts.node_name(id), what, todo))
    });
    let waiting = each_group(facts, |id, group| {
        if group.events_waiting <= EVENTS_WAITING_MAX {
            return None;
        }
        let what = format!(
            "keeps {} events that no sink has taken",
            group.events_waiting
        );
        let todo = "look at the event sink on the node that leads the group";
        Some(problem(group_name(id), what, todo))
    });
    faults.chain(waiting).collect()
}

pub(super) fn disks(facts: &Facts) -> Vec<Finding> {
    let filled = answers(facts).filter_map(|(id, answer)| {
        let (name, used) = (facts.node_name(id), answer.disk_used_percent);
        let todo = "make room beside the data directory, or give it a larger disk; delivered mail makes room too";
        let takes = match answer.room? {
            Room::Soft => "no new mail",
            Room::Hard => "nothing but results",
            Room::Enough if answer.disk_soft_mark > 0 && used + NEARLY_FULL >= answer.disk_soft_mark => {
                let what = format!(
                    "has filled {used} % of its disk, and takes no new mail beyond {} %",
                    answer.disk_soft_mark
                );
                return Some(note(name, what, todo));
            }
            Room::Enough => return None,
        };
        let what = format!("has filled {used} % of its disk, and takes {takes}");
        Some(problem(name, what, todo))
    });
    filled.collect()
}

pub(super) fn clocks(facts: &Facts) -> Vec<Finding> {
    let nodes = answers(facts).map(|(id, answer)| (facts.node_name(id), answer.clock_ahead_ms));
    let senders = facts.senders_heard();
    let senders = senders.map(|(name, health)| (format!("sender {name}"), health.clock_ahead_ms));
    let apart = nodes
        .chain(senders)
        .filter(|(_, ahead)| ahead.unsigned_abs() > CLOCKS_APART_MAX_MS);
    let told = apart.map(|(name, ahead)| {
        let word = if ahead > 0 { "ahead" } else { "behind" };
        let what = format!(
            "has a clock that is {} ms {word} of the asked node's",
            ahead.unsigned_abs()
        );
        problem(
            name,
            what,
            "let NTP keep both clocks; due times follow the leader's",
        )
    });
    told.collect()
}

pub(super) fn certificates(facts: &Facts) -> Vec<Finding> {
    let nodes = answers(facts).flat_map(|(id, answer)| {
        let name = facts.node_name(id);
        let ends = answer.certificates.iter();
        ends.map(move |end| (name.clone(), end))
    });
    let senders = facts.senders_heard().flat_map(|(name, health)| {
        let ends = health.certificates.iter();
        ends.map(move |end| (format!("sender {name}"), end))
    });
    let told = nodes
        .chain(senders)
        .filter_map(|(name, end)| certificate(facts.now, &name, end));
    told.collect()
}

pub(super) fn files(facts: &Facts) -> Vec<Finding> {
    let told = facts.senders_heard().flat_map(|(name, health)| {
        health.files.iter().map(move |file| {
            let subject = format!("{} of sender {name}", file.setting);
            let what = format!("{} {}", file.path, file.fault);
            let todo = "mend the file, or have the program that writes it do so; it is read again by itself";
            problem(subject, what, todo)
        })
    });
    told.collect()
}

fn certificate(now: UnixMs, name: &str, end: &CertificateEnd) -> Option<Finding> {
    let subject = format!("{} of {name}", end.setting);
    let todo = "replace the files; they are read again within seconds";
    if end.at <= now {
        let what = format!("has ended: {}", end.path);
        return Some(problem(subject, what, todo));
    }
    let days = end.at.since(now).0 / DAY_MS;
    let what = format!("ends in {days} days: {}", end.path);
    match days {
        0..ENDS_VERY_SOON_DAYS => Some(problem(subject, what, todo)),
        ENDS_VERY_SOON_DAYS..ENDS_SOON_DAYS => Some(note(subject, what, todo)),
        _ => None,
    }
}

//! Senders, and the way of the mail through them.

use super::groups::each_group;
use super::{note, problem};
use crate::doctor::Finding;
use crate::doctor::facts::{Connects, Facts, group_name};

/// A task that came due this long ago, that nothing holds back and that is with no sender, is stuck.
const DUE_MAX_MS: u64 = 60_000;
/// A sender that is started again, even twice in a minute, opens fewer sessions.
const SESSIONS_MAX: u32 = 4;
/// With so many destinations and none that gives a connection, it is the way there that is closed.
const SITES_MIN: u32 = 5;

pub(super) fn senders(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut senders = facts.senders.iter().filter(|sender| !sender.is_egress);
    if !senders.any(|sender| sender.has_session) {
        let what = "none has a session, so no mail goes out".to_owned();
        let todo = "start a node with role \"sender\" whose cluster.peers names the control nodes";
        found.push(problem("senders", what, todo));
    }
    for sender in facts.senders.iter().filter(|sender| !sender.is_egress) {
        let name = format!("sender {}", sender.name);
        if sender.has_session && !sender.is_fit {
            let what = "does not reach the leader of some spool group that others reach".to_owned();
            let todo = "look at the network between it and the control nodes; its slots are with others meanwhile";
            found.push(problem(name, what, todo));
        } else if sender.is_drained {
            let what = match sender.has_session {
                true => "is out of service".to_owned(),
                false => "is out of service, and gone".to_owned(),
            };
            let todo = match sender.has_session {
                true => format!(
                    "`skeinctl node resume {}` when it may work again",
                    sender.name
                ),
                false => format!(
                    "`skeinctl node remove {}` if it does not come back",
                    sender.name
                ),
            };
            found.push(note(name, what, todo));
        }
    }
    found
}

/// Two processes under one name take the session from each other, again and again.
pub(super) fn sessions(facts: &Facts) -> Vec<Finding> {
    let often = facts
        .reopened
        .iter()
        .filter(|sender| sender.times > SESSIONS_MAX);
    let often = often.map(|sender| {
        let what = format!(
            "asked for a session {} times within a minute, from {}",
            sender.times,
            sender.addresses.join(" and ")
        );
        let todo = match sender.addresses.len() {
            0 | 1 => {
                "look at its log, and at its clock and network: a session ends when no heartbeat arrives for 10 s"
            }
            _ => "processes at these addresses have one name: set another cluster.name in the configuration of each",
        };
        problem(format!("sender {}", sender.name), what, todo)
    });
    often.collect()
}

pub(super) fn slots(facts: &Facts) -> Vec<Finding> {
    let mut found = each_group(facts, |id, group| {
        if group.slots_unopened == 0 {
            return None;
        }
        let what = format!(
            "has {} slots that their owners have not opened",
            group.slots_unopened
        );
        let todo = "look at the logs of the senders that own them: `skeinctl slot list --all`";
        Some(problem(group_name(id), what, todo))
    });
    let without = facts.slots_without_owner;
    if without > 0 && facts.is_all_drained() {
        let what = format!("{without} have no owner, because every sender is out of service");
        let todo = "`skeinctl node resume NAME` lets mail go on";
        found.push(note("slots", what, todo));
    } else if without > 0 {
        let what = format!("{without} have no owner, and their mail waits");
        let todo = "start a sender, or resume a drained one: `skeinctl node list`";
        found.push(problem("slots", what, todo));
    }
    found
}

pub(super) fn ips(facts: &Facts) -> Vec<Finding> {
    let unplaced = facts.unplaced_ips.iter().map(|ip| {
        let todo = format!(
            "give its address to a node, or take it out: `skeinctl policy get ip {ip}`; mail of its pools goes through \
             other members, or waits"
        );
        problem(format!("ip {ip}"), "is at no node".to_owned(), todo)
    });
    let faults = facts.ip_faults.iter().map(|(ip, fault)| {
        let todo = format!(
            "hosts may take mail from it for spam: `skeinctl ip check {ip}` says more; it goes on sending"
        );
        note(format!("ip {ip}"), format!("is not fit to send: {fault}"), todo)
    });
    unplaced.chain(faults).collect()
}

/// Mail that limits, rules, suspensions, warm-ups or blocked hosts hold back is where it should be.
pub(super) fn due(facts: &Facts) -> Vec<Finding> {
    each_group(facts, |id, group| {
        let name = group_name(id);
        if !group.waits_for.is_empty() {
            let what = format!(
                "hands nothing out before it has heard from {}",
                group.waits_for.join(", ")
            );
            return Some(problem(
                name,
                what,
                "it goes on after 12 s without them; look at those senders' logs",
            ));
        }
        let since = facts.now.since(group.ready_since?);
        if since.0 < DUE_MAX_MS || group.in_flight > 0 || facts.is_all_drained() {
            return None;
        }
        let what = format!(
            "has a task that came due {} s ago and that nothing holds back, and no sender has any",
            since.0 / 1000
        );
        let todo = "look at what is due, `skeinctl queue list`, and who owns its slots";
        Some(problem(name, what, todo))
    })
}

pub(super) fn name_servers(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for (sender, health) in facts.senders_heard() {
        let servers = health.name_servers.iter();
        let is_any_well = servers.clone().any(|server| server.fault.is_none());
        for server in servers {
            let Some(fault) = &server.fault else { continue };
            let subject = format!("name server {} of sender {sender}", server.address);
            let what = match is_any_well {
                true => format!("does not do its work: {fault}"),
                false => format!("does not do its work, and no other one does: {fault}"),
            };
            let address = &server.address;
            found.push(match health.needs_dns {
                true => {
                    let todo = format!(
                        "ask {address} by hand; set dns.servers to servers that this machine may ask"
                    );
                    problem(subject, what, todo)
                }
                false => {
                    let todo = "all mail of that sender goes to named hosts, so it may need none";
                    note(subject, what, todo)
                }
            });
        }
        if let Some(fault) = &health.validation_fault {
            let todo = "run a resolver that validates on this machine, or say that none is: dns.trust_ad = []";
            found.push(note(format!("sender {sender}"), fault.clone(), todo));
        }
    }
    found
}

/// Port 25 is closed to the outside in many clouds, which no single host's silence shows.
pub(super) fn connections(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for (sender, health) in facts.senders_heard() {
        let Connects {
            minutes,
            hosts,
            connected,
            sites,
            last_fault,
        } = &health.connects;
        if *hosts == 0 || *connected > 0 {
            continue;
        }
        let subject = format!("sender {sender}");
        let what = format!(
            "got no connection in {minutes} min, though it tried {hosts} hosts of {sites} destinations; the last \
             one: {last_fault}"
        );
        let todo = "outbound port 25 may be closed here, as in many clouds: `skeinctl doctor --port-25 HOST` tries a \
                    host that you name; have it opened, or set delivery.smarthost";
        found.push(match *sites >= SITES_MIN {
            true => problem(subject, what, todo),
            false => note(subject, what, todo),
        });
    }
    found
}

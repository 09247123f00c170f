//! The invariants of a cluster that can be looked at while it runs.

mod delivery;
mod groups;
mod machine;
mod members;

use super::facts::Facts;
use super::{Check, Finding, Level};

type Look = fn(&Facts) -> Vec<Finding>;

/// What can be said while there is no cluster yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Not known before the control nodes have made one.
    Cluster,
}

const CHECKS: [(&str, &str, Needs, Look); 23] = [
    (
        "view",
        "the asked node hears from the leader of the meta group",
        Needs::Cluster,
        members::view,
    ),
    (
        "nodes",
        "every control node answers",
        Needs::Nothing,
        members::nodes,
    ),
    (
        "groups",
        "every replica of every group runs",
        Needs::Nothing,
        groups::stopped,
    ),
    (
        "leaders",
        "every group has a leader",
        Needs::Cluster,
        groups::leaders,
    ),
    (
        "quorum",
        "every group survives the loss of a node",
        Needs::Cluster,
        groups::quorum,
    ),
    (
        "members",
        "every control node votes in every group",
        Needs::Cluster,
        groups::members,
    ),
    (
        "replicas",
        "every replica keeps up",
        Needs::Cluster,
        groups::replicas,
    ),
    (
        "bodies",
        "every replica has the bytes of every message",
        Needs::Cluster,
        groups::bodies,
    ),
    (
        "state",
        "replicas have written the same",
        Needs::Cluster,
        groups::state,
    ),
    (
        "senders",
        "every sender reaches every spool group and is in service",
        Needs::Cluster,
        delivery::senders,
    ),
    (
        "sessions",
        "every sender keeps its session",
        Needs::Cluster,
        delivery::sessions,
    ),
    (
        "slots",
        "every slot has an owner, and is open at every spool group",
        Needs::Cluster,
        delivery::slots,
    ),
    (
        "ips",
        "every source IP is at a node that has it",
        Needs::Cluster,
        delivery::ips,
    ),
    (
        "due",
        "due mail that nothing holds back is with a sender",
        Needs::Cluster,
        delivery::due,
    ),
    (
        "dns",
        "every name server of every sender answers",
        Needs::Cluster,
        delivery::name_servers,
    ),
    (
        "connections",
        "senders get connections to other hosts",
        Needs::Cluster,
        delivery::connections,
    ),
    (
        "events",
        "sinks take the events",
        Needs::Nothing,
        machine::events,
    ),
    (
        "disks",
        "every control node has room on its disk",
        Needs::Nothing,
        machine::disks,
    ),
    ("clocks", "clocks agree", Needs::Nothing, machine::clocks),
    (
        "certificates",
        "no certificate ends soon",
        Needs::Nothing,
        machine::certificates,
    ),
    (
        "files",
        "senders can use the tokens and certificates that they are told to",
        Needs::Cluster,
        machine::files,
    ),
    (
        "versions",
        "control nodes run one version",
        Needs::Cluster,
        members::versions,
    ),
    (
        "spread",
        "leaders are spread evenly",
        Needs::Cluster,
        groups::spread,
    ),
];

/// Looks at everything.
pub fn examine(facts: &Facts) -> Vec<Check> {
    let checks = CHECKS.iter().map(|(name, meaning, needs, look)| {
        let is_known = *needs == Needs::Nothing || facts.founding.is_none();
        Check {
            name,
            meaning,
            is_known,
            findings: match is_known {
                true => look(facts),
                false => Vec::new(),
            },
        }
    });
    checks.collect()
}

fn finding(
    level: Level,
    subject: impl Into<String>,
    what: String,
    todo: impl Into<String>,
) -> Finding {
    Finding {
        level,
        subject: subject.into(),
        what,
        todo: todo.into(),
    }
}

fn problem(subject: impl Into<String>, what: String, todo: impl Into<String>) -> Finding {
    finding(Level::Problem, subject, what, todo)
}

fn note(subject: impl Into<String>, what: String, todo: impl Into<String>) -> Finding {
    finding(Level::Note, subject, what, todo)
}

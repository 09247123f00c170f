//! How far a change of the policy has come: who goes by it, and who does not yet.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use skein_wire::v1::{ListNodesRequest, ListNodesResponse};

use crate::admin::Admin;

/// Senders hear of a change at once, and have taken it over after this time if nothing is wrong.
const SOON: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The change is made, and not in force everywhere in time.
const NOT_IN_FORCE: u8 = 3;

/// A change is in force on a node when that node goes by it.
#[derive(Debug, Args)]
pub struct Reach {
    /// Return when every node goes by the change: no mail goes out by an earlier policy from then on. Ends with status 3 if
    /// that takes longer than --timeout; the change is made all the same.
    #[arg(long)]
    wait: bool,
    /// How long --wait waits.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// A node as long as it lives: a sender that comes back with another session is another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    name: String,
    /// Of a sender its session, of a control node its id.
    life: String,
}

/// Those who do not go by a version, with what each goes by as far as it has said.
type Behind = BTreeMap<Who, Option<u64>>;

#[derive(Debug, Default)]
struct Standing {
    behind: Behind,
    live: BTreeSet<Who>,
}

impl Reach {
    /// Tells who does not go by a version of the policy yet. With `--wait` it returns when there is nobody, or after the time
    /// that was given.
    pub async fn tell(&self, admin: &mut Admin, version: u64, json: bool) -> ExitCode {
        let began = Instant::now();
        let until = began + if self.wait { self.timeout } else { SOON };
        let mut told: Option<Standing> = None;
        let missing = loop {
            let missing = match admin.list_nodes(ListNodesRequest {}).await {
                Ok(nodes) => {
                    let now = Standing::of(&nodes.into_inner(), version);
                    let missing = list(&now.behind);
                    // Those who are only about to take it over are no news.
                    if self.wait && (told.is_some() || began.elapsed() >= SOON) {
                        tell_change(told.as_ref(), &now);
                        told = Some(now);
                    }
                    missing
                }
                // A leader may be another one soon.
                Err(status) => format!("who does is not known: {}", status.message()),
            };
            if missing.is_empty() || Instant::now() >= until {
                break missing;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        match (missing.is_empty(), self.wait) {
            (true, true) if !json => println!("Every node goes by it."),
            (true, _) => {}
            (false, true) => {
                let timeout = humantime::format_duration(self.timeout);
                eprintln!(
                    "skeinctl: the policy has version {version}, but after {timeout} not everybody goes by it: {missing}"
                );
                return ExitCode::from(NOT_IN_FORCE);
            }
            (false, false) => eprintln!(
                "skeinctl: not yet at version {version}: {missing}; --wait waits for them"
            ),
        }
        ExitCode::SUCCESS
    }
}

/// Says whom is waited for, whenever that changes.
fn tell_change(before: Option<&Standing>, now: &Standing) {
    let before = before.map(|before| &before.behind);
    let gone = before.into_iter().flatten().map(|(who, _)| who);
    for who in gone.filter(|who| !now.live.contains(*who)) {
        eprintln!(
            "skeinctl: the session of {} has ended: it sends nothing before it goes by the policy",
            who.name
        );
    }
    if before != Some(&now.behind) && !now.behind.is_empty() {
        eprintln!("skeinctl: waiting for {}", list(&now.behind));
    }
}

fn list(behind: &Behind) -> String {
    let each = behind.iter().map(|(who, at)| match at {
        Some(at) => format!("{} (version {at})", who.name),
        None => format!("{} (has not said)", who.name),
    });
    each.collect::<Vec<_>>().join(", ")
}

impl Standing {
    fn of(nodes: &ListNodesResponse, version: u64) -> Self {
        let control = nodes.control_nodes.iter().map(|node| {
            let name = match node.address.as_str() {
                "" => "the control node",
                address => address,
            };
            (name, node.node_id.as_str(), node.policy_version)
        });
        // One that is away goes by the policy of its time when it comes back.
        let senders = nodes.senders.iter().filter(|one| !one.session.is_empty());
        let senders =
            senders.map(|one| (one.name.as_str(), one.session.as_str(), one.policy_version));
        let mut standing = Self::default();
        for (name, life, at) in control.chain(senders) {
            let who = Who {
                name: name.to_owned(),
                life: life.to_owned(),
            };
            if at.is_none_or(|at| at < version) {
                standing.behind.insert(who.clone(), at);
            }
            standing.live.insert(who);
        }
        standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_wire::v1::{ControlNode, SenderNode};

    #[test]
    fn who_does_not_go_by_a_version_is_named_with_what_it_goes_by() {
        let control = |address: &str, policy_version| ControlNode {
            address: address.to_owned(),
            policy_version,
            ..ControlNode::default()
        };
        let sender = |name: &str, session: &str, policy_version| SenderNode {
            name: name.to_owned(),
            session: session.to_owned(),
            policy_version,
            ..SenderNode::default()
        };
        let nodes = ListNodesResponse {
            control_nodes: vec![control("c1:7000", Some(7)), control("c2:7000", None)],
            senders: vec![
                sender("s1", "1", Some(8)),
                sender("s2", "2", Some(6)),
                sender("s3", "3", None),
                sender("gone", "", None),
            ],
            policy_version: 8,
        };
        let standing = Standing::of(&nodes, 7);
        assert_eq!(
            list(&standing.behind),
            "c2:7000 (has not said), s2 (version 6), s3 (has not said)"
        );
        assert_eq!(standing.live.len(), 5);
        let alone = ListNodesResponse {
            control_nodes: vec![control("", Some(0))],
            ..ListNodesResponse::default()
        };
        let told = list(&Standing::of(&alone, 1).behind);
        assert_eq!(told, "the control node (version 0)");
        assert!(Standing::of(&alone, 0).behind.is_empty());
    }
}

//! The groups of this node as Raft has them.

use std::fmt;

use openraft::{BasicNode, RaftMetrics};

use super::page::{Labels, Page, group_label};
use crate::Control;
use crate::raft::{Group, GroupCounters};

/// One group at this moment.
struct Seen {
    name: String,
    is_leader: bool,
    now: RaftMetrics<u64, BasicNode>,
    counters: GroupCounters,
}

impl Seen {
    fn of(group: &Group) -> Self {
        Self {
            name: group_label(group.id()),
            is_leader: group.is_leader(),
            now: group.raft().metrics().borrow().clone(),
            counters: group.counters().clone(),
        }
    }

    fn label(&self) -> Labels<'_, 1> {
        [("group", self.name.as_str())]
    }

    fn log_end(&self) -> u64 {
        self.now.last_log_index.unwrap_or(0)
    }

    /// How many entries of the log other members lack, by their address.
    fn lags(&self) -> impl Iterator<Item = (&str, u64)> {
        let replication = self.now.replication.iter().flatten();
        let membership = self.now.membership_config.membership();
        replication.filter_map(|(node, matched)| {
            let address = membership.get_node(node)?.addr.as_str();
            let matched = matched.map_or(0, |id| id.index);
            let is_other = *node != self.now.id;
            is_other.then(|| (address, self.log_end().saturating_sub(matched)))
        })
    }
}

pub fn encode(page: &mut Page<'_>, control: &Control) -> fmt::Result {
    let seen: Vec<Seen> = control.groups.values().map(|one| Seen::of(one)).collect();
    let of = |value: fn(&Seen) -> u64| seen.iter().map(move |one| (one.label(), value(one)));
    page.gauges(
        "skein_raft_is_leader",
        "Whether this node leads the group.",
        of(|one| one.is_leader.into()),
    )?;
    page.gauges(
        "skein_raft_has_leader",
        "Whether this node knows who leads the group.",
        of(|one| one.now.current_leader.is_some().into()),
    )?;
    page.gauges(
        "skein_raft_term",
        "The term that this node is in.",
        of(|one| one.now.current_term),
    )?;
    page.gauges(
        "skein_raft_log_last_index",
        "The last entry that this node has.",
        of(Seen::log_end),
    )?;
    page.gauges(
        "skein_raft_log_applied_index",
        "The last entry that this node has applied.",
        of(|one| one.now.last_applied.map_or(0, |id| id.index)),
    )?;
    page.counters(
        "skein_raft_elections",
        "Elections that this node began.",
        of(|one| one.counters.elections.get()),
    )?;
    page.counters(
        "skein_raft_leader_changes",
        "Times that this node saw another leader than before.",
        of(|one| one.counters.leader_changes.get()),
    )?;
    let led: Vec<&Seen> = seen.iter().filter(|one| one.is_leader).collect();
    encode_led(page, &led)
}

/// What the leader tells.
fn encode_led(page: &mut Page<'_>, led: &[&Seen]) -> fmt::Result {
    page.gauges(
        "skein_raft_voters",
        "Voters of the group.",
        led.iter().map(|one| {
            let voters = one.now.membership_config.membership().voter_ids();
            (one.label(), voters.count() as u64)
        }),
    )?;
    page.gauges(
        "skein_raft_follower_lag_entries",
        "Entries that another member lacks of the leader's log.",
        led.iter().flat_map(|one| {
            let lags = one.lags();
            lags.map(|(follower, lag)| {
                ([("group", one.name.as_str()), ("follower", follower)], lag)
            })
        }),
    )?;
    page.gauges(
        "skein_raft_quorum_ack_age_seconds",
        "Since when no majority has answered the leader.",
        led.iter().filter_map(|one| {
            let age = one.now.millis_since_quorum_ack?;
            Some((one.label(), age as f64 / 1000.0))
        }),
    )?;
    let proposed = || led.iter().filter(|one| one.counters.commands.get() > 0);
    page.histograms(
        "skein_raft_commit_seconds",
        "From a proposal to its commit and apply.",
        proposed().map(|one| (one.label(), one.counters.commit.clone())),
    )?;
    page.counters(
        "skein_raft_commit_commands",
        "Commands of committed proposals.",
        proposed().map(|one| (one.label(), one.counters.commands.get())),
    )
}

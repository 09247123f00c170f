//! The control nodes, and what the asked one knows of them.

use super::{note, problem};
use crate::doctor::Finding;
use crate::doctor::facts::{Facts, Founding};

pub(super) fn view(facts: &Facts) -> Vec<Finding> {
    let told = facts.stale.iter().map(|why| {
        let todo =
            "ask another control node with --server; if all say this, start those that do not run";
        problem("the asked node", why.clone(), todo)
    });
    told.collect()
}

pub(super) fn nodes(facts: &Facts) -> Vec<Finding> {
    if let Some(founding) = &facts.founding {
        return missing(founding);
    }
    let silent = facts.nodes.iter().filter(|(_, node)| node.answer.is_none());
    let silent = silent.map(|(id, node)| {
        let at = &node.address;
        let mut what = match node.silence.as_str() {
            "" => "does not answer".to_owned(),
            why => format!("does not answer: {why}"),
        };
        if let Some(since) = node.stopped_for {
            what = format!("{what}; it said {} s ago that it stops", since.0 / 1000);
        }
        if facts.is_restarting(*id) {
            return note(at, what, "wait: it is being restarted");
        }
        let todo = format!(
            "start skein there; if its disk is lost, with an empty data directory and the same address; if the \
             machine or the pod is gone for good, `skeinctl cluster remove {at}`"
        );
        problem(at, what, todo)
    });
    let invited = facts.invited.iter().map(|at| {
        let todo = format!("start skein there, or take it back: `skeinctl cluster remove {at}`");
        note(at, "may join, and has not yet".to_owned(), todo)
    });
    silent.chain(invited).collect()
}

/// There is no cluster before all founders have met.
fn missing(founding: &Founding) -> Vec<Finding> {
    let missing = founding.missing.iter().map(|peer| {
        let what = match founding.refused.is_empty() {
            true => format!("is missing, so there is no cluster yet: {}", peer.why),
            false => format!("is missing: {}", peer.why),
        };
        let todo = "start skein there; if it runs, compare cluster.listen there with cluster.peers here, and look at \
                    the network between them";
        problem(&peer.address, what, todo)
    });
    let mut found: Vec<Finding> = missing.collect();
    let refused = founding.refused.as_str();
    if !refused.is_empty() {
        let what = format!("is not joined: {refused}");
        let todo = "wait, if another node catches up or is restarted; else do what it says. A node without certificates is let \
                    in by `skeinctl cluster add` with its address, at a member";
        found.insert(0, problem("the cluster", what, todo));
    } else if found.is_empty() {
        let what = "is about to be made: all of cluster.peers answer".to_owned();
        let todo = "if it lasts: cluster.peers must name the same nodes in the same order everywhere, and the first \
                    of them makes the cluster; look at its log";
        found.push(problem("the cluster", what, todo));
    }
    found
}

pub(super) fn versions(facts: &Facts) -> Vec<Finding> {
    let answers = facts.nodes.values().filter_map(|node| node.answer.as_ref());
    let mut versions: Vec<&str> = answers.map(|answer| answer.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    match versions.len() {
        0 | 1 => Vec::new(),
        _ => {
            let what = format!("run {}", versions.join(" and "));
            vec![note(
                "control nodes",
                what,
                "finish the upgrade: a node at a time",
            )]
        }
    }
}

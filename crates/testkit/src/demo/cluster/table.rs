//! The table of nodes.

use super::nodes::CONTROLS;
use super::story::Story;
use crate::demo::screen::bold;
use crate::demo::{rows, total};

/// The table, and the line that stands for it where nothing can be redrawn.
pub fn view(story: &Story) -> (Vec<String>, String) {
    let head = format!(
        "{:<6}{:<10}{:>7}  {:<22}{:>10}{:>11}",
        "node", "state", "slots", "leads", "accepted", "delivered"
    );
    let mut lines = vec![bold(&head)];
    let names: Vec<String> = story.nodes.names().map(str::to_owned).collect();
    let mut slots = Vec::new();
    for (node, name) in names.iter().enumerate() {
        let line = match node < CONTROLS {
            true => control(story, node, name),
            false => {
                slots.push(format!("{name} {}", story.seen.slots(name)));
                sender(story, node - CONTROLS, name)
            }
        };
        lines.push(line);
    }
    let all = total(&rows(&story.world, &story.ledgers));
    let counts = format!(
        "accepted {:>4}   waiting {:>4}   delivered {:>4}   bounced {:>4}",
        all.accepted, all.waiting, all.delivered, all.bounced
    );
    lines.push(counts.clone());
    lines.push(String::new());
    (lines, format!("{counts}   slots: {}", slots.join(", ")))
}

fn control(story: &Story, node: usize, name: &str) -> String {
    let seen = &story.seen.control_nodes;
    let seen = seen
        .iter()
        .find(|seen| story.nodes.at_internal(&seen.address) == Some(node));
    let (state, leads) = match seen {
        _ if !story.nodes.runs(node) => ("killed", "-".to_owned()),
        Some(seen) if !seen.version.is_empty() => ("up", groups(&seen.leads)),
        _ => ("starting", "-".to_owned()),
    };
    format!(
        "{name:<6}{state:<10}{:>7}  {leads:<22}{:>10}{:>11}",
        "-", "-", "-"
    )
}

fn sender(story: &Story, number: usize, name: &str) -> String {
    let seen = story.seen.senders.iter().find(|seen| seen.name == name);
    let state = match seen {
        _ if !story.nodes.runs(CONTROLS + number) => "killed",
        Some(seen) => seen.state.as_str(),
        None => "starting",
    };
    let helo = format!("{name}.skein.test");
    let delivered = story
        .world
        .records()
        .into_iter()
        .filter(|record| record.helo == helo);
    let delivered: usize = delivered.map(|record| record.delivered_to().count()).sum();
    format!(
        "{name:<6}{state:<10}{:>7}  {:<22}{:>10}{delivered:>11}",
        story.seen.slots(name),
        "-",
        story.ledgers[number].accepted()
    )
}

/// Groups by their names: "meta, spool 2".
pub fn groups(led: &[u32]) -> String {
    let (meta, spools): (Vec<u32>, Vec<u32>) = led.iter().partition(|group| **group == 0);
    let spools: Vec<String> = spools.iter().map(u32::to_string).collect();
    let parts = [
        (!meta.is_empty()).then(|| "meta".to_owned()),
        (!spools.is_empty()).then(|| format!("spool {}", spools.join(", "))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join(", "),
    }
}

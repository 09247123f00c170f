//! What happens to the cluster, and what is seen of it meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::{JoinError, JoinHandle};

use super::nodes::{CONTROLS, Nodes};
use super::operator::{Operator, Seen};
use super::table;
use crate::demo::{Ledger, Screen, World};
use crate::oracle::Window;
use crate::unix_ms;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Long enough to see that all is well.
const PAUSE: Duration = Duration::from_secs(5);
/// Promised for a sender that is killed, and half as much again for a busy machine.
const SLOTS_MOVE_WITHIN: Duration = Duration::from_secs(23);
/// Promised for a leader, and a busy machine.
const LED_AGAIN_WITHIN: Duration = Duration::from_secs(20);
const BACK_WITHIN: Duration = Duration::from_secs(60);
const SLOTS: u64 = 1024;
/// Meta, and four spool groups.
const GROUPS: usize = 5;
/// A result is committed this long after the final dot when the machine is busy. What a sender had delivered shortly
/// before it was killed may be delivered again by another.
const REPORTED_WITHIN_MS: u64 = 3_000;
/// The sender that is killed.
const VICTIM: usize = CONTROLS + 1;

pub struct Story {
    pub nodes: Nodes,
    pub world: World,
    pub ledgers: Vec<Arc<Ledger>>,
    pub seen: Seen,
    /// When senders were killed.
    pub windows: Vec<Window>,
    operator: Operator,
    screen: Screen,
    began: Instant,
    /// What happened, with its time.
    told: Vec<String>,
}

impl Story {
    pub fn new(nodes: Nodes, operator: Operator, world: World, ledgers: Vec<Arc<Ledger>>) -> Self {
        Self {
            nodes,
            world,
            ledgers,
            seen: Seen::default(),
            windows: Vec::new(),
            operator,
            screen: Screen::default(),
            began: Instant::now(),
            told: Vec::new(),
        }
    }

    pub async fn start(&mut self) -> Result<()> {
        let all = 0..self.nodes.names().count();
        for node in all.clone() {
            self.nodes.start(node)?;
        }
        for node in all {
            self.nodes.ready(node).await?;
        }
        let is_whole = |story: &Self| story.active_slots() == SLOTS && story.groups_led() == GROUPS;
        ensure!(
            self.wait(BACK_WITHIN, is_whole).await?,
            "no cluster came about"
        );
        self.tell("three control nodes and three senders are at work")
    }

    pub async fn unfold(&mut self) -> Result<()> {
        self.wait(PAUSE, |_| false).await?;
        self.kill_a_sender().await?;
        self.wait(PAUSE, |_| false).await?;
        self.kill_the_leader().await?;
        self.wait(PAUSE, |_| false).await.map(|_| ())
    }

    async fn kill_a_sender(&mut self) -> Result<()> {
        let name = self.name(VICTIM);
        let slots = self.seen.slots(&name);
        let before = self.seen.clone();
        self.nodes.kill(VICTIM)?;
        let (killed, at_ms) = (Instant::now(), unix_ms());
        self.windows.push(Window {
            from_ms: at_ms.saturating_sub(REPORTED_WITHIN_MS),
            to_ms: at_ms,
            // Its copies and those of the others come from one address.
            peer: None,
            cause: format!("kill -9 of {name}"),
        });
        self.tell(&format!("kill -9 of {name}, a sender with {slots} slots"))?;
        let moved = move |story: &Self| {
            story.seen.slots(&story.name(VICTIM)) == 0 && story.active_slots() == SLOTS
        };
        ensure!(
            self.wait(SLOTS_MOVE_WITHIN, moved).await?,
            "the slots of {name} did not move"
        );
        let others = self
            .seen
            .senders
            .iter()
            .filter(|sender| sender.name != name);
        let gains: Vec<String> = others
            .map(|sender| {
                let gain = sender.slots.saturating_sub(before.slots(&sender.name));
                format!("{} (+{gain})", sender.name)
            })
            .collect();
        let after = seconds(killed.elapsed());
        self.tell(&format!(
            "its slots are at {} after {after}",
            gains.join(" and ")
        ))?;

        self.wait(PAUSE, |_| false).await?;
        self.nodes.start(VICTIM)?;
        let started = Instant::now();
        let is_back = |story: &Self| {
            story.seen.slots(&story.name(VICTIM)) > SLOTS / 4 && story.active_slots() == SLOTS
        };
        ensure!(
            self.wait(BACK_WITHIN, is_back).await?,
            "{name} did not come back"
        );
        let slots = self.seen.slots(&name);
        let after = seconds(started.elapsed());
        self.tell(&format!(
            "{name} is started again and has {slots} slots after {after}"
        ))
    }

    async fn kill_the_leader(&mut self) -> Result<()> {
        let leads_meta = self
            .seen
            .control_nodes
            .iter()
            .find(|node| node.leads.contains(&0));
        let victim = leads_meta.context("the meta group has a leader")?;
        let led = table::groups(&victim.leads);
        let victim = self.nodes.at_internal(&victim.address);
        let victim = victim.context("the leader is one of ours")?;
        let name = self.name(victim);
        self.nodes.kill(victim)?;
        let killed = Instant::now();
        self.tell(&format!("kill -9 of {name}, which leads {led}"))?;
        let led_again = move |story: &Self| {
            let led = story.seen.control_nodes.iter();
            let led = led.filter(|node| story.nodes.at_internal(&node.address) != Some(victim));
            led.map(|node| node.leads.len()).sum::<usize>() == GROUPS
        };
        let led = self.wait(LED_AGAIN_WITHIN, led_again).await?;
        ensure!(led, "some group has no leader");
        let after = seconds(killed.elapsed());
        self.tell(&format!("the others lead all groups after {after}"))?;
        let all_accept = move |story: &Self| {
            story
                .ledgers
                .iter()
                .all(|ledger| ledger.first_after(killed).is_some())
        };
        ensure!(
            self.wait(LED_AGAIN_WITHIN, all_accept).await?,
            "no mail is accepted"
        );
        let first = self
            .ledgers
            .iter()
            .filter_map(|ledger| ledger.first_after(killed))
            .max();
        let after = seconds(
            first
                .context("all have accepted since")?
                .duration_since(killed),
        );
        self.tell(&format!(
            "every sender had accepted mail again {after} after the kill"
        ))?;

        self.wait(PAUSE, |_| false).await?;
        self.nodes.start(victim)?;
        let started = Instant::now();
        self.nodes.ready(victim).await?;
        let after = seconds(started.elapsed());
        self.tell(&format!(
            "{name} is started again and a member after {after}"
        ))
    }

    pub fn name(&self, node: usize) -> String {
        self.nodes.names().nth(node).unwrap_or_default().to_owned()
    }

    fn active_slots(&self) -> u64 {
        let active = self
            .seen
            .senders
            .iter()
            .filter(|sender| sender.state == "active");
        active.map(|sender| sender.slots).sum()
    }

    fn groups_led(&self) -> usize {
        self.seen
            .control_nodes
            .iter()
            .map(|node| node.leads.len())
            .sum()
    }

    /// Shows what there is to see until this holds; false if it never did.
    pub async fn wait(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) -> Result<bool> {
        let since = Instant::now();
        loop {
            self.look().await?;
            if holds(self) {
                return Ok(true);
            }
            if since.elapsed() > within {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The same until a task has ended.
    pub async fn meanwhile<T>(
        &mut self,
        task: JoinHandle<T>,
    ) -> Result<std::result::Result<T, JoinError>> {
        while !task.is_finished() {
            self.look().await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(task.await)
    }

    async fn look(&mut self) -> Result<()> {
        self.world
            .wake()
            .await
            .context("starting a late destination")?;
        if let Some((name, log)) = self.nodes.fallen() {
            anyhow::bail!("{name} ended by itself; the end of its log:\n{log}");
        }
        // During an election no node may know; what was seen last stays on the screen.
        if let Ok(seen) = self.operator.look(self.nodes.admins()).await {
            self.seen = seen;
        }
        let (mut lines, line) = table::view(self);
        lines.extend(self.told.iter().cloned());
        self.screen.show(&lines, &line)?;
        Ok(())
    }

    fn tell(&mut self, what: &str) -> Result<()> {
        let line = format!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
        self.screen.note(&line)?;
        self.told.push(line);
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

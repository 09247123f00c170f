//! The cluster on stage: steps are played, each with its beginning and its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use super::ctl::{Leaders, Operator};
use super::history::Happened;
use super::host::{Host, INTERNAL_PORT};
use super::nemesis::{Fault, META, Step};
use super::nodes::Nodes;
use super::pace;
use super::processors::Processors;
use super::world::World;
use super::{ClusterError, Result};
use crate::load::Injected;
use crate::oracle;
use crate::unix_ms;

/// Promise 12: after this long without a fault all is as it should be.
const QUIET_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A fault need not wait longer for a victim.
const ELECTED_WITHIN: Duration = Duration::from_secs(6);
/// Nodes that all start at once share the machine.
const FORMS_WITHIN: Duration = Duration::from_secs(60);

/// Senders hear of it with their next heartbeat.
const POLICY_READ_WITHIN: Duration = Duration::from_secs(4);

pub struct Stage {
    pub nodes: Nodes,
    operator: Operator,
    rng: StdRng,
    history: Vec<Happened>,
    /// Those of the history that have not ended.
    open: BTreeSet<usize>,
    /// Of the processors' time under load before the first fault, in percent.
    idle_percent: Option<u64>,
}

/// A step begins, or the one of this place in the history ends.
#[derive(Debug)]
enum Cue {
    Begin(Step),
    End(usize),
}

impl Stage {
    pub fn new(nodes: Nodes, operator: Operator, rng: StdRng) -> Self {
        Self {
            nodes,
            operator,
            rng,
            history: Vec::new(),
            open: BTreeSet::new(),
            idle_percent: None,
        }
    }

    /// The part of the time under load before the first fault in which the processors had nothing to do.
    pub fn idle_percent(&self) -> Option<u64> {
        self.idle_percent
    }

    pub fn history(&self) -> Vec<Happened> {
        self.history.clone()
    }

    /// All nodes, until the cluster is whole and its senders go by its policy.
    pub async fn start(&mut self) -> Result<()> {
        for host in Host::nodes() {
            self.nodes.start(host)?;
        }
        for host in Host::nodes() {
            self.nodes.ready(host).await?;
        }
        if let Err(unrest) = self.rest(FORMS_WITHIN, || true).await {
            return Err(ClusterError::NotSo(format!("no cluster: {unrest}")));
        }
        let policy = self.nodes.write("policy.yaml", &pace::policy())?;
        let args = ["apply", "-f", &policy.display().to_string()];
        self.operator.run_somewhere(&args).await?;
        for (site, slots) in pace::spreads() {
            let args = ["site", "spread", &site, &slots.to_string()];
            self.operator.run_somewhere(&args).await?;
        }
        sleep(POLICY_READ_WITHIN).await;
        Ok(())
    }

    /// Plays the steps in their order of time, and returns when the last has ended.
    pub async fn play(&mut self, steps: Vec<Step>) -> Result<()> {
        let start = Instant::now();
        let processors = Processors::now();
        let mut cues: Vec<(Duration, Cue)> = Vec::new();
        cues.extend(steps.into_iter().map(|step| (step.at, Cue::Begin(step))));
        let mut result = Ok(());
        loop {
            // The latest is at the end, from where it is cheap to take.
            cues.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            let Some((at, cue)) = cues.pop() else {
                return result;
            };
            if result.is_err() && matches!(cue, Cue::Begin(_)) {
                continue;
            }
            sleep_until(start + at).await;
            if self.history.is_empty() {
                self.idle_percent = Processors::now().idle_percent_since(processors);
            }
            let played = match cue {
                Cue::Begin(step) => self.begin(&step).await.map(|number| {
                    if let Some(number) = number {
                        let end = start.elapsed().max(at + step.lasts);
                        cues.push((end, Cue::End(number)));
                    }
                }),
                Cue::End(number) => self.end(number).await,
            };
            result = result.and(played);
        }
    }

    /// Its number, unless there is no victim for it.
    async fn begin(&mut self, step: &Step) -> Result<Option<usize>> {
        let leaders = self.leaders_of_all().await;
        let ill: Vec<Host> = self.open.iter().map(|n| self.history[*n].victim).collect();
        let Some(victim) = step.who.resolve(&mut self.rng, &leaders, &ill) else {
            return Ok(None);
        };
        let led = leaders.iter().filter(|(_, leader)| **leader == victim);
        let links = match step.fault {
            Fault::Cut(cut) => cut.links(victim, &leaders),
            _ => Vec::new(),
        };
        let number = self.history.len();
        self.history.push(Happened {
            fault: step.fault,
            victim,
            led: led.map(|(group, _)| *group).collect(),
            links: links.clone(),
            swallowed: 0,
            began_ms: unix_ms(),
            ended_ms: 0,
        });
        self.open.insert(number);
        match step.fault {
            Fault::Kill | Fault::Wipe => self.nodes.kill(victim)?,
            Fault::Pause => self.nodes.pause(victim)?,
            Fault::Cut(_) => self.operator.net.cut(&links)?,
            Fault::Restart => {
                self.nodes.stop(victim).await?;
                self.nodes.start(victim)?;
                self.nodes.ready(victim).await?;
            }
            Fault::Drain => self.drain("drain", victim).await?,
            Fault::FillDisk => self.nodes.fill_disk(victim)?,
            Fault::Clock(ahead_s) => self.nodes.set_clock(victim, ahead_s)?,
            Fault::Remove => self.member("remove", victim, &["--yes"]).await?,
        }
        Ok(Some(number))
    }

    async fn end(&mut self, number: usize) -> Result<()> {
        let happened = self.history[number].clone();
        let victim = happened.victim;
        match happened.fault {
            Fault::Kill => self.nodes.start(victim)?,
            Fault::Wipe => {
                self.nodes.wipe(victim)?;
                self.nodes.start(victim)?;
            }
            Fault::Pause => self.nodes.go_on(victim)?,
            Fault::Cut(_) => {
                let swallowed = self.operator.net.heal(&happened.links)?;
                self.history[number].swallowed = swallowed;
            }
            Fault::Restart => {}
            Fault::Drain => self.drain("resume", victim).await?,
            Fault::FillDisk => self.nodes.free_disk(victim)?,
            Fault::Clock(_) => self.nodes.set_clock(victim, 0)?,
            Fault::Remove => {
                self.nodes.ended(victim).await?;
                self.nodes.wipe(victim)?;
                self.member("add", victim, &[]).await?;
                self.nodes.start(victim)?;
            }
        }
        self.history[number].ended_ms = unix_ms();
        self.open.remove(&number);
        Ok(())
    }

    async fn drain(&self, what: &str, sender: Host) -> Result<()> {
        let args = ["node", what, &sender.to_string()];
        self.operator.run_somewhere(&args).await.map(|_| ())
    }

    async fn member(&self, what: &str, control: Host, more: &[&str]) -> Result<()> {
        let address = self.operator.net.addresses.at(control, INTERNAL_PORT);
        let address = address.to_string();
        let args = [&["cluster", what, address.as_str()], more].concat();
        self.operator.run_somewhere(&args).await.map(|_| ())
    }

    /// After an earlier fault a group may still be electing one.
    async fn leaders_of_all(&self) -> Leaders {
        let until = Instant::now() + ELECTED_WITHIN;
        loop {
            let leaders = self.leaders().await;
            if leaders.contains_key(&META) || Instant::now() > until {
                return leaders;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nodes that stand still do not answer, and a caller that waits for them hears of the others late.
    async fn leaders(&self) -> Leaders {
        let ill = self.open.iter().map(|number| &self.history[*number]);
        let ill: Vec<Host> = ill.map(|happened| happened.victim).collect();
        let asked: Vec<Host> = Host::controls()
            .filter(|host| !ill.contains(host))
            .collect();
        self.operator.leaders(&asked).await
    }

    /// After the last fault: how long it took until all was well, or what is not.
    pub async fn until_quiet(
        &mut self,
        injected: &[Injected],
        world: &World,
    ) -> std::result::Result<Duration, String> {
        let is_all_there = || {
            let records: Vec<Arc<_>> = world.records();
            oracle::judge(injected, &records).lost.is_empty()
        };
        self.rest(QUIET_WITHIN, is_all_there).await
    }

    async fn rest(
        &mut self,
        within: Duration,
        is_done: impl Fn() -> bool,
    ) -> std::result::Result<Duration, String> {
        let since = Instant::now();
        loop {
            let unrest = match self.operator.unrest().await {
                Ok(None) if is_done() => return Ok(since.elapsed()),
                Ok(None) => "mail is missing".to_owned(),
                Ok(Some(unrest)) => unrest,
                Err(error) => error.to_string(),
            };
            if since.elapsed() > within {
                return Err(unrest);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

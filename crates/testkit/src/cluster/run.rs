//! One run: the network, the world, the cluster, load with faults, peace again, the judgement.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Result;
use super::ctl::Operator;
use super::host::{Host, SMTP_PORT};
use super::judge::{Seen, judge};
use super::nemesis::{Fault, Step};
use super::net::Net;
use super::nodes::Nodes;
use super::outpost::Outpost;
use super::report::Report;
use super::stage::Stage;
use super::traffic;
use super::world::{SITES, World};
use crate::load::Injector;

/// What to do to a cluster, and what must come of it.
#[derive(Clone)]
pub struct Scenario {
    pub name: &'static str,
    /// Of the load.
    pub lasts: Duration,
    /// Messages.
    pub per_second: f64,
    pub steps: fn(&mut StdRng, Duration) -> Vec<Step>,
    /// Faults by what they are called, such as "kill -9 of a sender", without which the run proves nothing.
    pub requires: &'static [&'static str],
    pub may_duplicate: bool,
    /// Of the disk of each control node, when they are small ones of their own.
    pub disk_bytes: Option<u64>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub skein: PathBuf,
    pub skeinctl: PathBuf,
    /// An older build that each node runs when it first starts, so that a rolling restart is a rolling upgrade.
    pub before: Option<PathBuf>,
}

/// Runs a scenario with all that its seed draws.
pub fn run(scenario: &Scenario, seed: u64, binaries: &Binaries) -> Report {
    let mut report = Report::new(format!(
        "{}, repeated by SKEIN_FAULTS_SEED={seed}",
        scenario.name
    ));
    if let Err(error) = try_run(scenario, seed, binaries, &mut report) {
        let mut causes = format!("{error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            causes += &format!(": {source}");
            cause = source.source();
        }
        report.problem(causes);
    }
    report
}

fn try_run(scenario: &Scenario, seed: u64, binaries: &Binaries, report: &mut Report) -> Result<()> {
    let (net, why_not) = Net::make(SITES);
    let net = Arc::new(net);
    report.row(
        "network",
        match &why_not {
            None => "a namespace for each host".to_owned(),
            Some(why) => format!("loopback, no links are cut: {why}"),
        },
    );
    let sinks = Outpost::start(net.namespace(Host::Sinks))?;
    let world = sinks.block_on(World::start(net.addresses))?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut steps = (scenario.steps)(&mut rng, scenario.lasts);
    steps.retain(|step| net.can_cut() || !matches!(step.fault, Fault::Cut(_)));
    let has_clocks = steps
        .iter()
        .any(|step| matches!(step.fault, Fault::Clock(_)));
    let nodes = Nodes::new(net.clone(), binaries, scenario.disk_bytes, has_clocks)?;
    let operator = Operator {
        binary: binaries.skeinctl.clone(),
        net: net.clone(),
        identity: nodes.identity(Host::Clients),
    };
    let clients = Outpost::start(net.namespace(Host::Clients))?;
    let director = Outpost::start(net.namespace(Host::Clients))?;
    let targets = Host::senders().map(|host| net.addresses.at(host, SMTP_PORT));
    let config = traffic::config(targets.collect(), scenario.per_second);
    let plan = traffic::plan(&mut rng, scenario.per_second, scenario.lasts);
    let seen = director.block_on(async move {
        let mut stage = Stage::new(nodes, operator, rng);
        stage.start().await?;
        let load = clients.spawn(Injector::new(config).run_plan(plan));
        let broken = stage.play(steps).await;
        let injected = load.await.expect("the injector does not panic");
        let quiet = stage.until_quiet(&injected, &world).await;
        let seen = Seen {
            records: world.records(),
            visits: world.visits(),
            injected,
            history: stage.history(),
            idle_percent: stage.idle_percent(),
            quiet,
            dead: stage.nodes.dead(),
            log_bytes: stage.nodes.longest_log(),
        };
        broken?;
        Ok((seen, stage.nodes))
    });
    let (seen, nodes) = seen?;
    judge(scenario, &seen, &net, report);
    if !report.problems.is_empty() {
        let logs = nodes.keep_logs();
        report.row("logs", logs.display().to_string());
    }
    Ok(())
}

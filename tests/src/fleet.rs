//! Control nodes and senders of one cluster on loopback, each a process of its own, and a name server.

mod files;
mod member;
mod plan;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use skein_testkit::dns::FakeDns;
use skein_testkit::process::free_port;
use skein_testkit::sink::{Sink, SinkConfig};
use tempfile::TempDir;

use crate::operator;

pub use member::Member;
pub use plan::Plan;

const LOOK: Duration = Duration::from_millis(100);
/// Each question is a process of its own.
const ASK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Fleet {
    pub dns: FakeDns,
    /// Of all hosts.
    pub port: u16,
    /// `c1` and so on.
    pub control: Vec<Member>,
    /// `s1` and so on.
    pub senders: Vec<Member>,
    pub folder: TempDir,
    plan: Plan,
    /// The section with the certificates of all nodes, or nothing.
    tls: String,
}

impl Fleet {
    /// Founds a cluster, and waits until all that start at first are ready: control nodes, then senders.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(plan: Plan) -> Result<Self> {
        let mut fleet = Self::configured(plan).await?;
        start(&mut fleet.control).await?;
        let first = fleet.plan.first.unwrap_or(fleet.plan.senders);
        fleet.join(0..first).await?;
        Ok(fleet)
    }

    /// Starts the first control node as a node that is alone and does everything, and no other. Its file as one of the
    /// cluster is written by [`Fleet::configure_control`].
    ///
    /// # Errors
    /// It does not start.
    pub async fn alone(plan: Plan) -> Result<Self> {
        let mut fleet = Self::configured(plan).await?;
        fleet.configure_alone(0)?;
        fleet.control[0].start().await?;
        Ok(fleet)
    }

    /// Writes the file of a control node as a node that is alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure_alone(&self, nth: usize) -> Result<()> {
        let member = &self.control[nth];
        member.configure(&self.alone_file(member))
    }

    /// Writes the file of a control node as one of the cluster.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn configure_control(&self, nth: usize) -> Result<()> {
        let member = &self.control[nth];
        member.configure(&self.control_file(member, self.plan.control))
    }

    /// Places, certificates and files of all, of whom none runs.
    async fn configured(plan: Plan) -> Result<Self> {
        let folder = TempDir::new()?;
        let members = |kind: char, count: usize| -> Result<Vec<Member>> {
            let names = (1..=count).map(|n| format!("{kind}{n}"));
            names
                .map(|name| Member::new(folder.path(), &name))
                .collect()
        };
        let (control, senders) = (members('c', plan.control)?, members('s', plan.senders)?);
        let tls = match plan.has_certificates {
            true => files::certificates(folder.path(), &plan.tls)?,
            false => String::new(),
        };
        let fleet = Self {
            dns: FakeDns::start(SocketAddr::from(([127, 0, 0, 1], 0))).await?,
            port: free_port()?,
            control,
            senders,
            folder,
            plan,
            tls,
        };
        for nth in 0..fleet.control.len() {
            fleet.configure_control(nth)?;
        }
        for nth in 0..fleet.senders.len() {
            fleet.senders[nth].configure(&fleet.sender_file(nth)?)?;
        }
        Ok(fleet)
    }

    /// Starts these senders together.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn join(&mut self, senders: Range<usize>) -> Result<()> {
        start(&mut self.senders[senders]).await
    }

    /// Another control node, which is not started.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn further_control(&mut self) -> Result<&Member> {
        let name = format!("c{}", self.control.len() + 1);
        let member = Member::new(self.folder.path(), &name)?;
        member.configure(&self.control_file(&member, 0))?;
        self.control.push(member);
        self.control.last().context("it was just added")
    }

    /// A sink at `127.0.0.<last>`, at the host of this name, to which the mail of these domains goes.
    ///
    /// # Errors
    /// Its address is taken.
    pub async fn sink(&self, last: u8, host: &str, domains: &[&str]) -> Result<Sink> {
        let address = IpAddr::from([127, 0, 0, last]);
        self.dns.host(host, address);
        for domain in domains {
            self.dns.mx(domain, 10, host);
        }
        Ok(Sink::start(SinkConfig::at(SocketAddr::new(address, self.port))).await?)
    }

    /// The first control node that runs.
    fn admin(&self) -> Result<SocketAddr> {
        let running = self.control.iter().find(|one| one.node.is_some());
        Ok(running.context("no control node runs")?.admin)
    }

    /// Runs `skeinctl` against one control node.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn try_skeinctl(&self, nth: usize, args: &[&str]) -> Result<Output> {
        operator::try_skeinctl(self.control[nth].admin, args)
    }

    /// What `skeinctl` prints.
    ///
    /// # Errors
    /// It fails; with what it says.
    pub fn skeinctl(&self, args: &[&str]) -> Result<String> {
        operator::skeinctl(self.admin()?, args)
    }

    /// What `skeinctl --json` says.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn ask(&self, args: &[&str]) -> Result<Value> {
        let said = self.skeinctl(&[args, &["--json"]].concat())?;
        Ok(serde_json::from_str(&said)?)
    }

    /// What `skeinctl --json` says of one control node, also where it ends with an error because of that.
    ///
    /// # Errors
    /// It prints nothing, or something else.
    pub fn ask_at(&self, nth: usize, args: &[&str]) -> Result<Value> {
        let output = self.try_skeinctl(nth, &[args, &["--json"]].concat())?;
        if output.stdout.is_empty() {
            bail!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Asks one control node until the answer is as it should be.
    ///
    /// # Errors
    /// It is not in time; with the last answer.
    pub async fn answers(
        &self,
        nth: usize,
        args: &[&str],
        within: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = None;
        let look = || {
            let answer = last.insert(self.ask_at(nth, args)).as_ref();
            answer.ok().filter(|answer| is_so(answer)).cloned()
        };
        let found = crate::until("the answer", within, ASK, look).await;
        found.with_context(|| format!("{args:?} still answers {last:#?}"))
    }

    /// Applies policy as an operator does.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&self, policy: &str) -> Result<()> {
        operator::apply(self.admin()?, self.folder.path(), policy)
    }

    /// What happened so far, of all control nodes, each oldest first.
    ///
    /// # Errors
    /// A line is no JSON.
    pub fn events(&self) -> Result<Vec<Value>> {
        let files = self
            .control
            .iter()
            .map(|one| one.data_dir.join("events.jsonl"));
        let events: Result<Vec<_>> = files.map(|file| operator::events(&file)).collect();
        Ok(events?.concat())
    }

    /// The control node that leads the meta group.
    ///
    /// # Errors
    /// None does.
    pub fn meta_leader(&self) -> Result<usize> {
        let running = self.control.iter().position(|one| one.node.is_some());
        let running = running.context("no control node runs")?;
        let status = self.ask_at(running, &["cluster", "status"])?;
        let address = leader_of(&status, 0).context("no leader")?;
        let mut control = self.control.iter();
        let leader = control.position(|one| one.address.to_string() == address);
        leader.context("a leader of another cluster")
    }

    /// Has the last control node report that it reads commands of an earlier version, as during an upgrade. The others begin anew: they
    /// remember what all have reported.
    ///
    /// # Errors
    /// A node does not end or start in time.
    pub async fn make_last_older(&mut self, version: u32) -> Result<()> {
        let version = version.to_string();
        let older = self.control.last_mut().context("no control node")?;
        older.stop().await?;
        older.spawn_with(&[("SKEIN_WIRE_VERSION", version.as_str())])?;
        older.ready().await?;
        let others = self.control.len() - 1;
        for one in &mut self.control[..others] {
            one.stop().await?;
            one.start().await?;
        }
        Ok(())
    }

    /// Ends the upgrade.
    ///
    /// # Errors
    /// The node does not end or start in time.
    pub async fn upgrade_last(&mut self) -> Result<()> {
        let older = self.control.last_mut().context("no control node")?;
        older.stop().await?;
        older.start().await
    }

    /// Looks until there is something.
    ///
    /// # Errors
    /// There is nothing in time.
    pub async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        crate::until(what, within, LOOK, || look(self)).await
    }
}

/// Starts them together, and waits until all are ready.
async fn start(members: &mut [Member]) -> Result<()> {
    for member in &mut *members {
        member.spawn()?;
    }
    for member in members {
        member.ready().await?;
    }
    Ok(())
}

/// The address of the control node that leads a group, as `skeinctl cluster status --json` has it.
pub fn leader_of(status: &Value, group: u64) -> Option<&str> {
    let leads = |node: &&Value| {
        let groups = node["groups"].as_array().into_iter().flatten();
        let mut led = groups.filter(|one| one["role"] == "leader");
        led.any(|one| one["group"] == group)
    };
    let leader = status["nodes"].as_array()?.iter().find(leads)?;
    leader["address"].as_str()
}

//! No input ends a group: whatever is said to any service of a control node, its groups live, and mail goes on.

mod proto;
mod raw;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use skein_testkit::load::Probe;
use skein_testkit::process::http_get;
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::fleet::{Fleet, Member, Plan};
use skein_tests::{loopback, operator};
use tonic::transport::{Channel, Endpoint};

use self::proto::{Call, Protos};
use self::values::{Truth, Values};

/// Calls of one run, and those that are under way at once.
const CALLS: usize = 50_000;
/// Three nodes answer four times as slowly: most calls wait for a majority.
const CALLS_OF_THREE: usize = 15_000;
const AT_ONCE: usize = 48;
/// Of calls that look at the whole cluster, or wait for something by their nature, one in so many is made.
const SLOW: [&str; 9] = [
    "Examine",
    "GetCluster",
    "ListNodes",
    "Explain",
    "ExplainLimits",
    "MoveLeader",
    "Watch",
    "Create",
    "Join",
];
const SLOW_ONE_IN: usize = 40;
const DEAD_AFTER: Duration = Duration::from_secs(30);

fn protos() -> Protos {
    let folder = skein_tests::manifest_dir().join("../proto");
    Protos::read(&folder).unwrap()
}

#[test]
fn all_services_are_found_in_the_protobuf_files() {
    let protos = protos();
    let mut services: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &protos.calls {
        *services.entry(&call.service).or_default() += 1;
        assert!(protos.fields(&call.request).is_some(), "{call:?}");
    }
    let names: Vec<&str> = services.keys().copied().collect();
    assert_eq!(names, ["Admin", "Backup", "Peer", "Sessions", "Spool"]);
    assert!(services["Admin"] >= 33, "{services:?}");
    assert!(services["Peer"] >= 10, "{services:?}");
    let streams = protos.calls.iter().filter(|call| call.is_stream).count();
    assert_eq!(streams, 4, "Ingest, Work, InstallSnapshot and Restore");
}

/// A cluster whose peer services others reach, with one sender.
struct Target {
    fleet: Fleet,
    sink: Sink,
}

impl Target {
    async fn start(control: usize) -> Result<Self> {
        let sink = Sink::start(SinkConfig::at(loopback()?)).await?;
        let plan = Plan {
            control,
            spool_groups: Some(2),
            smarthost: Some(sink.address()),
            ..Plan::default()
        };
        let fleet = Fleet::start(plan).await?;
        Ok(Self { fleet, sink })
    }

    fn truth(&self, messages: Vec<String>) -> Result<Truth> {
        let nodes = self.fleet.ask(&["node", "list"])?;
        let number = |value: &serde_json::Value| {
            let text = value.as_str().unwrap_or_default().to_owned();
            u64::from_str_radix(&text, 16).unwrap_or(0)
        };
        let sender = &nodes["senders"][0];
        let address = self.expendable().address.to_string();
        let mut control = nodes["control_nodes"].as_array().into_iter().flatten();
        let node = control.find(|node| node["address"] == address.as_str());
        let node = node.context("a control node that is not listed")?;
        Ok(Truth {
            node: number(&node["node_id"]),
            address,
            sender: sender["name"].as_str().unwrap_or_default().to_owned(),
            session: number(&sender["session"]),
            messages,
            spool_groups: 2,
        })
    }

    /// Hands a message in, and returns its id.
    async fn accept(&self, to: &str) -> Result<String> {
        let (mut probe, _) = Probe::greet(self.fleet.senders[0].smtp).await?;
        let mut last = String::new();
        let recipient = format!("RCPT TO:<{to}>");
        for line in [
            "EHLO c",
            "MAIL FROM:<a@b.test>",
            &recipient,
            "DATA",
            "X: y\r\n\r\nhello\r\n.",
        ] {
            let reply = probe.cmd(line).await?;
            ensure!(reply.positive(), "{line}: {reply:?}");
            last = reply.text();
        }
        let id = last.split_whitespace().last().unwrap_or_default();
        Ok(id.trim_end_matches(['"', ')', ']']).to_owned())
    }

    /// The last control node, of which calls know the id and the address: one of three may be removed with good right, and
    /// stops then.
    fn expendable(&self) -> &Member {
        &self.fleet.control[self.fleet.control.len() - 1]
    }

    /// Those that stay, whatever is called.
    fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        let Fleet {
            control, senders, ..
        } = &mut self.fleet;
        let stay = majority(control);
        control.iter_mut().take(stay).chain(senders)
    }

    /// No process has ended.
    fn runs(&mut self, when: &str) -> Result<()> {
        for member in self.members() {
            let node = member.node.as_mut().context("it does not run")?;
            ensure!(
                node.running(),
                "{when}: the process of {} has ended: {}",
                member.name,
                node.log_end()
            );
        }
        Ok(())
    }

    /// Every group has a leader and says so, and a message arrives.
    async fn lives(&mut self, when: &str) -> Result<()> {
        self.runs(when)?;
        for member in self.members() {
            let (status, text) = http_get(member.http, "/healthz").await?;
            ensure!(status == 200, "{when}: {}: {text}", member.name);
            member.ready().await.context(when.to_owned())?;
        }
        let to = format!("{}@d2.test", when.replace(' ', "-"));
        // Slots may be on their way, and the sender with them.
        self.accept(&to).await?;
        let arrived = || {
            let records = self.sink.records();
            let mut delivered = records.iter().flat_map(|record| record.delivered_to());
            delivered.any(|recipient| recipient == to).then_some(())
        };
        let look = Duration::from_millis(100);
        let arrived = skein_tests::until("the message", Duration::from_secs(60), look, arrived);
        arrived.await.with_context(|| {
            let logs = self.fleet.senders.iter().chain(&self.fleet.control);
            let logs = logs.filter_map(|one| Some(one.node.as_ref()?.log_end()));
            let logs: String = logs.collect();
            format!("{when}\n{}{logs}", why(self.fleet.control[0].admin))
        })
    }

    /// All processes end as they are told to, and are started again.
    async fn start_again(&mut self) -> Result<()> {
        for member in self.members() {
            let mut node = member.node.take().context("it does not run")?;
            node.term()?;
            node.wait(Duration::from_secs(60)).await?;
        }
        for member in self.members() {
            member.spawn()?;
        }
        for member in self.members() {
            member.ready().await?;
        }
        Ok(())
    }

    /// Completes when the meta group has committed nothing for so long that no election and no queue of calls explains it.
    async fn is_dead(&self) -> Result<()> {
        let path = "/skein.v1.Admin/SetTenant";
        // The tenant "probe", and a weight of 2.
        let set = Bytes::from_static(b"\x0a\x05probe\x10\x02");
        let channels = self.fleet.control.iter().map(|one| channel(one.admin));
        let channels: Vec<Channel> = channels.collect::<Result<_>>()?;
        let mut alive = tokio::time::Instant::now();
        let mut nodes = channels.iter().cycle();
        while alive.elapsed() < DEAD_AFTER {
            let admin = nodes.next().context("no control node")?;
            if raw::call(admin.clone(), path, vec![set.clone()])
                .await
                .is_ok()
            {
                alive = tokio::time::Instant::now();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    /// Takes back what the calls may have ordered with good right.
    async fn set_right(&self, truth: &Truth) -> Result<()> {
        let address = self.fleet.control[0].admin;
        let ask = |args: &[&str]| operator::try_skeinctl(address, args);
        ask(&["node", "resume", &truth.sender])?;
        ask(&["resume", "--all"])?;
        let admin = channel(address)?;
        let path = "/skein.v1.Admin/ListSuspensions";
        let listed = raw::call(admin.clone(), path, vec![Bytes::new()]).await?;
        // Of each, the first field is its selector, as it is of a request to resume.
        for suspension in raw::fields(&listed, 1) {
            let mut request = raw::fields(&suspension, 1);
            let selector = request.pop().unwrap_or_default();
            let path = "/skein.v1.Admin/Resume";
            // It may have ended by itself meanwhile.
            let _ = raw::call(admin.clone(), path, vec![raw::field(1, &selector)]).await;
        }
        Ok(())
    }
}

/// So many control nodes stay, the first ones.
fn majority(control: &[Member]) -> usize {
    control.len() / 2 + 1
}

/// The answers that tell an operator why mail waits.
fn why(admin: SocketAddr) -> String {
    let looks: [&[&str]; 4] = [
        &["explain", "domain", "d2.test"],
        &["doctor"],
        &["node", "list"],
        &["suspend"],
    ];
    let looks = looks.map(|args| {
        let said = operator::try_skeinctl(admin, args);
        let said = said.map_or_else(
            |error| error.to_string(),
            |output| {
                let texts = [&output.stdout, &output.stderr];
                texts.map(|text| String::from_utf8_lossy(text)).concat()
            },
        );
        format!("{}:\n{said}\n", args.join(" "))
    });
    looks.concat()
}

/// The numbers of calls, by path and code.
type Counts = Mutex<BTreeMap<String, BTreeMap<String, usize>>>;

async fn call_at_random(
    target: &Target,
    protos: &Protos,
    truth: &Truth,
    (calls, seed): (usize, u64),
) -> Result<BTreeMap<String, BTreeMap<String, usize>>> {
    let (made, counts) = (AtomicUsize::new(0), Counts::default());
    let lanes = (0..AT_ONCE).map(|lane| {
        let (made, counts) = (&made, &counts);
        async move {
            let random = StdRng::seed_from_u64(seed.wrapping_mul(AT_ONCE as u64) + lane as u64);
            let mut values = Values {
                protos,
                truth,
                random,
            };
            let control = &target.fleet.control;
            let node = &control[lane % majority(control)];
            let (admin, peer) = (channel(node.admin)?, channel(node.address)?);
            let mut turn = lane * 7;
            while made.fetch_add(1, Ordering::Relaxed) < calls {
                turn += 1;
                let call = &protos.calls[turn % protos.calls.len()];
                let method = call.path.rsplit('/').next().unwrap_or_default();
                let turns = turn / protos.calls.len();
                if SLOW.contains(&method) && !turns.is_multiple_of(SLOW_ONE_IN) {
                    made.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let to = match call.service.as_str() {
                    "Admin" | "Backup" => &admin,
                    _ => &peer,
                };
                let code = one(&mut values, to, call).await;
                let mut counts = counts.lock().unwrap();
                let codes = counts.entry(call.path.clone()).or_default();
                *codes.entry(code).or_default() += 1;
            }
            anyhow::Ok(())
        }
    });
    for lane in futures::future::join_all(lanes).await {
        lane?;
    }
    Ok(counts.into_inner().unwrap())
}

async fn one(values: &mut Values<'_>, to: &Channel, call: &Call) -> String {
    let requests = values.requests(&call.request, call.is_stream);
    match raw::call(to.clone(), &call.path, requests).await {
        Ok(_) => "ok".to_owned(),
        Err(status) => format!("{:?}", status.code()),
    }
}

fn channel(address: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
}

/// Other values than usual, with `SKEIN_SEED`.
fn seed() -> u64 {
    let told = std::env::var("SKEIN_SEED").ok();
    told.map_or(0, |seed| seed.parse().unwrap())
}

async fn leave_alive(control: usize, calls: usize) {
    let _alone = crate::alone().await;
    let protos = protos();
    let mut target = Target::start(control).await.unwrap();
    let messages = [
        target.accept("c@d1.test").await,
        target.accept("d@d1.test").await,
    ];
    let messages = messages.into_iter().collect::<Result<_>>().unwrap();
    let truth = target.truth(messages).unwrap();
    let (seed, begun) = (seed(), std::time::Instant::now());
    let counts = tokio::select! {
        counts = call_at_random(&target, &protos, &truth, (calls, seed)) => counts.unwrap(),
        looked = target.is_dead() => panic!("seed {seed}: the meta group commits nothing any more: {looked:?}"),
    };
    let made: usize = counts.values().flat_map(BTreeMap::values).sum();
    for (path, codes) in &counts {
        println!("{path}: {codes:?}");
    }
    println!("{made} calls in {:.1?}, seed {seed}", begun.elapsed());
    assert_eq!(counts.len(), protos.calls.len(), "every call was made");
    assert!(made >= calls);
    target.runs("after the calls").unwrap();
    target.set_right(&truth).await.unwrap();
    target.lives("after the calls").await.unwrap();
    target.start_again().await.unwrap();
    target.lives("after a restart").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn any_calls_leave_all_groups_of_one_node_alive() {
    leave_alive(1, CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_calls_leave_all_groups_of_three_nodes_alive() {
    leave_alive(3, CALLS_OF_THREE).await;
}

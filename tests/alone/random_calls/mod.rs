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
use skein_testkit::load::{Injected, Injector, InjectorConfig, Probe};
use skein_testkit::process::{Node, http_get};
use skein_tests::{Bench, Extra, loopback, operator};
use tonic::transport::{Channel, Endpoint};

use self::proto::{Call, Protos};
use self::values::{Truth, Values};

/// Calls of one run, and those that are under way at once.
const CALLS: usize = 50_000;
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

/// A cluster of one, whose peer services others reach.
struct Target {
    bench: Bench,
    cluster: String,
    node: Option<Node>,
}

impl Target {
    async fn start() -> Result<Self> {
        let cluster = loopback()?.to_string();
        let section = format!(
            "[cluster]\nlisten = \"{cluster}\"\npeers = [\"{cluster}\"]\nspool_groups = 2\n"
        );
        let bench = Bench::with(|_| {
            Ok(Extra {
                sections: section,
                ..Extra::default()
            })
        });
        let bench = bench.await?;
        let node = Some(bench.start().await?);
        Ok(Self {
            bench,
            cluster,
            node,
        })
    }

    async fn truth(&self) -> Result<Truth> {
        let nodes = operator::skeinctl(self.bench.admin, &["node", "list", "--json"])?;
        let nodes: serde_json::Value = serde_json::from_str(&nodes)?;
        let number = |value: &serde_json::Value| {
            let text = value.as_str().unwrap_or_default().to_owned();
            u64::from_str_radix(&text, 16).unwrap_or(0)
        };
        let sender = &nodes["senders"][0];
        Ok(Truth {
            node: number(&nodes["control_nodes"][0]["node_id"]),
            address: self.cluster.clone(),
            sender: sender["name"].as_str().unwrap_or_default().to_owned(),
            session: number(&sender["session"]),
            messages: vec![self.accept().await?, self.accept().await?],
            spool_groups: 2,
        })
    }

    /// Hands a message in, and returns its id.
    async fn accept(&self) -> Result<String> {
        let (mut probe, _) = Probe::greet(self.bench.smtp).await?;
        let mut last = String::new();
        for line in [
            "EHLO c",
            "MAIL FROM:<a@b.test>",
            "RCPT TO:<c@d1.test>",
            "DATA",
            "X: y\r\n\r\nhello\r\n.",
        ] {
            last = probe.cmd(line).await?.text();
        }
        let id = last.split_whitespace().last().unwrap_or_default();
        Ok(id.trim_end_matches(['"', ')', ']']).to_owned())
    }

    /// Every group has a leader and says so, and a message arrives.
    async fn lives(&mut self, when: &str) -> Result<()> {
        let node = self.node.as_mut().context("it does not run")?;
        ensure!(
            node.running(),
            "{when}: the process has ended: {}",
            node.log_end()
        );
        let (status, text) = http_get(self.bench.http, "/healthz").await?;
        ensure!(status == 200, "{when}: {text}");
        node.ready(Duration::from_secs(40))
            .await
            .context(when.to_owned())?;
        let injector = Injector::new(InjectorConfig::to(self.bench.smtp));
        let message = Injected::generated(when, "a@b.test", vec!["c@d2.test".into()], 300);
        // Slots may be on their way, and the sender with them.
        let injected = injector.offer(vec![message]).await;
        ensure!(injected[0].acked(), "{when}: {injected:?}");
        let verdict = self.bench.settle(&injected, Duration::from_secs(60)).await;
        // What arrived before is nobody's here.
        ensure!(
            verdict.lost.is_empty(),
            "{when}: {}\n{}{}",
            verdict.summary(),
            why(self.bench.admin),
            node.log_end()
        );
        Ok(())
    }

    /// Completes when the meta group has committed nothing for so long that no election and no queue of calls explains it.
    async fn is_dead(&self) -> Result<()> {
        let admin = channel(&self.bench.admin.to_string())?;
        let path = "/skein.v1.Admin/SetTenant";
        // The tenant "probe", and a weight of 2.
        let set = Bytes::from_static(b"\x0a\x05probe\x10\x02");
        let mut alive = tokio::time::Instant::now();
        while alive.elapsed() < DEAD_AFTER {
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
        let ask = |args: &[&str]| operator::try_skeinctl(self.bench.admin, args);
        ask(&["node", "resume", &truth.sender])?;
        ask(&["resume", "--all"])?;
        let admin = channel(&self.bench.admin.to_string())?;
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

/// What an operator would look at.
fn why(admin: SocketAddr) -> String {
    let looks: [&[&str]; 4] = [
        &["explain", "domain", "d2.test"],
        &["doctor"],
        &["node", "list"],
        &["suspend", "list"],
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

/// What came of the calls, by their paths and codes.
type Counts = Mutex<BTreeMap<String, BTreeMap<String, usize>>>;

async fn call_at_random(
    target: &Target,
    protos: &Protos,
    truth: &Truth,
    calls: usize,
) -> Result<BTreeMap<String, BTreeMap<String, usize>>> {
    let (made, counts) = (AtomicUsize::new(0), Counts::default());
    let lanes = (0..AT_ONCE).map(|lane| {
        let (made, counts) = (&made, &counts);
        async move {
            let random = StdRng::seed_from_u64(lane as u64);
            let mut values = Values {
                protos,
                truth,
                random,
            };
            let admin = channel(&target.bench.admin.to_string())?;
            let peer = channel(&target.cluster)?;
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

fn channel(address: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_calls_leave_all_groups_alive() {
    let _alone = crate::alone().await;
    let protos = protos();
    let mut target = Target::start().await.unwrap();
    let truth = target.truth().await.unwrap();
    let begun = std::time::Instant::now();
    let counts = tokio::select! {
        counts = call_at_random(&target, &protos, &truth, CALLS) => counts.unwrap(),
        looked = target.is_dead() => panic!("the meta group commits nothing any more: {looked:?}"),
    };
    let made: usize = counts.values().flat_map(BTreeMap::values).sum();
    for (path, codes) in &counts {
        println!("{path}: {codes:?}");
    }
    println!("{made} calls in {:.1?}", begun.elapsed());
    assert_eq!(counts.len(), protos.calls.len(), "every call was made");
    assert!(made >= CALLS);
    target.set_right(&truth).await.unwrap();
    target.lives("after the calls").await.unwrap();
    let mut node = target.node.take().unwrap();
    node.term().unwrap();
    node.wait(Duration::from_secs(60)).await.unwrap();
    target.node = Some(target.bench.start().await.unwrap());
    target.lives("after a restart").await.unwrap();
}

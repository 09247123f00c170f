//! A node that is alone becomes a cluster with all of its mail, and what is left of a cluster a node that is alone.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::settle;

const STATUS: &[&str] = &["cluster", "status"];
/// Elections, and catching up with a queue, on a busy machine.
const SETTLES: Duration = Duration::from_secs(180);
const HELD: &[&str] = &["--domain", "held.test"];

/// A node that is alone, whose mail goes to the sink, and places for the others.
async fn alone(control: usize, senders: usize) -> (Fleet, Sink) {
    let sink = SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let sink = Sink::start(sink).await.unwrap();
    let plan = Plan {
        control,
        senders,
        smarthost: Some(sink.address()),
        ..Plan::default()
    };
    (Fleet::alone(plan).await.unwrap(), sink)
}

/// So many messages wait in the queue of the first node.
async fn hold(fleet: &Fleet, messages: usize) -> Vec<Injected> {
    hold_at(fleet, fleet.control[0].smtp, messages).await
}

/// So many messages wait that were handed in there.
async fn hold_at(fleet: &Fleet, smtp: SocketAddr, messages: usize) -> Vec<Injected> {
    let hold = [
        &["suspend"],
        HELD,
        &["--for", "1h", "--why", "until it has grown"],
    ];
    fleet.skeinctl(&hold.concat()).unwrap();
    let config = InjectorConfig {
        connections: 20,
        messages_per_connection: messages / 20,
        domains: vec!["held.test".to_owned()],
        prefix: "held".to_owned(),
        ..InjectorConfig::to(smtp)
    };
    let held = Injector::new(config).run().await;
    assert!(held.iter().all(Injected::acked));
    held
}

fn release(fleet: &Fleet) {
    fleet.skeinctl(&[&["resume"], HELD].concat()).unwrap();
}

/// The first node starts again as one of a cluster, and the others join it.
async fn grow(fleet: &mut Fleet) {
    fleet.control[0].stop().await.unwrap();
    fleet.configure_control(0).unwrap();
    fleet.control[0].start().await.unwrap();
    for nth in 1..fleet.control.len() {
        fleet.control[nth].spawn().unwrap();
        let address = fleet.control[nth].address.to_string();
        let added = fleet
            .try_skeinctl(0, &["cluster", "add", &address])
            .unwrap();
        let said = String::from_utf8_lossy(&added.stderr).into_owned();
        assert!(added.status.success(), "{said}");
    }
    fleet.join(0..fleet.senders.len()).await.unwrap();
    let nodes = fleet.control.len();
    let all_vote =
        |status: &Value| voters(status).iter().filter(|votes| **votes == 2).count() == nodes;
    // Without a sender it is not well, whoever votes.
    let has_senders = !fleet.senders.is_empty();
    let grown = fleet.answers(0, STATUS, SETTLES, |status| {
        all_vote(status) && (status["verdict"] == "healthy" || !has_senders)
    });
    grown.await.unwrap();
}

/// In how many groups each node votes.
fn voters(status: &Value) -> Vec<usize> {
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let votes = |node: &Value| {
        let groups = node["groups"].as_array().into_iter().flatten();
        groups
            .filter(|one| one["role"] == "leader" || one["role"] == "voter")
            .count()
    };
    nodes.map(votes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_long_queue_becomes_a_cluster_under_load_which_then_loses_it() {
    let (mut fleet, sink) = alone(3, 2).await;
    let held = hold(&fleet, 10_000).await;
    let targets = fleet.control[..1].iter().chain(&fleet.senders);
    let config = InjectorConfig {
        messages_per_connection: 500,
        rate: Some(40.0),
        prefix: "load".to_owned(),
        ..InjectorConfig::to_all(targets.map(|member| member.smtp).collect())
    };
    let load = tokio::spawn(Injector::new(config).run());
    grow(&mut fleet).await;
    fleet.control[0].kill().unwrap();
    std::fs::remove_dir_all(&fleet.control[0].data_dir).unwrap();
    release(&fleet);
    let load = load.await.unwrap();
    let acked = load.iter().filter(|message| message.acked()).count();
    assert!(acked > load.len() / 2, "{acked} of {}", load.len());
    let injected = [held, load].concat();
    let verdict = settle(&sink, &injected, SETTLES).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_cluster_goes_on_alone() {
    let (mut fleet, sink) = alone(2, 0).await;
    let held = hold(&fleet, 100).await;
    grow(&mut fleet).await;
    let other = fleet.control[1].address.to_string();
    fleet
        .skeinctl(&["cluster", "remove", &other, "--yes"])
        .unwrap();
    let is_left = |status: &Value| voters(status) == [2];
    fleet.answers(0, STATUS, SETTLES, is_left).await.unwrap();
    fleet.control[0].stop().await.unwrap();
    fleet.configure_alone(0).unwrap();
    fleet.control[0].start().await.unwrap();
    release(&fleet);
    let verdict = settle(&sink, &held, SETTLES).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

/// So many control nodes more, which are only started.
async fn start_further(fleet: &mut Fleet, count: usize) {
    let first = fleet.control.len();
    for _ in 0..count {
        fleet.further_control().unwrap();
    }
    for member in &mut fleet.control[first..] {
        member.spawn().unwrap();
    }
    // A node is ready when it votes.
    for member in &mut fleet.control[first..] {
        member.ready().await.unwrap();
    }
    let all = first + count;
    let is_grown =
        |status: &Value| voters(status) == vec![3; all] && status["verdict"] == "healthy";
    fleet.answers(0, STATUS, SETTLES, is_grown).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_only_started_make_a_cluster_larger_under_load() {
    let sink = SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let sink = Sink::start(sink).await.unwrap();
    let plan = Plan {
        spool_groups: Some(2),
        has_certificates: true,
        joins_uninvited: true,
        smarthost: Some(sink.address()),
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let held = hold_at(&fleet, fleet.senders[0].smtp, 1_000).await;
    let config = InjectorConfig {
        messages_per_connection: 500,
        rate: Some(20.0),
        prefix: "load".to_owned(),
        ..InjectorConfig::to(fleet.senders[0].smtp)
    };
    let load = tokio::spawn(Injector::new(config).run());
    start_further(&mut fleet, 2).await;
    start_further(&mut fleet, 2).await;

    // A sixth is one too many, and is told so.
    fleet.further_control().unwrap();
    fleet.control[5].spawn().unwrap();
    let is_told = |found: &Value| found.to_string().contains("at most 5");
    fleet
        .answers(5, &["doctor"], SETTLES, is_told)
        .await
        .unwrap();
    fleet.control[5].kill().unwrap();
    fleet.control.pop();

    // A wiped disk comes back as a new member, and a data directory of a removed one never does.
    fleet.control[4].stop().await.unwrap();
    std::fs::remove_dir_all(&fleet.control[4].data_dir).unwrap();
    fleet.control[4].start().await.unwrap();
    let is_whole = |status: &Value| voters(status) == [3; 5] && status["verdict"] == "healthy";
    fleet.answers(0, STATUS, SETTLES, is_whole).await.unwrap();
    let removed = fleet.control[4].address.to_string();
    fleet
        .skeinctl(&["cluster", "remove", &removed, "--yes"])
        .unwrap();
    fleet.control[4].ended(SETTLES).await.unwrap();
    fleet.control[4].spawn().unwrap();
    fleet.control[4].ended(SETTLES).await.unwrap();
    let is_four = |status: &Value| voters(status) == [3; 4];
    fleet.answers(0, STATUS, SETTLES, is_four).await.unwrap();

    release(&fleet);
    let load = load.await.unwrap();
    let acked = load.iter().filter(|message| message.acked()).count();
    assert!(acked > load.len() / 2, "{acked} of {}", load.len());
    let verdict = settle(&sink, &[held, load].concat(), SETTLES).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

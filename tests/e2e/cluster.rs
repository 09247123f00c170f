//! Several control nodes and senders: who leads, who comes and goes, and what an operator is told.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::load::{Injector, InjectorConfig};
use skein_testkit::process::http_get;
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::fleet::{Fleet, Plan, leader_of};

const STATUS: &[&str] = &["cluster", "status"];
/// Elections, catching up and slots on their way, on a busy machine.
const SETTLES: Duration = Duration::from_secs(180);

/// A cluster whose mail goes to the sink.
async fn found(control: usize, senders: usize) -> (Fleet, Sink) {
    let sink = SinkConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let sink = Sink::start(sink).await.unwrap();
    let plan = Plan {
        control,
        senders,
        spool_groups: Some(2),
        smarthost: Some(sink.address()),
        ..Plan::default()
    };
    (Fleet::start(plan).await.unwrap(), sink)
}

fn is_healthy(status: &Value) -> bool {
    status["verdict"] == "healthy"
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How many groups a node has this role in.
fn roles(node: &Value, role: &str) -> usize {
    let groups = array(&node["groups"]).iter();
    groups.filter(|group| group["role"] == role).count()
}

/// Every one of so many nodes leads one of the three groups, or one more leads than another.
fn is_spread(status: &Value) -> bool {
    let leads: Vec<usize> = array(&status["nodes"])
        .iter()
        .map(|node| roles(node, "leader"))
        .collect();
    leads.iter().sum::<usize>() == 3
        && leads.iter().max().unwrap_or(&0) - leads.iter().min().unwrap_or(&0) <= 1
}

/// There are so many nodes, and all vote in the three groups.
fn all_vote(nodes: usize) -> impl Fn(&Value) -> bool {
    move |status| {
        let found = array(&status["nodes"]);
        let votes = |node: &Value| roles(node, "leader") + roles(node, "voter") == 3;
        found.len() == nodes && found.iter().all(votes)
    }
}

fn is_made(status: &Value) -> bool {
    is_healthy(status) && status["cluster_id"] != ""
}

/// One more control node joins.
async fn add(cluster: &mut Fleet) {
    let address = cluster.further_control().unwrap().address.to_string();
    let added = cluster
        .try_skeinctl(0, &["cluster", "add", &address])
        .unwrap();
    let said = String::from_utf8_lossy(&[added.stdout, added.stderr].concat()).into_owned();
    assert!(
        said.contains("bootstrap_expect = 0") && said.contains("spool_groups = 2"),
        "{said}"
    );
    cluster.control.last_mut().unwrap().start().await.unwrap();
}

/// An operator takes a control node out, through another one.
fn remove(cluster: &Fleet, through: usize, address: &str) {
    let args = ["cluster", "remove", address, "--yes"];
    let removed = cluster.try_skeinctl(through, &args).unwrap();
    assert!(
        removed.status.success(),
        "{}",
        String::from_utf8_lossy(&removed.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_spread_and_move_under_load_without_loss() {
    let (cluster, sink) = found(3, 2).await;
    let is_well = |status: &Value| is_healthy(status) && is_spread(status);
    for asked in 0..3 {
        let status = cluster
            .answers(asked, STATUS, SETTLES, is_well)
            .await
            .unwrap();
        assert_eq!(array(&status["senders"]).len(), 2);
    }
    let doctor = cluster.try_skeinctl(1, &["doctor"]).unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        doctor.status.success() && said.contains("Healthy"),
        "{said}"
    );

    let config = InjectorConfig {
        connections: 4,
        messages_per_connection: 75,
        rate: Some(40.0),
        ..InjectorConfig::to(cluster.senders[0].smtp)
    };
    let load = tokio::spawn(Injector::new(config).run());
    for round in 0..6 {
        let (group, to) = (
            round % 3,
            &cluster.control[(round as usize + 1) % 3].address,
        );
        let args = [
            "cluster",
            "leader",
            "move",
            &group.to_string(),
            &to.to_string(),
        ];
        let began = std::time::Instant::now();
        // Whoever is asked, whoever leads.
        let moved = cluster.ask_at(round as usize % 3, &args).unwrap();
        println!("group {group} to {to}: {} ms", began.elapsed().as_millis());
        assert_eq!(moved["address"], to.to_string());
        let status = cluster.answers(0, STATUS, SETTLES, |status| {
            leader_of(status, group) == Some(&to.to_string())
        });
        status.await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let injected = load.await.unwrap();
    assert!(
        injected.iter().all(|message| message.acked()),
        "{injected:?}"
    );
    let verdict = skein_tests::settle(&sink, &injected, SETTLES).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
    // What a move interrupts goes on with it, and not after the wait that follows a failed attempt.
    for sender in &cluster.senders {
        let (_, metrics) = http_get(sender.http, "/metrics").await.unwrap();
        assert!(!metrics.contains("outcome=\"deferred\""), "{metrics}");
    }

    let unknown = cluster
        .try_skeinctl(0, &["cluster", "leader", "move", "meta", "10.0.0.1:1"])
        .unwrap();
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        said.contains("no control node has the id or address"),
        "{said}"
    );
}

/// It waited for the others to make a cluster with it, which they had done long ago.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_founder_comes_back_with_an_empty_disk() {
    let (mut cluster, _sink) = found(3, 1).await;
    cluster.answers(1, STATUS, SETTLES, is_made).await.unwrap();
    cluster.control[0].kill().unwrap();
    std::fs::remove_dir_all(&cluster.control[0].data_dir).unwrap();
    cluster.control[0].start().await.unwrap();
    cluster
        .answers(1, STATUS, SETTLES, all_vote(3))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn control_nodes_come_and_go() {
    let (mut cluster, _sink) = found(3, 1).await;
    cluster.answers(0, STATUS, SETTLES, is_made).await.unwrap();
    for _ in 0..2 {
        add(&mut cluster).await;
    }
    cluster
        .answers(4, STATUS, SETTLES, all_vote(5))
        .await
        .unwrap();
    let sixth = cluster
        .try_skeinctl(0, &["cluster", "add", "127.0.0.1:9"])
        .unwrap();
    let said = String::from_utf8_lossy(&sixth.stderr).into_owned();
    assert!(said.contains("at most five"), "{said}");

    // One is removed: its process ends, and does not start again.
    let gone = cluster.control[3].address.to_string();
    assert!(
        !cluster
            .try_skeinctl(1, &["cluster", "remove", &gone])
            .unwrap()
            .status
            .success(),
        "without --yes"
    );
    remove(&cluster, 1, &gone);
    cluster
        .answers(0, STATUS, SETTLES, all_vote(4))
        .await
        .unwrap();
    let node = cluster.control[3].node.as_mut().unwrap();
    node.wait(SETTLES).await.expect("a removed node ends");
    let again = cluster.control[3]
        .start()
        .await
        .expect_err("its data is spent");
    assert!(
        again.to_string().contains("was removed from its cluster"),
        "{again}"
    );

    // One dies: the doctor names it.
    let dead = cluster.control[4].address.to_string();
    cluster.control[4].kill().unwrap();
    let names_it = |found: &Value| {
        found["verdict"]
            .as_str()
            .is_some_and(|verdict| verdict.contains(&dead))
    };
    cluster
        .answers(2, &["doctor"], SETTLES, names_it)
        .await
        .unwrap();
    let doctor = cluster.try_skeinctl(2, &["doctor"]).unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(
        said.contains(&format!("skeinctl cluster remove {dead}")),
        "{said}"
    );
    let live = cluster.control[0].address.to_string();
    remove(&cluster, 0, &dead);
    cluster
        .answers(0, STATUS, SETTLES, |status| {
            all_vote(3)(status) && is_healthy(status)
        })
        .await
        .unwrap();

    // Without another one the rest would stop, so it may not go.
    cluster.control[1].kill().unwrap();
    let refused = || {
        let output = cluster
            .try_skeinctl(2, &["cluster", "remove", &live, "--yes"])
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(
        refused().contains("bring the others back first"),
        "{}",
        refused()
    );

    // Alone it says that what it knows may be old.
    cluster.control[0].kill().unwrap();
    let is_old = |status: &Value| {
        status["verdict"]
            .as_str()
            .is_some_and(|verdict| verdict.contains("the asked node"))
    };
    cluster.answers(2, STATUS, SETTLES, is_old).await.unwrap();
    let list = cluster.try_skeinctl(2, &["node", "list"]).unwrap();
    let said = String::from_utf8_lossy(&list.stderr).into_owned();
    assert!(said.contains("may be old"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sender_is_removed_and_a_live_one_is_not() {
    let (mut cluster, _sink) = found(1, 2).await;
    cluster
        .answers(0, STATUS, SETTLES, |status| {
            array(&status["senders"]).len() == 2
        })
        .await
        .unwrap();
    let remove = |cluster: &Fleet, args: &[&str]| {
        let output = cluster
            .try_skeinctl(0, &[&["node", "remove"], args].concat())
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (done, said) = remove(&cluster, &["s1", "--force"]);
    assert!(!done && said.contains("it lives"), "{said}");
    cluster.senders[0].kill().unwrap();
    tokio::time::sleep(Duration::from_millis(5600)).await;
    let (done, said) = remove(&cluster, &["s1"]);
    assert!(!done && said.contains("--force"), "{said}");
    let (done, said) = remove(&cluster, &["s1", "--force"]);
    assert!(done, "{said}");
    let has_all = |nodes: &Value| {
        let senders = array(&nodes["senders"]);
        senders.len() == 1 && senders[0]["slots"] == 1024
    };
    cluster
        .answers(0, &["node", "list"], SETTLES, has_all)
        .await
        .unwrap();
    cluster
        .answers(0, STATUS, SETTLES, is_healthy)
        .await
        .unwrap();
    let (done, said) = remove(&cluster, &["s1"]);
    assert!(!done && said.contains("no sender \"s1\""), "{said}");
}

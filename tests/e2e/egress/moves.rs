//! An IP is used by one node at a time, also while it moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use skein_testkit::load::{Injected, Injector};
use skein_testkit::oracle;
use skein_testkit::sink::{Act, Phase};
use skein_testkit::unix_ms;
use tokio::task::JoinHandle;

use super::sockets::Sockets;
use super::stage::{Heard, NO_LIMITS, Plan, Stage, ip, last_byte, pool, wait_for};

/// Messages in a second.
const RATE: f64 = 60.0;
const MOVING: u8 = 21;
/// The kernel notes arrivals in ticks of up to 10 ms, and two that are compared are each a tick off. A hand-over takes longer.
const OUT_OF_ORDER: Duration = Duration::from_millis(20);

/// Mail at an even pace for so many seconds.
fn load(stage: &Stage, seconds: usize, to: &[SocketAddr]) -> JoinHandle<Vec<Injected>> {
    let mut config = stage.injector("move", stage.domains(8));
    config.targets = to.to_vec();
    config.rate = Some(RATE);
    config.messages_per_connection = seconds * RATE as usize / config.connections;
    tokio::spawn(async move { Injector::new(config).run().await })
}

/// What the sink heard from the address, each with the node that said it, in the order of arrival.
fn said(stage: &Stage, sockets: &Sockets) -> Vec<(Heard, String)> {
    let mut heard = stage.heard.lock().unwrap().clone();
    heard.retain(|heard| last_byte(heard.peer.ip()) == MOVING);
    heard.sort_by_key(|heard| heard.at);
    let mut stood_since = BTreeMap::new();
    for one in &heard {
        stood_since.entry(one.connection).or_insert(one.at);
    }
    let from = heard.into_iter();
    from.map(|heard| {
        let owner = sockets.owner(heard.peer, stood_since[&heard.connection]);
        (heard, owner.unwrap_or_else(|| "nobody".into()))
    })
    .collect()
}

/// All of one node comes before all of the other. Returns the silence between the two.
fn assert_one_after_the_other(said: &[(Heard, String)], first: &str, then: &str) -> Duration {
    let known: Vec<&(Heard, String)> = said.iter().filter(|(_, node)| node != "nobody").collect();
    let change = known.iter().position(|(_, node)| node == then);
    let change = change.expect("the second node has used the IP");
    assert!(
        change > 0,
        "{first} has used the IP before {:?}, {} of {} by somebody",
        known[0],
        known.len(),
        said.len()
    );
    for (heard, node) in &known[..change] {
        assert_eq!(node, first, "at {:?}", heard.at);
    }
    for (heard, node) in &known[change..] {
        let after = heard.at - known[change].0.at;
        assert!(
            node == then || after < OUT_OF_ORDER,
            "{node}: {:?}, {after:?} after the other began",
            heard.phase
        );
    }
    known[change].0.at - known[change - 1].0.at
}

async fn arrived(stage: &Stage, injected: &[Injected]) {
    wait_for("all mail to arrive", || {
        let verdict = oracle::judge(injected, &stage.sink.records());
        verdict.lost.is_empty().then_some(())
    })
    .await;
}

async fn two_senders() -> Stage {
    Stage::new(Plan {
        senders: 2,
        ..Plan::default()
    })
    .await
}

fn policy(more: &str) -> String {
    let ip = ip("moving", MOVING, more);
    format!("{ip}{}{NO_LIMITS}", pool("default", "{ip: moving}"))
}

fn other(node: &str) -> &'static str {
    match node {
        "s1" => "s2",
        _ => "s1",
    }
}

/// The number of the node that has the IP.
fn holder(stage: &Stage) -> usize {
    let node = stage.ips()["moving"]["node"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut senders = stage.fleet.senders.iter();
    let number = senders.position(|sender| sender.name == node);
    number.expect("some node has it")
}

/// The IP is at one of two senders, which may both have it.
struct Held {
    stage: Stage,
    /// The place of the one that has it, and its name.
    first: usize,
    name: String,
    /// The other one.
    then: &'static str,
}

async fn held_by_one() -> Held {
    let stage = two_senders().await;
    stage.fleet.apply(&policy("")).unwrap();
    wait_for("the IP to be placed", || {
        (stage.ips()["moving"]["state"] == "active").then_some(())
    })
    .await;
    let first = holder(&stage);
    let name = stage.fleet.senders[first].name.clone();
    let then = other(&name);
    Held {
        stage,
        first,
        name,
        then,
    }
}

async fn moved_to(stage: &Stage, node: &str) -> Duration {
    let began = Instant::now();
    stage.placed(&[("moving", node)]).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ip_whose_home_changes_goes_there_and_no_message_is_sent_twice() {
    let stage = two_senders().await;
    stage.fleet.apply(&policy("home: s1")).unwrap();
    stage.placed(&[("moving", "s1")]).await;
    let sockets = Sockets::watch(stage.sink.address(), stage.pids());
    let senders = stage.fleet.senders.iter();
    let to: Vec<SocketAddr> = senders.map(|sender| sender.smtp).collect();
    let load = load(&stage, 18, &to);
    // What a process before the second one may still have done is over by then.
    tokio::time::sleep(Duration::from_secs(11)).await;
    wait_for("the first node to use the IP", || {
        said(&stage, &sockets)
            .iter()
            .any(|(_, node)| node == "s1")
            .then_some(())
    })
    .await;
    stage.fleet.apply(&policy("home: s2")).unwrap();
    let took = moved_to(&stage, "s2").await;
    let injected = load.await.unwrap();
    arrived(&stage, &injected).await;
    let verdict = oracle::judge(&injected, &stage.sink.records());
    assert!(verdict.is_clean(), "{}", verdict.summary());
    let said = said(&stage, &sockets);
    let silence = assert_one_after_the_other(&said, "s1", "s2");
    println!(
        "home changed: moved within {took:.1?}, silent for {silence:.1?}, {} commands, {} looks at the sockets",
        said.len(),
        sockets.looks()
    );
    assert!(sockets.shared().is_empty(), "{:?}", sockets.shared());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ip_of_a_killed_node_goes_to_another_that_has_it() {
    let Held {
        mut stage,
        first,
        name,
        then,
    } = held_by_one().await;
    let sockets = Sockets::watch(stage.sink.address(), stage.pids());
    let survivor = stage.fleet.senders[1 - first].smtp;
    let load = load(&stage, 20, &[survivor]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.fleet.senders[first].kill().unwrap();
    sockets.forget(&name);
    let took = moved_to(&stage, then).await;
    let injected = load.await.unwrap();
    arrived(&stage, &injected).await;
    let said = said(&stage, &sockets);
    let silence = assert_one_after_the_other(&said, &name, then);
    println!("kill -9 of {name}: at {then} after {took:.1?}, silent for {silence:.1?}");
    assert!(took >= Duration::from_secs(7), "its lease had not ended");
    assert!(sockets.shared().is_empty(), "{:?}", sockets.shared());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stood_still_does_not_use_an_ip_that_has_moved_meanwhile() {
    let Held {
        mut stage,
        first,
        name,
        then,
    } = held_by_one().await;
    let sockets = Sockets::watch(stage.sink.address(), stage.pids());
    let survivor = stage.fleet.senders[1 - first].smtp;
    let load = load(&stage, 22, &[survivor]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.process(first).pause().unwrap();
    let took = moved_to(&stage, then).await;
    // Both have sockets of the address now, of which one side cannot say anything.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.process(first).go_on().unwrap();
    let injected = load.await.unwrap();
    arrived(&stage, &injected).await;
    let said = said(&stage, &sockets);
    let silence = assert_one_after_the_other(&said, &name, then);
    println!("SIGSTOP of {name}: at {then} after {took:.1?}, silent for {silence:.1?}");
    assert!(took >= Duration::from_secs(7), "its lease had not ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_started_again_keeps_its_ips_and_one_that_drains_hands_them_over() {
    let Held {
        mut stage,
        first,
        name,
        then,
    } = held_by_one().await;
    // It takes a while to understand, and the node is there before.
    let providers = (0..4000).map(|n| {
        format!(
            "---\nkind: provider\nname: p{n}\ndomains: [p{n}.test]\nper_ip: {{connections: 5}}\n"
        )
    });
    stage.fleet.apply(&providers.collect::<String>()).unwrap();
    let before = stage.ips()["moving"]["epoch"].as_u64().unwrap();
    stage.fleet.senders[first].kill().unwrap();
    stage.fleet.senders[first].start().await.unwrap();
    wait_for("the IP to be the next process's", || {
        let ip = &stage.ips()["moving"];
        assert_eq!(ip["node"], name.as_str(), "it does not leave its node");
        (ip["epoch"] == before + 1 && ip["state"] == "active").then_some(())
    })
    .await;

    let sockets = Sockets::watch(stage.sink.address(), stage.pids());
    let survivor = stage.fleet.senders[1 - first].smtp;
    let load = load(&stage, 8, &[survivor]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    stage.process(first).term().unwrap();
    stage.placed(&[("moving", then)]).await;
    let took = began.elapsed();
    let injected = load.await.unwrap();
    arrived(&stage, &injected).await;
    let verdict = oracle::judge(&injected, &stage.sink.records());
    assert!(verdict.is_clean(), "{}", verdict.summary());
    let silence = assert_one_after_the_other(&said(&stage, &sockets), &name, then);
    println!("drain of {name}: at {then} after {took:.1?}, silent for {silence:.1?}");
    assert!(sockets.shared().is_empty(), "{:?}", sockets.shared());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_from_ips_end_with_the_session_whatever_they_wait_for() {
    let mut stage = two_senders().await;
    stage.fleet.apply(&policy("home: s1")).unwrap();
    stage.placed(&[("moving", "s1")]).await;
    // A host that does not answer: of each sender some connections stay in the middle of a transaction.
    stage.sink.set_script(|moment| match moment.phase {
        Phase::Mail => Act::Tarpit,
        _ => Act::Accept,
    });
    let config = stage.injector("stuck", stage.domains(8));
    stage.offer(config, 40).await;
    let sockets = Sockets::watch(stage.sink.address(), stage.pids());
    let opened = wait_for("connections to the host", || {
        let now = sockets.now();
        (now >= 8).then_some(now)
    })
    .await;
    let through_others = stage.metric(0, "skein_egress_tunnels").await;
    let began_ms = unix_ms();
    stage.stop_control();
    wait_for("all of them to end", || (sockets.now() == 0).then_some(())).await;
    // The sink may hear of it later.
    let ends = || {
        let visits = stage.sink.visits();
        let ends: Option<Vec<u64>> = visits.iter().map(|visit| visit.ended_ms).collect();
        ends?.into_iter().max()
    };
    let ended_ms = wait_for("the sink to hear of it", ends).await;
    let took = Duration::from_millis(ended_ms.saturating_sub(began_ms));
    println!(
        "{opened} connections, {through_others} from the node that has the IP, ended {took:.1?} after the last heartbeats"
    );
    assert!(
        took < Duration::from_millis(9_500),
        "a second before the lease ends"
    );
    assert_eq!(stage.metric(0, "skein_egress_tunnels").await, 0);
}

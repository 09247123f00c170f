//! A cluster of the chart's pods takes mail in and delivers it, while containers are killed.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::helm::render::{KUBERNETES, objects, template};
use skein_tests::helm::tools::succeeds;

use crate::engine::{Engine, IMAGE, SOFT_MARK, with_engine};
use crate::pods::Release;

const READY_WITHIN: Duration = Duration::from_secs(120);
const DELIVERED_WITHIN: Duration = Duration::from_secs(90);
/// `terminationGracePeriodSeconds` of all pods.
const GRACE: Duration = Duration::from_secs(180);
const DOMAIN: &str = "open.test";
const SINK_PORT: u16 = 2599;

/// The chart with the image of this run, with a route to the sink on this machine, and with these values.
fn rendered(machine: IpAddr, values: &str) -> Vec<Value> {
    let (name, tag) = IMAGE.split_once(':').unwrap();
    let image = format!("image.registry=,image.repository={name},image.tag={tag}");
    let mut helm = template("helm4", KUBERNETES[1]);
    // This machine is where the load comes from, and goes to.
    helm.args([
        "--set",
        &image,
        "--set",
        &format!("smtp.relayNetworks={{{machine}/32}}"),
        "--set",
        values,
    ]);
    let mark = format!("control.config.storage.soft_mark={SOFT_MARK}");
    helm.args(["--set", &mark]);
    let route = format!(
        r#"sender.config.delivery.route=[{{"domains":["{DOMAIN}"],"hosts":["{machine}:{SINK_PORT}"]}}]"#
    );
    helm.args(["--set-json", &route]);
    helm.args([
        "--set-json",
        r#"policy.resources=[{"kind":"tenant","name":"shop","limits":{"message_rate":"100/s"}}]"#,
    ]);
    objects(&[succeeds(&mut helm)]).remove(0)
}

fn release<'e>(engine: &'e Engine, values: &str) -> Release<'e> {
    let machine = Release::network(engine);
    Release::new(engine, rendered(machine, values))
}

async fn offer(targets: Vec<SocketAddr>, prefix: &str, rate: f64) -> Vec<Injected> {
    let config = InjectorConfig {
        domains: vec![DOMAIN.to_owned()],
        sizes: vec![500, 5_000, 60_000],
        prefix: prefix.to_owned(),
        connections: 4,
        messages_per_connection: 50,
        rate: Some(rate),
        tries: 200,
        ..InjectorConfig::to_all(targets)
    };
    Injector::new(config).run().await
}

#[test]
fn a_cluster_of_the_charts_pods_loses_nothing() {
    with_engine(|engine| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(flows(engine));
    });
}

/// Groups may change hands once more after the last pod is ready, so that each control node leads some.
async fn becomes_healthy(release: &Release<'_>, pod: &str) {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let (healthy, said) = release.exec(pod, &["skeinctl", "cluster", "status"]);
        if healthy {
            return;
        }
        assert!(Instant::now() < until, "{said}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn flows(engine: &Engine) {
    let release = release(engine, "mode=cluster");
    let sink = SinkConfig::at(SocketAddr::new(release.machine(), SINK_PORT));
    let sink = Sink::start(sink).await.unwrap();
    let control = release.start("StatefulSet", "skein-control");
    let senders = release.start("Deployment", "skein-sender");
    for pod in control.iter().chain(&senders) {
        release.ready(pod, READY_WITHIN).await;
    }
    becomes_healthy(&release, &control[0]).await;

    // As `helm test` does, through a login; and the policy, twice, as at an upgrade that changes nothing.
    release.start("Deployment", "skein-sink");
    println!("{}", release.complete("Pod", "skein-test-submit"));
    for _ in 0..2 {
        println!("{}", release.complete("Job", "skein-policy"));
    }

    let relay = |pod: &String| release.address(pod, 2525);
    let mut all = offer(vec![relay(&senders[0])], "quiet", 100.0).await;
    // What a killed sender had taken in has its client try again at the other.
    let load = offer(senders.iter().map(relay).collect(), "killed", 40.0);
    let kills = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        release.kill9(&control[1]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        release.kill9(&senders[1]);
        release.start_again(&control[1]);
    };
    let (loaded, ()) = tokio::join!(load, kills);
    all.extend(loaded);
    let verdict = skein_tests::settle(&sink, &all, DELIVERED_WITHIN).await;
    assert!(verdict.lost.is_empty(), "{}", verdict.summary());
    let taken = all.iter().filter(|message| message.acked()).count();
    assert!(taken > all.len() / 2, "{taken} of {} were taken", all.len());
    println!("{}", verdict.summary());

    release.start_again(&senders[1]);
    release.ready(&senders[1], READY_WITHIN).await;
    release.ready(&control[1], READY_WITHIN).await;
    // One after the other, as Kubernetes does; a client that stays connected holds nothing up.
    let _idle = tokio::net::TcpStream::connect(relay(&senders[0]))
        .await
        .unwrap();
    for pod in senders.iter().chain(&control) {
        let (status, took) = release.stop(pod, GRACE);
        assert_eq!(status, 0, "{pod} after {took:?}:\n{}", engine.logs(pod));
        println!("{pod} ended with 0 after {took:?}");
    }
}

/// UPGRADING.md, "More control nodes": `helm upgrade --set mode=cluster`, and nothing before it.
#[test]
fn one_pod_becomes_a_cluster_with_all_of_its_mail() {
    with_engine(|engine| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(grows(engine));
    });
}

async fn grows(engine: &Engine) {
    let mut release = release(engine, "mode=single");
    let machine = release.machine();
    let sink = Sink::start(SinkConfig::at(SocketAddr::new(machine, SINK_PORT)));
    let sink = sink.await.unwrap();
    let alone = release.start("StatefulSet", "skein-control").remove(0);
    release.ready(&alone, READY_WITHIN).await;
    let skeinctl = |release: &Release<'_>, words: &[&str]| {
        let (is_well, said) = release.exec(&alone, &[&["skeinctl"][..], words].concat());
        assert!(is_well, "{said}");
    };
    let held = ["--domain", DOMAIN];
    skeinctl(
        &release,
        &[
            &["suspend", "--for", "1h", "--why", "until it has grown"],
            &held[..],
        ]
        .concat(),
    );
    let smtp = |release: &Release<'_>, pod: &str| release.address(pod, 2525);
    let mut all = offer(vec![smtp(&release, &alone)], "queued", 100.0).await;
    assert!(all.iter().all(Injected::acked));

    // As a StatefulSet's controller does: the new pods at once; when they are ready, the one that was there.
    release.upgrade(rendered(machine, "mode=cluster"));
    let began = tokio::time::Instant::now();
    let control = release.pods("StatefulSet", "skein-control");
    for pod in &control[1..] {
        release.start_one("StatefulSet", "skein-control", pod);
    }
    let senders = release.start("Deployment", "skein-sender");
    let load = offer(vec![smtp(&release, &senders[0])], "growing", 10.0);
    let replaced = async {
        for pod in &control[1..] {
            release.ready(pod, READY_WITHIN).await;
            println!("{pod} votes after {:?}", began.elapsed());
        }
        let (status, took) = release.stop(&alone, GRACE);
        assert_eq!(status, 0, "{took:?}:\n{}", engine.logs(&alone));
        release.delete(&alone);
        release.start_one("StatefulSet", "skein-control", &alone);
        for pod in control.iter().chain(&senders) {
            release.ready(pod, READY_WITHIN).await;
        }
        println!("a cluster after {:?}", began.elapsed());
    };
    let (loaded, ()) = tokio::join!(load, replaced);
    all.extend(loaded);
    // The engine's name server has nobody to ask, so not all is well here; what counts is who votes.
    let (_, status) = release.exec(&alone, &["skeinctl", "cluster", "status"]);
    assert_eq!(status.matches("5 of 5").count(), 3, "{status}");
    skeinctl(&release, &[&["resume"], &held[..]].concat());
    let verdict = skein_tests::settle(&sink, &all, DELIVERED_WITHIN).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
    println!("{}", verdict.summary());
}

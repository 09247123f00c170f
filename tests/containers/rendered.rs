//! A cluster of the chart's pods takes mail in and delivers it, while containers are killed.

use std::net::SocketAddr;
use std::time::Duration;

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

/// The chart with the image of this run, and with a route to the sink on this machine.
fn release(engine: &Engine) -> Release<'_> {
    let (name, tag) = IMAGE.split_once(':').unwrap();
    let image = format!("image.registry=,image.repository={name},image.tag={tag}");
    let mut helm = template("helm4", KUBERNETES[1]);
    // This machine is where the load comes from, and goes to.
    let machine = Release::network(engine);
    helm.args([
        "--set",
        &image,
        "--set",
        &format!("smtp.relayNetworks={{{machine}/32}}"),
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
    let objects = objects(&[succeeds(&mut helm)]).remove(0);
    Release::new(engine, objects)
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

async fn flows(engine: &Engine) {
    let release = release(engine);
    let sink = SinkConfig::at(SocketAddr::new(release.machine(), SINK_PORT));
    let sink = Sink::start(sink).await.unwrap();
    let control = release.start("StatefulSet", "skein-control");
    let senders = release.start("Deployment", "skein-sender");
    for pod in control.iter().chain(&senders) {
        release.ready(pod, READY_WITHIN).await;
    }
    let (healthy, said) = release.exec(&control[0], &["skeinctl", "cluster", "status"]);
    assert!(healthy, "{said}");

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

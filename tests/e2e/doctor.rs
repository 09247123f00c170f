//! What the doctor says of real processes: planted faults are named, and states that only look like faults are not.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use skein_testkit::dns::Fault;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::{Node, NodeConfig, free_port, http_get};
use skein_testkit::sink::Sink;
use skein_tests::fleet::{Fleet, Member, Plan};
use skein_tests::{Bench, Extra, loopback, operator, skein};

const SETTLES: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(500);

/// Findings of a level, one in a line.
fn findings(examined: &Value, level: &str) -> String {
    let checks = examined["checks"].as_array().into_iter().flatten();
    let found = checks.flat_map(|check| check["findings"].as_array().into_iter().flatten());
    let found = found.filter(|finding| finding["level"] == level);
    let lines = found.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} ({})\n", text("subject"), text("what"), text("todo"))
    });
    lines.collect()
}

fn examine(admin: SocketAddr, args: &[&str]) -> (Option<i32>, Value) {
    try_examine(admin, args).expect("an answer")
}

/// None, and a line that says so: the doctor was not done in its time, which a machine that is busy may not have given it.
fn try_examine(admin: SocketAddr, args: &[&str]) -> Option<(Option<i32>, Value)> {
    let output = operator::try_skeinctl(admin, &[&["doctor", "--json"], args].concat()).unwrap();
    match serde_json::from_slice(&output.stdout) {
        Ok(examined) => Some((output.status.code(), examined)),
        Err(_) => {
            println!("again: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
    }
}

/// Asks until a problem has all these parts; the end of the command says that there is one.
async fn names(admin: SocketAddr, args: &[&str], parts: &[&str]) {
    let mut last = String::new();
    let found = skein_tests::until("the fault", SETTLES, LOOK, || {
        let (status, examined) = try_examine(admin, args)?;
        last = findings(&examined, "problem");
        let is_named = parts.iter().all(|part| last.contains(part));
        assert!(
            last.is_empty() == (status == Some(0)),
            "status {status:?} with {last}"
        );
        is_named.then_some(())
    });
    found
        .await
        .unwrap_or_else(|error| panic!("{error:#}: {parts:?} is not in\n{last}"));
}

/// Asks until there is no problem, and a note with this part.
async fn is_well(admin: SocketAddr, note: &str) {
    let mut last = String::new();
    let found = skein_tests::until("no alarm", SETTLES, LOOK, || {
        let (status, examined) = try_examine(admin, &[])?;
        last = format!(
            "{}{}",
            findings(&examined, "problem"),
            findings(&examined, "note")
        );
        (status == Some(0) && last.contains(note)).then_some(())
    });
    found
        .await
        .unwrap_or_else(|error| panic!("{error:#}: {last}"));
}

fn status(admin: SocketAddr) -> (Option<i32>, String) {
    let output = operator::try_skeinctl(admin, &["cluster", "status"]).unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// One of three control nodes is started, and says whom it waits for.
#[tokio::test(flavor = "multi_thread")]
async fn missing_founders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut member = Member::new(folder.path(), "c1").unwrap();
    let missing = [(); 2].map(|()| loopback().unwrap().to_string());
    let Member {
        address,
        admin,
        http,
        ..
    } = member;
    let config = format!(
        "role = \"control\"\ndata_dir = {data:?}\nhttp.listen = \"{http}\"\nadmin.listen = \"{admin}\"\n\
         [cluster]\nlisten = \"{address}\"\npeers = [\"{address}\", {first:?}, {second:?}]\n",
        data = member.data_dir.display().to_string(),
        first = missing[0],
        second = missing[1]
    );
    member.configure(&config).unwrap();
    member.spawn().unwrap();

    let reachable = skein_tests::until("the admin API", SETTLES, LOOK, || {
        let output = operator::try_skeinctl(admin, &["cluster", "status"]).ok()?;
        (!output.stdout.is_empty()).then_some(())
    });
    reachable.await.unwrap();
    let all = [missing[0].as_str(), &missing[1], "connection refused"];
    names(admin, &[], &all).await;
    let (code, said) = status(admin);
    assert_eq!(code, Some(1), "{said}");
    for part in ["No cluster yet", "degraded", "Missing: "]
        .iter()
        .chain(&all)
    {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let (_, examined) = examine(admin, &[]);
    let is_unknown = |name: &str| {
        let mut checks = examined["checks"].as_array().unwrap().iter();
        checks.any(|check| check["name"] == name && check["unknown"] == true)
    };
    assert!(
        is_unknown("quorum") && is_unknown("leaders"),
        "{examined:#}"
    );
    let (code, why) = http_get(http, "/readyz").await.unwrap();
    assert_eq!(code, 503);
    let log = member.node.as_ref().unwrap().log_end();
    for part in all {
        assert!(
            why.contains(part) && log.contains(part),
            "{part:?}: {why}{log}"
        );
    }
    assert!(why.starts_with("not ready: waits for "), "{why}");
}

/// A second process takes the name of the first sender.
fn start_twin(fleet: &Fleet) -> Node {
    let first = &fleet.senders[0];
    let file = first.data_dir.with_extension("toml");
    let text = std::fs::read_to_string(file).unwrap();
    let http = loopback().unwrap();
    let text = text
        .replace(&first.smtp.to_string(), &loopback().unwrap().to_string())
        .replace(&first.http.to_string(), &http.to_string())
        .replace(
            &first.data_dir.display().to_string(),
            &format!("{}-twin", first.data_dir.display()),
        );
    let lines = text.lines().map(
        |line| match line.trim_start().starts_with("egress.listen") {
            true => String::new(),
            false => format!("{line}\n"),
        },
    );
    let file = fleet.folder.path().join("twin.toml");
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    Node::start(NodeConfig::serve(&skein().unwrap(), &file, http)).unwrap()
}

async fn faults_around_senders_are_named(fleet: &Fleet, sink: &Sink) {
    let admin = fleet.control[0].admin;
    fleet.dns.fault(".", Some(Fault::ServFail));
    let server = fleet.dns.address().to_string();
    names(
        admin,
        &[],
        &[
            "name server",
            &server,
            "sender s1",
            "sender s2",
            "Server Failure",
        ],
    )
    .await;
    fleet.dns.fault(".", None);
    is_well(admin, "").await;

    let twin = start_twin(fleet);
    names(
        admin,
        &[],
        &["sender s1 asked for a session", "from 127.0.0.1 (process "],
    )
    .await;
    drop(twin);

    let nowhere = format!("127.0.0.1:{}", free_port().unwrap());
    names(
        admin,
        &["--port-25", &nowhere],
        &["sender s1", "sender s2", &nowhere, "onnection refused"],
    )
    .await;
    let open = sink.address().to_string();
    let (_, examined) = examine(admin, &["--port-25", &open]);
    assert!(
        !findings(&examined, "problem").contains("gets no connection"),
        "{examined:#}"
    );

    fleet
        .apply("kind: ip\nname: lost\nbind: 192.0.2.77\nehlo: lost.example.test\n")
        .unwrap();
    names(admin, &[], &["ip lost is at no node"]).await;
    fleet.skeinctl(&["policy", "delete", "ip/lost"]).unwrap();

    fleet.skeinctl(&["node", "drain", "s2"]).unwrap();
    is_well(admin, "sender s2 is out of service").await;
    fleet.skeinctl(&["node", "resume", "s2"]).unwrap();
    is_well(admin, "").await;
}

/// A node that stops as it was told, and is not back yet, is no reason to wake anybody; one that was killed is.
async fn a_restart_is_no_fault_and_a_loss_is(fleet: &mut Fleet) {
    let admin = fleet.control[0].admin;
    let other = fleet.control[2].address.to_string();
    let stopping = fleet.control[2].node.as_mut().unwrap();
    stopping.term().unwrap();
    stopping.wait(SETTLES).await.unwrap();
    is_well(admin, "it is being restarted").await;
    fleet.control[2].start().await.unwrap();
    is_well(admin, "").await;
    fleet.control[2].kill().unwrap();
    names(
        admin,
        &[],
        &[
            &format!("{other} does not answer: "),
            "onnection refused",
            "cluster remove",
        ],
    )
    .await;
    let (code, said) = status(admin);
    assert!(code == Some(1) && said.contains(&other), "{said}");
    fleet.control[2].start().await.unwrap();
}

/// Stages that share one cluster, whose faults are mended before the next.
#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_cluster_are_named_and_what_is_held_is_none() {
    let plan = Plan {
        control: 3,
        senders: 2,
        spool_groups: Some(2),
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let sink = fleet
        .sink(9, "mx.held.test", &["held.test", "sent.test"])
        .await
        .unwrap();
    let admin = fleet.control[0].admin;
    is_well(admin, "").await;
    assert_eq!(status(admin).0, Some(0));

    // Mail that an operator and a limit hold back gets old while other things are looked at.
    fleet
        .apply("kind: provider\nname: slow\ndomains: [held.test]\nper_ip: {message_rate: 1/h}\n")
        .unwrap();
    fleet
        .skeinctl(&["suspend", "--domain", "sent.test", "--for", "30 minutes"])
        .unwrap();
    let injector = Injector::new(InjectorConfig::to(fleet.senders[0].smtp));
    let to = |n: usize| {
        vec![format!(
            "u{n}@{}.test",
            if n.is_multiple_of(2) { "held" } else { "sent" }
        )]
    };
    let mails = (0..12).map(|n| Injected::generated(&format!("m{n}"), "a@b.test", to(n), 500));
    let offered = injector.offer(mails.collect()).await;
    assert!(offered.iter().all(|mail| mail.acked()), "{offered:?}");
    let began = tokio::time::Instant::now();

    faults_around_senders_are_named(&fleet, &sink).await;
    a_restart_is_no_fault_and_a_loss_is(&mut fleet).await;

    // By now the held mail is older than what counts as stuck.
    let old = skein_tests::until("mail that is due for long", SETTLES, LOOK, || {
        (began.elapsed() > Duration::from_secs(65)).then_some(())
    });
    old.await.unwrap();
    let waiting = fleet.skeinctl(&["queue", "list"]).unwrap();
    assert!(
        waiting.contains("held.test") && waiting.contains("sent.test"),
        "{waiting}"
    );
    is_well(admin, "").await;
    assert_eq!(status(admin).0, Some(0), "{}", status(admin).1);

    for sender in &mut fleet.senders {
        sender.kill().unwrap();
    }
    names(admin, &[], &["none has a session", "have no owner"]).await;
}

/// A certificate that ends in some days, in a folder.
fn ends_soon(folder: &Path) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["mx.skein.test".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + Duration::from_secs(3 * 86_400 + 3600)).into();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("soon.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("soon-key.pem"), key.serialize_pem()).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "[smtp.tls]\ncertificate = {:?}\nkey = {:?}\n",
        at("soon.pem"),
        at("soon-key.pem")
    )
}

/// A node that is alone is told what it can do, and its own faults are named.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_is_well_and_its_faults_are_named() {
    let bench = Bench::new().await.unwrap();
    let node = bench.start().await.unwrap();
    is_well(bench.admin, "skeinctl backup create").await;
    let refused =
        operator::try_skeinctl(bench.admin, &["cluster", "add", "127.0.0.1:7000"]).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("set cluster.listen"),
        "{said}"
    );
    operator::skeinctl(bench.admin, &["node", "drain", "mx.skein.test"]).unwrap();
    is_well(bench.admin, "out of service").await;
    drop(node);

    let extra = |folder: &Path| {
        let events = folder.join("events");
        std::fs::create_dir(&events)?;
        Ok(Extra {
            smtp: ends_soon(folder),
            sections: format!(
                "[storage]\nsoft_mark = 1\nhard_mark = 99\n[events]\npath = {:?}\n",
                events.display().to_string()
            ),
            ..Extra::default()
        })
    };
    let bench = Bench::with(extra).await.unwrap();
    let _node = bench.start().await.unwrap();
    names(
        bench.admin,
        &[],
        &["smtp.tls.certificate", "ends in 3 days", "soon.pem"],
    )
    .await;
    names(bench.admin, &[], &["of its disk, and takes no new mail"]).await;
    assert_eq!(status(bench.admin).0, Some(1));
    // A suspension is an event of its own, which no mail is needed for.
    operator::skeinctl(bench.admin, &["suspend", "--domain", "x.test"]).unwrap();
    names(bench.admin, &[], &["cannot write events", "events"]).await;
}

//! `--wait`: when a change is in force, and who is waited for.

use std::sync::Arc;
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase, Record, Sink, most_at_once, most_within};
use skein_testkit::unix_ms;
use skein_tests::fleet::{Fleet, Plan};

async fn offer(fleet: &Fleet, prefix: &str, count: usize) {
    let targets = fleet.senders.iter().map(|sender| sender.smtp).collect();
    let injector = Injector::new(InjectorConfig::to_all(targets));
    let messages = (0..count).map(|n| {
        let to = vec![format!("user{n}@there.test")];
        Injected::generated(&format!("{prefix}-{n}"), "a@here.test", to, 200)
    });
    let sent = injector.offer(messages.collect()).await;
    assert!(sent.iter().all(Injected::acked), "{sent:?}");
}

/// Mail that comes in when `apply --wait` has returned meets the new limit, at whichever sender it is.
#[tokio::test(flavor = "multi_thread")]
async fn after_apply_has_waited_no_mail_goes_by_an_earlier_limit() {
    const TIMES: usize = 3;
    let plan = Plan {
        control: 3,
        senders: 3,
        spool_groups: Some(2),
        ..Plan::default()
    };
    let fleet = Fleet::start(plan).await.unwrap();
    let sink = fleet
        .sink(3, "mx.there.test", &["there.test"])
        .await
        .unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let path = file.path().to_str().unwrap();
    let limit = |figure: &str| {
        let policy = format!("kind: provider\nname: default\ntotal: {{message_rate: {figure}}}\n");
        std::fs::write(path, policy).unwrap();
        let output = fleet
            .try_skeinctl(0, &["apply", "--wait", "-f", path])
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("Every node goes by it."), "{said}");
    };
    let all_arrive = async |count: u64| {
        let look = |_: &Fleet| (sink.accepted() >= count).then_some(());
        let arrived = fleet.until("all mail", Duration::from_secs(120), look);
        arrived.await.unwrap();
    };
    for time in 0..TIMES {
        limit("10000/s");
        let before = sink.accepted();
        offer(&fleet, &format!("fast-{time}"), 20).await;
        all_arrive(before + 20).await;
        limit("2/min");
        let nodes = fleet.ask(&["node", "list"]).unwrap();
        let version = &nodes["policy_version"];
        let known = nodes["senders"].as_array().unwrap().iter();
        let known = known.chain(nodes["control_nodes"].as_array().unwrap());
        for node in known {
            assert_eq!(&node["policy_version"], version, "{nodes}");
            assert_eq!(node["is_behind"], false, "{nodes}");
        }
        let before = sink.accepted();
        offer(&fleet, &format!("slow-{time}"), 40).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let passed = sink.accepted() - before;
        assert!(passed <= 2, "{passed} in a minute, where 2 are allowed");
        limit("10000/s");
        all_arrive(before + 40).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_says_who_does_not_go_by_it() {
    let plan = Plan {
        control: 3,
        senders: 1,
        spool_groups: Some(1),
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(
        path,
        "kind: provider\nname: default\nper_ip: {connections: 3}\n",
    )
    .unwrap();
    fleet.senders[0].node.as_mut().unwrap().pause().unwrap();
    let applied = fleet.try_skeinctl(0, &["apply", "-f", path]).unwrap();
    let said = String::from_utf8_lossy(&applied.stderr).into_owned();
    assert!(applied.status.success(), "{applied:?}");
    assert!(
        said.contains("not yet at version 1") && said.contains("--wait"),
        "{said}"
    );
    std::fs::write(
        path,
        "kind: provider\nname: default\nper_ip: {connections: 4}\n",
    )
    .unwrap();
    let waited = fleet
        .try_skeinctl(0, &["apply", "--wait", "--timeout", "1s", "-f", path])
        .unwrap();
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert_eq!(waited.status.code(), Some(3), "{waited:?}");
    assert!(
        said.contains("waiting for s1 (") && said.contains("not everybody goes by it: s1"),
        "{said}"
    );
    let nodes = fleet.ask(&["node", "list"]).unwrap();
    let sender = &nodes["senders"][0];
    assert_eq!(
        (&sender["name"], &sender["is_behind"]),
        (&"s1".into(), &true.into()),
        "{nodes}"
    );
    let list = fleet.skeinctl(&["node", "list"]).unwrap();
    // A leader that is new has not heard of the one that stands still.
    let is_shown = list.contains("0 (behind)") || list.contains("unknown");
    assert!(is_shown, "{list}");
    fleet.senders[0].node.as_mut().unwrap().go_on().unwrap();
    let waited = fleet
        .try_skeinctl(0, &["apply", "--wait", "-f", path])
        .unwrap();
    assert!(waited.status.success(), "{waited:?}");
}

/// A limit before and after, and the mail that it is for.
struct Lowered {
    name: &'static str,
    domain: &'static str,
    /// Over which the mail is spread.
    slots: &'static str,
    before: &'static str,
    after: &'static str,
    /// Within so many milliseconds so many messages may arrive afterwards; or so many connections may stand.
    window: u64,
    most: usize,
}

const LOWERED: [Lowered; 4] = [
    Lowered {
        name: "a site of one owner",
        domain: "own.test",
        slots: "1",
        before: "kind: provider\nname: own\ndomains: [own.test]\ntotal: {connections: 20, message_rate: 500/s}\n",
        after: "kind: provider\nname: own\ndomains: [own.test]\ntotal: {connections: 20, message_rate: 4/s}\n",
        window: 1000,
        most: 4,
    },
    Lowered {
        name: "a spread site",
        domain: "wide.test",
        slots: "16",
        before: "kind: provider\nname: wide\ndomains: [wide.test]\ntotal: {connections: 30, message_rate: 300/s}\n",
        after: "kind: provider\nname: wide\ndomains: [wide.test]\ntotal: {connections: 30, message_rate: 6/s}\n",
        window: 1000,
        most: 6,
    },
    Lowered {
        name: "tokens of a long window",
        domain: "long.test",
        slots: "16",
        before: "kind: provider\nname: long\ndomains: [long.test]\ntotal: {connections: 30, message_rate: 100000/h}\n",
        after: "kind: provider\nname: long\ndomains: [long.test]\ntotal: {connections: 30, message_rate: 3/h}\n",
        window: 3_600_000,
        most: 3,
    },
    Lowered {
        name: "connections",
        domain: "few.test",
        slots: "1",
        before: "kind: provider\nname: few\ndomains: [few.test]\nper_ip: {connections: 12}\n",
        after: "kind: provider\nname: few\ndomains: [few.test]\nper_ip: {connections: 1}\n",
        window: 0,
        most: 1,
    },
];

/// Messages that are waited for before the limit falls: all senders are at work by then.
const AT_WORK: usize = 60;
/// More than goes out while a policy is applied, at the pace of the sink.
const BACKLOG: usize = 600;
/// For the reply to each final dot.
const PACE: Duration = Duration::from_millis(200);
/// How long what arrives afterwards is looked at.
const LOOKED_AT: Duration = Duration::from_secs(4);

fn accepted(sink: &Sink) -> Vec<Arc<Record>> {
    let mut records = sink.records();
    records.retain(|record| record.accepted);
    records
}

/// A limit that falls while all senders are at work: when `apply --wait` has returned, nothing arrives beyond the lower one, by
/// the times of the sink's kernel.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_falls_under_load_holds_when_apply_has_waited() {
    let plan = Plan {
        senders: 3,
        spool_groups: Some(2),
        ..Plan::default()
    };
    let fleet = Fleet::start(plan).await.unwrap();
    for (nth, one) in LOWERED.iter().enumerate() {
        let host = format!("mx.{}", one.domain);
        let last = u8::try_from(nth + 3).unwrap();
        let sink = fleet.sink(last, &host, &[one.domain]).await.unwrap();
        sink.set_script(|moment| match moment.phase {
            Phase::Dot => Act::Delay(PACE),
            _ => Act::Accept,
        });
        fleet.apply(one.before).unwrap();
        let site = one.domain.trim_end_matches(".test");
        if one.slots != "1" {
            fleet
                .skeinctl(&["site", "spread", site, one.slots])
                .unwrap();
        }
        let prefix = format!("{site}-{nth}");
        let targets = fleet.senders.iter().map(|sender| sender.smtp).collect();
        let injector = Injector::new(InjectorConfig::to_all(targets));
        let messages = (0..BACKLOG).map(move |n| {
            let to = vec![format!("user{n}@{}", one.domain)];
            Injected::generated(&format!("{prefix}-{n}"), "a@here.test", to, 200)
        });
        let loading = tokio::spawn(async move { injector.offer(messages.collect()).await });
        let at_work = |_: &Fleet| (accepted(&sink).len() >= AT_WORK).then_some(());
        let at_work = fleet.until("mail to flow", Duration::from_secs(120), at_work);
        at_work.await.unwrap();
        fleet.apply(one.after).unwrap();
        let returned_ms = unix_ms();
        let before = accepted(&sink).len();
        tokio::time::sleep(LOOKED_AT).await;
        let times: Vec<u64> = accepted(&sink).iter().map(|record| record.at_ms).collect();
        let late: Vec<u64> = times.into_iter().filter(|at| *at > returned_ms).collect();
        let (arrived, most) = match one.window {
            0 => (
                late.len(),
                most_at_once(&sink.visits(), returned_ms..u64::MAX).0,
            ),
            window => (late.len(), most_within(late, window)),
        };
        println!(
            "{}: {before} messages before, {arrived} after, at most {most} of {}",
            one.name, one.most
        );
        assert!(most <= one.most, "{}: {most} of {}", one.name, one.most);
        assert!(before < BACKLOG, "{}: nothing was left to go", one.name);
        fleet.apply(one.before).unwrap();
        loading.await.unwrap();
    }
}

/// A sender that stands still is waited for until its session has ended: after that it sends nothing by what it knew.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_stands_still_is_waited_for_until_its_session_ends() {
    let plan = Plan {
        senders: 3,
        spool_groups: Some(1),
        ..Plan::default()
    };
    let mut fleet = Fleet::start(plan).await.unwrap();
    let sink = fleet
        .sink(3, "mx.there.test", &["there.test"])
        .await
        .unwrap();
    let limit = |figure: &str| {
        format!("kind: provider\nname: default\ntotal: {{message_rate: {figure}}}\n")
    };
    fleet.apply(&limit("1000/s")).unwrap();
    offer(&fleet, "first", 20).await;
    let arrived = |_: &Fleet| (accepted(&sink).len() >= 20).then_some(());
    fleet
        .until("all mail", Duration::from_secs(60), arrived)
        .await
        .unwrap();
    fleet.senders[1].node.as_mut().unwrap().pause().unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), limit("2/min")).unwrap();
    let path = file.path().to_str().unwrap();
    let waited = fleet
        .try_skeinctl(0, &["apply", "--wait", "-f", path])
        .unwrap();
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(waited.status.success(), "{waited:?}");
    assert!(
        said.contains("waiting for s2 (version 1)") && said.contains("the session of s2 has ended"),
        "{said}"
    );
    let returned_ms = unix_ms();
    fleet.senders[1].node.as_mut().unwrap().go_on().unwrap();
    offer(&fleet, "second", 30).await;
    tokio::time::sleep(LOOKED_AT).await;
    let late = accepted(&sink);
    let late = late
        .iter()
        .filter(|record| record.at_ms > returned_ms)
        .count();
    assert!(late <= 2, "{late} in a minute, where 2 are allowed");
}

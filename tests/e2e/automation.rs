//! What follows when providers complain: cluster-wide, for a time, and back by steps.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase, Sink, Visit, most_at_once};
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::replays::{self, Replied};

const PATIENCE: Duration = Duration::from_secs(30);
/// Heartbeats bring policy to the senders, and the leader writes its rules down.
const POLICY_ARRIVES: Duration = Duration::from_secs(4);
/// Of the rules.
const LASTS: Duration = Duration::from_secs(10);
/// From the threshold until every sender knows: by a hint, or else with its next heartbeat.
const HEARD: Duration = Duration::from_secs(3);

async fn start(senders: usize) -> Fleet {
    let plan = Plan {
        senders,
        spool_groups: Some(1),
        ..Plan::default()
    };
    Fleet::start(plan).await.unwrap()
}

/// The first reply of a provider's file that has this action.
fn reply_of(provider: &str, then: &str) -> Replied {
    let replay = replays::all().unwrap().remove(provider).unwrap();
    let mut replies = replay.replies.into_iter();
    replies.find(|one| one.then == then).unwrap()
}

fn host_of(provider: &str) -> String {
    replays::all().unwrap().remove(provider).unwrap().host
}

fn act(replied: &Replied) -> Act {
    let (code, text) = replied.parts().unwrap();
    Act::reply(code, text)
}

/// A provider as it is built in, with one rule that is over soon.
fn provider(name: &str, words: &str, keys: &str) -> String {
    format!(
        "kind: provider\nname: {name}\nextends: true\nautomation:\n  - match: {words}\n    for: 10s\n{keys}"
    )
}

/// Hands in so many messages, in turn at all senders.
async fn hand_in(fleet: &Fleet, domain: &str, count: usize) {
    let targets = fleet.senders.iter().map(|sender| sender.smtp).collect();
    let injector = Injector::new(InjectorConfig::to_all(targets));
    let messages = (0..count).map(|n| {
        let to = vec![format!("user{n}@{domain}")];
        Injected::generated(&format!("{domain}-{n}"), "a@here.test", to, 500)
    });
    let injected = injector.offer(messages.collect()).await;
    assert!(injected.iter().all(Injected::acked), "{injected:?}");
}

/// What is in force at a site.
fn in_force(fleet: &Fleet, site: &str) -> Option<Value> {
    let listed = fleet.ask(&["automation", "list"]).unwrap();
    let mut listed = listed.as_array().unwrap().iter();
    listed.find(|one| one["site"] == site).cloned()
}

async fn comes_into_force(fleet: &Fleet, site: &str) -> Value {
    let what = format!("a rule at {site}");
    let look = |fleet: &Fleet| in_force(fleet, site);
    fleet.until(&what, PATIENCE, look).await.unwrap()
}

async fn delivered(fleet: &Fleet, sink: &Sink, count: u64) {
    let look = |_: &Fleet| (sink.accepted() >= count).then_some(());
    fleet.until("all mail", PATIENCE, look).await.unwrap();
    assert_eq!(sink.accepted(), count);
}

/// What the event log has of rules at a site.
fn events_of(fleet: &Fleet, site: &str) -> Vec<Value> {
    let mut events = fleet.events().unwrap();
    events.retain(|event| event["event"] == "automation" && event["site"] == site);
    events
}

fn now_ms() -> u64 {
    skein_testkit::unix_ms()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// One connection for each sender at first, then one more with each second, and never more than policy says. Senders
/// go by the leader's time and hear of it a little later.
fn climbs_by_steps(visits: &[Visit], until_ms: u64, senders: usize) {
    let most: Vec<usize> = (0..12)
        .map(|second| {
            let from_ms = until_ms + second * 1000;
            most_at_once(visits, from_ms..from_ms + 1000).0
        })
        .collect();
    println!("at most {most:?} connections in each second of the way back");
    for (second, most) in most.iter().enumerate() {
        let allowed = senders * (second + 1).min(10);
        assert!(*most <= allowed, "{most} of {allowed} in second {second}");
    }
    assert!(most.iter().any(|most| *most > senders), "it climbs");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sender_leaves_a_provider_alone_that_defers_and_comes_back_by_steps() {
    const COUNT: usize = 150;
    const SENDERS: usize = 3;
    let fleet = start(SENDERS).await;
    let host = host_of("yahoo");
    let yahoo = fleet.sink(3, &host, &["yahoo.test"]).await.unwrap();
    let other = fleet.sink(4, "mx.else.test", &["else.test"]).await.unwrap();
    let rule = "    threshold: 2/h\n    action: suspend\n";
    let policy = provider("yahoo", r"'\[TSS04\]'", rule);
    fleet.apply(&policy).unwrap();
    fleet.skeinctl(&["site", "spread", "yahoo", "16"]).unwrap();
    tokio::time::sleep(POLICY_ARRIVES).await;

    let deferred = reply_of("yahoo", "suspend");
    let mails = Arc::new(Mutex::new(Vec::new()));
    let (heard, refusal) = (mails.clone(), act(&deferred));
    yahoo.set_script(move |moment| match moment.phase {
        // It refuses until every sender must have heard of it, however late the test sees that.
        Phase::Mail => {
            let at = now_ms() - millis(moment.arrived.elapsed());
            let mut heard = heard.lock().unwrap();
            heard.push(at);
            match at < heard[0] + millis(HEARD) {
                true => refusal.clone(),
                false => Act::Accept,
            }
        }
        Phase::Dot => Act::Delay(Duration::from_millis(150)),
        _ => Act::Accept,
    });
    hand_in(&fleet, "yahoo.test", COUNT).await;
    let force = comes_into_force(&fleet, "yahoo").await;
    let from_ms = force["until_ms"].as_u64().unwrap() - millis(LASTS);
    assert_eq!(force["action"], "suspend");
    assert_eq!(force["why"], deferred.reply);
    hand_in(&fleet, "else.test", 20).await;
    delivered(&fleet, &other, 20).await;
    let look = |_: &Fleet| (yahoo.accepted() >= COUNT as u64).then_some(());
    fleet.until("all mail", PATIENCE, look).await.unwrap();
    // Matches that were on their way may have moved the end.
    let climbing = in_force(&fleet, "yahoo");
    let latest = climbing.as_ref().unwrap_or(&force);
    let until_ms = latest["until_ms"].as_u64().unwrap();

    let mails = mails.lock().unwrap().clone();
    let heard_ms = from_ms + millis(HEARD);
    let meanwhile = mails.iter().filter(|at| (heard_ms..until_ms).contains(at));
    let (before, meanwhile) = (
        mails.iter().filter(|at| **at < heard_ms).count(),
        meanwhile.count(),
    );
    println!(
        "{before} transactions until {HEARD:?} after the threshold, {meanwhile} in the {} ms of the suspension",
        until_ms - heard_ms
    );
    assert_eq!(meanwhile, 0, "all senders wait");

    climbs_by_steps(&yahoo.visits(), until_ms, SENDERS);
    let ended = |fleet: &Fleet| in_force(fleet, "yahoo").is_none().then_some(());
    fleet
        .until("the climb's end", PATIENCE, ended)
        .await
        .unwrap();
    let senders: BTreeSet<String> = yahoo.records().iter().map(|one| one.helo.clone()).collect();
    assert!(senders.len() > 1, "{senders:?}");

    let events = fleet
        .until("the events", PATIENCE, |fleet| {
            let events = events_of(fleet, "yahoo");
            events
                .iter()
                .any(|one| one["what"] == "ended")
                .then_some(events)
        })
        .await
        .unwrap();
    let whats: Vec<&str> = events
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    println!("events: {whats:?}");
    assert_eq!(
        (
            whats[0],
            whats.iter().filter(|one| **one == "began").count()
        ),
        ("began", 1)
    );
    assert!(whats.iter().filter(|one| **one == "climbs").count() >= 5);
    assert!(events.iter().all(|one| one["why"] == deferred.reply));
    let shown = fleet.skeinctl(&["automation", "events"]).unwrap();
    assert!(shown.contains("suspend: 0.0.0.0 to yahoo"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_wants_fewer_connections_gets_one_until_an_operator_lifts_that() {
    let fleet = start(3).await;
    let host = host_of("outlook");
    let sink = fleet.sink(3, &host, &["hotmail.test"]).await.unwrap();
    let rule = "    threshold: 2/h\n    action: {connections: 1}\n";
    let policy = provider("outlook", "maximum number of connections", rule);
    fleet.apply(&policy).unwrap();
    tokio::time::sleep(POLICY_ARRIVES).await;
    let refusals = Arc::new(AtomicUsize::new(0));
    let (count, replied) = (refusals.clone(), reply_of("outlook", "connections 1"));
    let refusal = act(&replied);
    sink.set_script(move |moment| match moment.phase {
        Phase::Connect if count.fetch_add(1, Ordering::Relaxed) < 2 => refusal.clone(),
        Phase::Dot => Act::Delay(Duration::from_millis(100)),
        _ => Act::Accept,
    });
    hand_in(&fleet, "hotmail.test", 200).await;
    let force = comes_into_force(&fleet, "outlook").await;
    assert_eq!(force["action"], "connections 1");
    tokio::time::sleep(HEARD).await;
    let heard_ms = now_ms();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let until_ms = now_ms();
    assert!(in_force(&fleet, "outlook").is_some());
    let (most, at_ms) = most_at_once(&sink.visits(), heard_ms..until_ms);
    assert_eq!(most, 1, "{} ms after it was heard of", at_ms - heard_ms);

    let nobody = fleet.try_skeinctl(0, &["automation", "lift"]).unwrap();
    let says = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        !nobody.status.success() && says.contains("site: name a site"),
        "{says}"
    );
    let wrong = fleet
        .try_skeinctl(0, &["automation", "lift", "--site", "gmail"])
        .unwrap();
    let says = String::from_utf8(wrong.stderr).unwrap();
    assert!(
        !wrong.status.success() && says.contains("automation list"),
        "{says}"
    );
    let lift = [
        "automation",
        "lift",
        "--site",
        "outlook",
        "--why",
        "they agreed",
    ];
    assert_eq!(fleet.skeinctl(&lift).unwrap(), "1 lifted.\n");
    let lifted = Instant::now();
    let look = |_: &Fleet| (sink.open() > 1).then_some(());
    fleet
        .until("more connections", PATIENCE, look)
        .await
        .unwrap();
    println!(
        "1 connection while in force; more {:?} after it was lifted",
        lifted.elapsed()
    );
    delivered(&fleet, &sink, 200).await;
    let lifted = fleet
        .until("the event", PATIENCE, |fleet| {
            let mut events = events_of(fleet, "outlook").into_iter();
            events.find(|event| event["what"] == "lifted")
        })
        .await
        .unwrap();
    assert_eq!(lifted["why"], "they agreed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_busy_gets_mail_slowly_and_then_faster() {
    const COUNT: usize = 150;
    let fleet = start(3).await;
    let host = host_of("office365");
    let sink = fleet.sink(3, &host, &["company.test"]).await.unwrap();
    let rule = "    threshold: 3/h\n    action: {rate: 2/s}\n";
    let policy = provider("office365", "'Server busy'", rule);
    fleet.apply(&policy).unwrap();
    tokio::time::sleep(POLICY_ARRIVES).await;
    let count = Arc::new(AtomicUsize::new(0));
    let refusal = act(&reply_of("office365", "rate 1/min"));
    let refused = count.clone();
    sink.set_script(move |moment| match moment.phase {
        Phase::Rcpt if refused.fetch_add(1, Ordering::Relaxed) < 3 => refusal.clone(),
        Phase::Dot => Act::Delay(Duration::from_millis(50)),
        _ => Act::Accept,
    });
    hand_in(&fleet, "company.test", COUNT).await;
    let force = comes_into_force(&fleet, "office365").await;
    let until_ms = force["until_ms"].as_u64().unwrap();
    let from_ms = now_ms() + u64::try_from(HEARD.as_millis()).unwrap();
    delivered(&fleet, &sink, COUNT as u64).await;
    let mut times: Vec<u64> = sink
        .records()
        .iter()
        .filter(|one| one.accepted)
        .map(|one| one.at_ms)
        .collect();
    times.sort_unstable();
    let within = |from: u64, to: u64| times.iter().filter(|at| (from..to).contains(*at)).count();
    let most = |from: u64, to: u64| {
        let firsts = times.iter().filter(|at| (from..to).contains(*at));
        firsts
            .map(|first| within(*first, first + 1000 - skein_testkit::sink::TICKS_MS))
            .max()
            .unwrap_or(0)
    };
    let (low, high) = (
        most(from_ms, until_ms - 1000),
        most(until_ms, u64::MAX - 1000),
    );
    let slowly = within(from_ms, until_ms);
    println!("at most {low} in a second while in force ({slowly} in all), {high} afterwards");
    assert!(low <= 2 && slowly > 5, "{low} {slowly}");
    assert!(high > 5, "{high}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_a_rule_gives_up_fails_with_a_report_and_an_ip_that_rests_leaves_mail_to_another()
{
    let fleet = start(1).await;
    let qq = fleet.sink(3, &host_of("qq"), &["qq.test"]).await.unwrap();
    let mimecast = fleet
        .sink(4, &host_of("mimecast"), &["big.test"])
        .await
        .unwrap();
    let ip =
        |n: u8| format!("---\nkind: ip\nname: a{n}\nbind: 127.0.0.{n}\nehlo: a{n}.here.test\n");
    let gives_up =
        "    threshold: 2/h\n    scope: tenant\n    action: bounce\nper_ip: {connections: 1}\n";
    let policy = [
        provider("qq", "Mail content denied", gives_up),
        "---\n".to_owned(),
        provider(
            "mimecast",
            "Internal resource",
            "    threshold: 2/h\n    action: rest_ip\n",
        ),
        ip(5),
        ip(6),
        "---\nkind: pool\nname: default\nmembers: [{ip: a5}, {ip: a6}]\n".to_owned(),
    ];
    fleet.apply(&policy.concat()).unwrap();
    tokio::time::sleep(POLICY_ARRIVES).await;
    let denied = act(&replays::all().unwrap()["qq"].replies[3]);
    qq.set_script(move |moment| match moment.phase {
        Phase::Dot => denied.clone(),
        Phase::Mail => Act::Delay(Duration::from_millis(200)),
        _ => Act::Accept,
    });
    hand_in(&fleet, "qq.test", 30).await;
    let given_up = |fleet: &Fleet| {
        let mut events = fleet.events().unwrap();
        events.retain(|event| {
            event["event"] == "bounced" && event["reply"].as_str().unwrap().contains("given up")
        });
        (events.len() > 5).then_some(events)
    };
    let bounced = fleet
        .until("mail that is given up", PATIENCE, given_up)
        .await
        .unwrap();
    println!("{} of 30 given up: {}", bounced.len(), bounced[0]["reply"]);
    assert!(
        bounced
            .iter()
            .all(|event| event["related_message"].is_string())
    );
    assert!(
        bounced[0]["reply"]
            .as_str()
            .unwrap()
            .contains("Mail content denied")
    );

    let busy = act(&reply_of("mimecast", "suspend"));
    mimecast.set_script(move |moment| {
        let is_tired = moment.peer.ip().to_string() == "127.0.0.5";
        match moment.phase {
            Phase::Rcpt if is_tired => busy.clone(),
            _ => Act::Accept,
        }
    });
    hand_in(&fleet, "big.test", 10).await;
    let force = comes_into_force(&fleet, "mimecast").await;
    assert_eq!(
        (&force["action"], &force["ip"]),
        (&"rest-ip".into(), &"127.0.0.5".into())
    );
    tokio::time::sleep(HEARD).await;
    let before = mimecast.records().len();
    hand_in(&fleet, "big.test", 20).await;
    delivered(&fleet, &mimecast, 30).await;
    let records = mimecast.records();
    let from = records[before..]
        .iter()
        .map(|one| one.peer.ip().to_string());
    let from: BTreeSet<String> = from.collect();
    println!("mail comes from {from:?} while 127.0.0.5 rests");
    assert_eq!(from, BTreeSet::from(["127.0.0.6".to_owned()]));
}

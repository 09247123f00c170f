//! New source IPs send what their schedule says, whoever sends and whatever ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Act, Phase, Sink};
use skein_tests::fleet::{Fleet, Plan};

const PATIENCE: Duration = Duration::from_secs(30);
const POLICY_ARRIVES: Duration = Duration::from_secs(4);
/// Longer than tasks wait between two attempts, and than senders wait before they ask again.
const QUIET: Duration = Duration::from_secs(6);
const STILL: Duration = Duration::from_secs(3);
const IPS: [&str; 3] = ["a1", "a2", "a3"];
/// Domains with the provider whose budget their mail takes, the host, and the stages of one IP.
const PROVIDERS: [(&str, &str, &str, [u64; 3]); 3] = [
    (
        "yahoo.test",
        "yahoo",
        "mta5.am0.yahoodns.net",
        [30, 60, 100],
    ),
    (
        "hotmail.test",
        "outlook",
        "outlook-com.olc.protection.outlook.com",
        [18, 36, 60],
    ),
    ("else.test", "default", "mx.else.test", [12, 24, 40]),
];

/// An offset by which the day ends in three quarters of an hour: all of its budget is open.
pub fn late_in_the_day() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let minutes = i64::try_from(since.as_secs() / 60 % 1440).unwrap();
    let offset = 23 * 60 + 15 - minutes;
    let offset = if offset > 14 * 60 {
        offset - 1440
    } else {
        offset
    };
    let sign = if offset < 0 { '-' } else { '+' };
    let offset = offset.abs();
    format!("{sign}{:02}:{:02}", offset / 60, offset % 60)
}

fn policy() -> String {
    let mut policy = String::new();
    for (n, ip) in IPS.iter().enumerate() {
        let address = format!("127.0.0.{}", 11 + n);
        policy += &format!("kind: ip\nname: {ip}\nbind: {address}\nehlo: {ip}.here.test\n---\n");
    }
    let schedule =
        "schedule: {table: [60, 120, 200]}\nproviders: {yahoo: 50, outlook: 30}\nfloor: 5\n";
    policy
        + &format!(
            "kind: provider\nname: default\nextends: true\nper_ip: {{connection_rate: 100/s}}\n---\n\
             kind: pool\nname: default\nmembers: [{{ip: a1}}, {{ip: a2}}, {{ip: a3}}]\n---\nkind: warmup\nname: \
             new\npool: default\n{schedule}utc_offset: '{}'\n",
            late_in_the_day()
        )
}

struct Stage {
    fleet: Fleet,
    sinks: Vec<Sink>,
}

impl Stage {
    /// With policy known everywhere, and every provider's mail spread over all senders.
    async fn set(control: usize, senders: usize) -> Self {
        let plan = Plan {
            control,
            senders,
            spool_groups: Some(1),
            ..Plan::default()
        };
        let fleet = Fleet::start(plan).await.unwrap();
        let mut sinks = Vec::new();
        for (last, (domain, _, host, _)) in (3..).zip(PROVIDERS) {
            let sink = fleet.sink(last, host, &[domain]).await.unwrap();
            sinks.push(sink);
        }
        fleet.apply(&policy()).unwrap();
        for site in ["yahoo", "outlook", "mx.else.test"] {
            fleet.skeinctl(&["site", "spread", site, "8"]).unwrap();
        }
        tokio::time::sleep(POLICY_ARRIVES).await;
        Self { fleet, sinks }
    }

    async fn hand_in(&self, count: usize) {
        let targets = self
            .fleet
            .senders
            .iter()
            .map(|sender| sender.smtp)
            .collect();
        let injector = Injector::new(InjectorConfig::to_all(targets));
        let messages = PROVIDERS.iter().flat_map(|(domain, ..)| {
            (0..count).map(move |n| {
                let to = vec![format!("user{n}@{domain}")];
                Injected::generated(&format!("{domain}-{n}"), "a@here.test", to, 500)
            })
        });
        let injected = injector.offer(messages.collect()).await;
        assert!(injected.iter().all(Injected::acked), "{injected:?}");
    }

    fn accepted(&self) -> u64 {
        self.sinks.iter().map(Sink::accepted).sum()
    }

    /// Messages by IP and provider.
    fn counts(&self) -> BTreeMap<(String, &'static str), u64> {
        let mut counts = BTreeMap::new();
        for (sink, (_, provider, ..)) in self.sinks.iter().zip(PROVIDERS) {
            for record in sink.records().iter().filter(|record| record.accepted) {
                let ip = record.helo.split('.').next().unwrap().to_owned();
                *counts.entry((ip, provider)).or_default() += 1;
            }
        }
        counts
    }

    /// Waits until nothing has arrived for a while.
    async fn quiet(&self) {
        let (mut last, mut since) = (self.accepted(), Instant::now());
        let look = |_: &Fleet| {
            if self.accepted() != last {
                (last, since) = (self.accepted(), Instant::now());
            }
            (since.elapsed() >= STILL).then_some(())
        };
        self.fleet.until("quiet", PATIENCE, look).await.unwrap();
    }

    async fn arrived(&self, count: u64) {
        let look = |_: &Fleet| (self.accepted() >= count).then_some(());
        let what = format!("{count} messages");
        let arrived = self.fleet.until(&what, PATIENCE, look).await;
        assert!(
            arrived.is_ok(),
            "{:?}\n{}{}{}",
            self.counts(),
            self.fleet.skeinctl(&["warmup", "status"]).unwrap(),
            self.fleet.skeinctl(&["queue", "list"]).unwrap(),
            self.fleet.skeinctl(&["explain", "site", "yahoo"]).unwrap(),
        );
    }

    fn warmup(&self, args: &[&str]) -> String {
        let ips = IPS.iter().flat_map(|ip| ["--ip", *ip]);
        let args: Vec<&str> = ["warmup"]
            .into_iter()
            .chain(args.iter().copied())
            .chain(ips)
            .collect();
        self.fleet.skeinctl(&args).unwrap()
    }

    fn status(&self) -> Vec<Value> {
        let listed = self.fleet.ask(&["warmup", "status"]).unwrap();
        listed.as_array().unwrap().clone()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.fleet.try_skeinctl(0, args).unwrap();
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Prints and compares what came with the volumes of a stage.
fn against(
    counts: &BTreeMap<(String, &str), u64>,
    stage: usize,
    is_right: impl Fn(u64, u64) -> bool,
) {
    for ip in IPS {
        for (_, provider, _, volumes) in PROVIDERS {
            let count = counts.get(&(ip.to_owned(), provider)).copied().unwrap_or(0);
            println!("{ip} at {provider}: {count} of {}", volumes[stage]);
            assert!(
                is_right(count, volumes[stage]),
                "{ip} at {provider}: {counts:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_senders_share_the_first_days_budgets_and_operators_change_them() {
    const COUNT: usize = 240;
    let stage = Stage::set(1, 3).await;
    stage.hand_in(COUNT).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.accepted(), 0, "nothing is sent before the start");
    assert!(
        stage
            .status()
            .iter()
            .all(|one| one["phase"] == "not started")
    );

    assert_eq!(stage.warmup(&["start"]), "9 started.\n");
    let first: u64 = PROVIDERS.iter().map(|one| one.3[0] * 3).sum();
    stage.arrived(first).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    against(&stage.counts(), 0, |count, volume| count == volume);
    // Senders tell what they delivered a little later.
    let told = |_: &Fleet| {
        let status = stage.status();
        let all = |key: &str| status.iter().all(|one| one[key] == one["budget"]);
        (all("delivered") && all("granted")).then_some(status)
    };
    let status = stage.fleet.until("all budgets used", PATIENCE, told).await;
    for one in status.unwrap() {
        assert!(
            one["outlook"].as_str().unwrap().starts_with("advances to"),
            "{one}"
        );
    }
    println!("{}", stage.fleet.skeinctl(&["warmup", "status"]).unwrap());

    for (args, words) in [
        (
            &["warmup", "start", "--ip", "a9"][..],
            "ip: there is no source IP \"a9\"",
        ),
        (
            &["warmup", "pause", "--ip", "a1", "--provider", "gmail"],
            "provider: warm-up new has no budget",
        ),
        (
            &["warmup", "skip", "--ip", "a1", "--stage", "4"],
            "stage: the schedule of a1 at yahoo has stages 1 to 3",
        ),
        (
            &["warmup", "start", "--ip", "a1"],
            "a1 at yahoo: it is being warmed up",
        ),
        (
            &["warmup", "resume", "--ip", "a1"],
            "a1 at yahoo: it is not paused",
        ),
    ] {
        let says = stage.refused(args);
        assert!(says.contains(words), "{says}");
    }

    stage.warmup(&["pause"]);
    stage.warmup(&["skip", "--stage", "2"]);
    tokio::time::sleep(QUIET).await;
    assert_eq!(stage.accepted(), first, "a pause holds");
    stage.warmup(&["resume"]);
    let second: u64 = PROVIDERS.iter().map(|one| one.3[1] * 3).sum();
    stage.arrived(second).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    against(&stage.counts(), 1, |count, volume| count == volume);

    // A warm member takes what the others cannot.
    stage
        .fleet
        .skeinctl(&["warmup", "stop", "--ip", "a2"])
        .unwrap();
    stage.arrived(3 * COUNT as u64).await;
    let counts = stage.counts();
    let others = counts.iter().filter(|((ip, _), _)| ip != "a2");
    let others: u64 = others.map(|(_, count)| *count).sum();
    println!(
        "of {} messages {others} from a1 and a3, the rest from a2, which is warm",
        3 * COUNT
    );
    assert_eq!(others, second / 3 * 2);
    let changes = stage
        .fleet
        .skeinctl(&["warmup", "status", "--ip", "a2", "--changes"])
        .unwrap();
    for word in ["started", "paused", "skipped", "resumed", "stopped"] {
        assert!(changes.contains(word), "{changes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_not_exceeded_when_a_sender_and_the_leader_are_killed() {
    let mut stage = Stage::set(3, 3).await;
    let leader = stage.fleet.meta_leader().unwrap();
    for sink in &stage.sinks {
        // Long enough that processes end in the middle.
        sink.set_script(|moment| match moment.phase {
            Phase::Dot => Act::Delay(Duration::from_millis(200)),
            _ => Act::Accept,
        });
    }
    stage.hand_in(330).await;
    stage.warmup(&["start", "--stage", "3"]);
    stage.arrived(100).await;
    stage.fleet.control[leader].kill().unwrap();
    stage.fleet.senders[0].kill().unwrap();
    let before = stage.accepted();
    let budgets: u64 = PROVIDERS.iter().map(|one| one.3[2] * 3).sum();
    // Until the slots of the one that was killed have moved, and all is granted.
    let granted = |_: &Fleet| {
        let status = stage.status();
        let all = status.iter().all(|one| one["granted"] == one["budget"]);
        all.then_some(())
    };
    let fleet = &stage.fleet;
    fleet.until("all grants", PATIENCE, granted).await.unwrap();
    stage.quiet().await;
    let counts = stage.counts();
    let total: u64 = counts.values().sum();
    println!("{before} before the kills, {total} of {budgets} in all");
    against(&counts, 2, |count, volume| count <= volume);
    assert!(before < budgets && total > before, "the others go on");
    // What is missing was in the hands of the one that was killed: a sixteenth of each budget, and what it had begun.
    let lost = budgets - total;
    assert!(lost <= budgets / 8, "{lost} of {budgets} are lost");
}

//! The list of metrics is what nodes of each role export, and Prometheus has nothing to say against it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::http_get;
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::manifest_dir;

const WITHIN: Duration = Duration::from_secs(60);

/// A row of the list.
struct Listed {
    kind: String,
    labels: BTreeSet<String>,
    role: String,
}

impl Listed {
    fn is_of(&self, role: &str) -> bool {
        let of = self.role.split([',', ' ']).next().unwrap();
        of == "every" || of == role || (of == "egress" && role == "sender")
    }

    /// Whether every node of the role, or a leader among them, has it from the start.
    fn is_there_from_the_start(&self) -> bool {
        !self.role.ends_with('*')
    }
}

fn listed() -> BTreeMap<String, Listed> {
    let path = manifest_dir().join("../deploy/docs/src/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
        let [name, kind, labels, role, _, ""] = cells.as_slice() else {
            return None;
        };
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        let labels = labels.split(", ").map(|label| label.trim_matches('`'));
        let row = Listed {
            kind: (*kind).to_owned(),
            labels: labels
                .filter(|label| !label.is_empty())
                .map(str::to_owned)
                .collect(),
            role: (*role).to_owned(),
        };
        Some((name.to_owned(), row))
    });
    rows.collect()
}

/// What a node exports: names with their type and the labels of their series.
fn exported(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap();
            found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
            let ends = ["", "_bucket", "_sum", "_count"].iter();
            let mut bases = ends.filter_map(|end| name.strip_suffix(end));
            let base = bases.find(|base| found.contains_key(*base));
            let (_, labels) = found.get_mut(base.expect(line)).unwrap();
            let rest = rest
                .strip_prefix('{')
                .and_then(|rest| rest.rsplit_once('}'));
            let pairs = rest.map_or("", |(labels, _)| labels).split("\",");
            let names = pairs.filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            labels.extend(names.filter(|name| name != "le"));
        }
    }
    found
}

fn promtool(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("`cargo xtask setup --tests` installs promtool");
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

async fn metrics(http: SocketAddr) -> String {
    let (status, text) = http_get(http, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_metrics_is_what_nodes_of_each_role_export() {
    let fleet = Fleet::start(Plan {
        control: 3,
        senders: 1,
        ..Plan::default()
    })
    .await
    .unwrap();
    let sink = fleet
        .sink(11, "mx.there.test", &["there.test"])
        .await
        .unwrap();
    let injector = Injector::new(InjectorConfig::to(fleet.senders[0].smtp));
    let messages = (0..20).map(|nth| {
        let to = vec![format!("u{nth}@there.test"), format!("u{nth}@nowhere.test")];
        Injected::generated(&format!("m{nth}"), "a@b.test", to, 500)
    });
    let offered = injector.offer(messages.collect()).await;
    assert!(offered.iter().all(Injected::acked), "{offered:?}");
    skein_tests::until("mail", WITHIN, Duration::from_millis(100), || {
        (sink.records().len() >= 20).then_some(())
    })
    .await
    .unwrap();
    // The queues are looked through every 15 s.
    tokio::time::sleep(Duration::from_secs(17)).await;

    let listed = listed();
    assert!(listed.len() > 80, "{}", listed.len());
    let mut of_role = BTreeMap::<&str, BTreeSet<String>>::new();
    let nodes = fleet.control.iter().map(|node| ("control", node.http));
    let nodes = nodes.chain(fleet.senders.iter().map(|node| ("sender", node.http)));
    for (role, http) in nodes {
        let text = metrics(http).await;
        promtool(&text);
        for (name, (kind, labels)) in exported(&text) {
            let row = listed
                .get(&name)
                .unwrap_or_else(|| panic!("{name} is not in the list"));
            assert!(row.is_of(role), "{name} at a node of role {role}");
            assert_eq!(row.kind, kind, "{name}");
            let is_known = labels.is_subset(&row.labels);
            assert!(
                is_known,
                "{name}: {labels:?}, and the list has {:?}",
                row.labels
            );
            of_role.entry(role).or_default().insert(name);
        }
    }
    for (name, row) in &listed {
        for role in ["control", "sender"] {
            let is_missing = !of_role[role].contains(name);
            let is_due = row.is_of(role) && row.is_there_from_the_start();
            assert!(
                !(is_due && is_missing),
                "no node of role {role} exports {name}"
            );
        }
    }
    let never: Vec<&String> = listed
        .keys()
        .filter(|name| !of_role.values().any(|names| names.contains(*name)))
        .collect();
    println!("listed and not seen, as their events did not come: {never:?}");
    one_leader_tells(&fleet).await;
}

/// What all replicas know is told once.
async fn one_leader_tells(fleet: &Fleet) {
    let mut tellers = BTreeMap::<String, usize>::new();
    for node in &fleet.control {
        let text = metrics(node.http).await;
        let series = text.lines().filter(|line| {
            line.starts_with("skein_spool_messages{") || line.starts_with("skein_sessions{")
        });
        for line in series {
            let (series, _) = line.rsplit_once(' ').unwrap();
            *tellers.entry(series.to_owned()).or_default() += 1;
        }
    }
    assert!(tellers.len() > 1, "{tellers:?}");
    assert!(tellers.values().all(|count| *count == 1), "{tellers:?}");
}

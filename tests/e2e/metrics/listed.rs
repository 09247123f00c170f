//! The list of metrics is what nodes of each role export, and Prometheus has nothing to say against it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_tests::fleet::{Fleet, Plan};
use skein_tests::manifest_dir;

use super::scrape::{Scrape, WITHIN};
use super::states::ELSEWHERE;

/// A row of the list.
pub struct Listed {
    pub kind: String,
    pub labels: BTreeSet<String>,
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

pub fn listed() -> BTreeMap<String, Listed> {
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
    let listed = listed();
    assert!(listed.len() > 80, "{}", listed.len());
    // What leaders tell of queues comes when they have looked through them.
    let until = tokio::time::Instant::now() + WITHIN;
    let (mut scrapes, of_role) = loop {
        let scrapes = scrape(&fleet).await;
        let of_role = names(&scrapes);
        let missing = missing(&listed, &of_role);
        if missing.is_empty() {
            break (scrapes, of_role);
        }
        let is_over = tokio::time::Instant::now() > until;
        assert!(!is_over, "no node of the role exports {missing:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    for (role, scrape) in &scrapes {
        promtool(&scrape.text);
        check(&listed, role, scrape);
    }
    scrapes.retain(|(role, _)| *role == "control");
    one_leader_tells(&scrapes);
    for (name, _) in ELSEWHERE.iter().filter(|(_, test)| *test == "listed") {
        assert!(of_role["control"].contains(*name), "{name}");
    }
    let never: Vec<&String> = listed
        .keys()
        .filter(|name| !of_role.values().any(|names| names.contains(*name)))
        .collect();
    println!("listed and not seen, as their events did not come: {never:?}");
}

/// Of all nodes, with their role.
async fn scrape(fleet: &Fleet) -> Vec<(&'static str, Scrape)> {
    let nodes = fleet.control.iter().map(|node| ("control", node.http));
    let nodes = nodes.chain(fleet.senders.iter().map(|node| ("sender", node.http)));
    let mut scrapes = Vec::new();
    for (role, http) in nodes {
        scrapes.push((role, Scrape::of(http).await));
    }
    scrapes
}

/// What nodes of each role export.
fn names(scrapes: &[(&'static str, Scrape)]) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut of_role = BTreeMap::<_, BTreeSet<String>>::new();
    for (role, scrape) in scrapes {
        let names = scrape.families.keys().cloned();
        of_role.entry(*role).or_default().extend(names);
    }
    of_role
}

/// What is to be there from the start.
fn missing<'l>(
    listed: &'l BTreeMap<String, Listed>,
    of_role: &BTreeMap<&'static str, BTreeSet<String>>,
) -> Vec<(&'static str, &'l str)> {
    let due = |role| {
        let due = listed.iter();
        let due = due.filter(move |(_, row)| row.is_of(role) && row.is_there_from_the_start());
        due.map(move |(name, _)| (role, name.as_str()))
    };
    let all = due("control").chain(due("sender"));
    all.filter(|(role, name)| !of_role[role].contains(*name))
        .collect()
}

/// Whether all that a node exports is in the list as it is.
pub fn check(listed: &BTreeMap<String, Listed>, role: &str, scrape: &Scrape) {
    for (name, (kind, labels)) in &scrape.families {
        let row = listed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the list"));
        assert!(row.is_of(role), "{name} at a node of role {role}");
        assert_eq!(row.kind, *kind, "{name}");
        let is_known = labels.is_subset(&row.labels);
        assert!(
            is_known,
            "{name}: {labels:?}, and the list has {:?}",
            row.labels
        );
    }
}

/// What all replicas know is told once.
fn one_leader_tells(scrapes: &[(&'static str, Scrape)]) {
    let mut tellers = BTreeMap::<&str, usize>::new();
    for (_, scrape) in scrapes {
        let series = scrape.text.lines().filter(|line| {
            line.starts_with("skein_spool_messages{") || line.starts_with("skein_sessions{")
        });
        for line in series {
            let (series, _) = line.rsplit_once(' ').unwrap();
            *tellers.entry(series).or_default() += 1;
        }
    }
    assert!(tellers.len() > 1, "{tellers:?}");
    assert!(tellers.values().all(|count| *count == 1), "{tellers:?}");
}

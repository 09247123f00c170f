//! Dashboards, alert rules and runbooks: each metric and label that they name is in the table of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::blocks::{below, pages, root};
use crate::reference::rows;

/// What Prometheus itself puts on each series.
const OF_TARGETS: [&str; 4] = ["instance", "job", "namespace", "pod"];
const RUNBOOKS: &str = "https://github.com/skein-mail/skein/blob/main/deploy/runbooks/";

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Every series that a node may export, with its labels.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let text = read("deploy/docs/src/metrics.md");
    let mut found = BTreeMap::new();
    for cells in rows(&text) {
        let [name, kind, labels, ..] = cells[..] else {
            continue;
        };
        let name = name.trim_matches('`').to_owned();
        let labels: BTreeSet<String> = labels
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        match kind {
            "histogram" => {
                let mut with_le = labels.clone();
                with_le.insert("le".to_owned());
                found.insert(format!("{name}_bucket"), with_le);
                found.insert(format!("{name}_sum"), labels.clone());
                found.insert(format!("{name}_count"), labels);
            }
            "gauge" | "counter" => {
                found.insert(name, labels);
            }
            _ => {}
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

/// A word of PromQL, and what follows it.
fn words(text: &str) -> Vec<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(is_part) {
        let word = &rest[begin..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        found.push(word.split_at(end));
        rest = &word[end..];
    }
    found
}

fn is_metric(word: &str) -> bool {
    let is_group = word == "process_" || word == "skein_";
    (word.starts_with("skein_") || word.starts_with("process_")) && !is_group
}

/// The names of labels in `{name="value", ...}` or `(name, ...)`, which the text begins with.
fn labels_in(text: &str, open: char, close: char) -> Vec<&str> {
    let Some(inner) = text.trim_start().strip_prefix(open) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut rest = inner;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (label, after) = rest.split_at(end);
        if label.is_empty() {
            return found;
        }
        found.push(label);
        let value = after.trim_start_matches(['=', '!', '~', ' ']);
        // Quotes within JSON have a backslash before them, which the reader has taken away.
        rest = match value
            .strip_prefix('"')
            .and_then(|value| value.split_once('"'))
        {
            Some((_, after)) => after,
            None => after,
        };
        if rest.starts_with(close) {
            return found;
        }
    }
}

/// What a query names that no node exports.
fn unknown(query: &str, exported: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let any: BTreeSet<&String> = exported.values().flatten().collect();
    let is_target = |label: &str| OF_TARGETS.contains(&label);
    let mut found = Vec::new();
    for (word, rest) in words(query) {
        if is_metric(word) {
            let Some(labels) = exported.get(word) else {
                found.push(word.to_owned());
                continue;
            };
            let named = labels_in(rest, '{', '}').into_iter();
            let named = named.filter(|label| !labels.contains(*label) && !is_target(label));
            found.extend(named.map(|label| format!("{word}{{{label}}}")));
        } else if [
            "by",
            "without",
            "on",
            "ignoring",
            "group_left",
            "group_right",
        ]
        .contains(&word)
        {
            let named = labels_in(rest, '(', ')').into_iter();
            let named =
                named.filter(|label| !any.contains(&(*label).to_owned()) && !is_target(label));
            found.extend(named.map(|label| format!("{word} ({label})")));
        }
    }
    found
}

fn json_files() -> Vec<PathBuf> {
    let folder = root().join("deploy/dashboards").read_dir().unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "json"));
    files.sort();
    files
}

/// All values of a key, wherever it stands.
fn values_of<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|below| values_of(below, key, found));
        }
        Value::Array(all) => all.iter().for_each(|below| values_of(below, key, found)),
        _ => {}
    }
}

#[test]
fn every_query_names_what_nodes_export() {
    let exported = exported();
    for file in json_files() {
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let mut queries = Vec::new();
        for key in ["expr", "query", "definition"] {
            values_of(&dashboard, key, &mut queries);
        }
        assert!(queries.len() > 5, "{}", file.display());
        for query in queries {
            assert_eq!(
                unknown(query, &exported),
                Vec::<String>::new(),
                "{}: {query}",
                file.display()
            );
        }
    }
    let rules = read("deploy/alerts/skein.rules.yaml");
    assert_eq!(
        unknown(&rules, &exported),
        Vec::<String>::new(),
        "the rules"
    );
    let tests = read("deploy/alerts/tests/skein.rules.test.yaml");
    assert_eq!(
        unknown(&tests, &exported),
        Vec::<String>::new(),
        "the tests of the rules"
    );
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        // A part of the program in a filter of the log, such as `skein_sender=debug`, is no metric.
        let names = words(&text)
            .into_iter()
            .filter(|(_, rest)| !rest.starts_with('='));
        let mut names = names
            .map(|(word, _)| word)
            .filter(|word| word.starts_with("skein_"));
        // The table says the base name of a histogram, and a page may as well.
        let is_known = |word: &str| {
            exported.contains_key(word) || exported.contains_key(&format!("{word}_count"))
        };
        let invented = names.find(|word| !is_known(word));
        assert_eq!(invented, None, "{}", page.display());
    }
}

#[test]
fn names_that_nobody_exports_are_found() {
    let exported = exported();
    for (query, expected) in [
        ("sum by (group) (skein_spool_tasks)", &[][..]),
        (
            "skein_spool_tasks{group=\"1\", instance=~\"$instance\"}",
            &[],
        ),
        ("rate(skein_accept_seconds_bucket{le=\"1\"}[5m])", &[]),
        ("skein_spool_task", &["skein_spool_task"]),
        (
            "skein_spool_tasks{grup=\"1\"}",
            &["skein_spool_tasks{grup}"],
        ),
        (
            "sum by (group, colour) (skein_spool_tasks)",
            &["by (colour)"],
        ),
    ] {
        assert_eq!(unknown(query, &exported), expected, "{query}");
    }
}

#[test]
fn dashboards_are_of_one_form() {
    let files = json_files();
    assert_eq!(files.len(), 4, "{files:?}");
    let mut uids = BTreeSet::new();
    for file in &files {
        let name = file.display();
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(dashboard["schemaVersion"], 39, "{name}");
        assert!(
            dashboard.get("id").is_none(),
            "{name}: an id is of one Grafana"
        );
        assert!(
            uids.insert(dashboard["uid"].as_str().unwrap().to_owned()),
            "{name}: another one has its uid"
        );
        let mut links = Vec::new();
        values_of(&dashboard, "url", &mut links);
        let runbooks = links.iter().filter_map(|link| link.strip_prefix(RUNBOOKS));
        let runbooks: Vec<&str> = runbooks.collect();
        assert!(!runbooks.is_empty(), "{name} links to no runbook");
        for runbook in runbooks {
            let there = root().join("deploy/runbooks").join(runbook);
            assert!(there.exists(), "{name}: there is no runbook {runbook}");
        }
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            if panel["type"] == "row" {
                continue;
            }
            for part in ["/description", "/fieldConfig/defaults/unit"] {
                let said = panel
                    .pointer(part)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                assert!(!said.is_empty(), "{name}: {title}: {part} is missing");
            }
            assert_eq!(
                panel["datasource"]["uid"], "${DS_PROMETHEUS}",
                "{name}: {title}"
            );
        }
    }
}

/// What the file of rules says of an alert, by key.
fn alerts() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = read("deploy/alerts/skein.rules.yaml");
    let mut found = BTreeMap::<String, BTreeMap<String, String>>::new();
    let mut open = None::<String>;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            open = Some(name.to_owned());
            let earlier = found.insert(name.to_owned(), BTreeMap::new());
            assert!(earlier.is_none(), "{name} is there twice");
        } else if line.starts_with("- record: ") || line.starts_with("- name: ") {
            open = None;
        } else if let (Some(alert), Some((key, value))) = (&open, line.split_once(": ")) {
            let keys = found.entry(alert.clone()).or_default();
            keys.entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
        }
    }
    found
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let alerts = alerts();
    for (name, keys) in &alerts {
        let said = |key: &str| keys.get(key).map_or("", String::as_str);
        assert!(
            ["page", "ticket"].contains(&said("severity")),
            "{name}: {keys:?}"
        );
        for key in ["expr", "for", "summary"] {
            assert!(!said(key).is_empty(), "{name} has no {key}");
        }
        assert!(
            said("description").contains("$value"),
            "{name}: the description says no value"
        );
        assert_eq!(said("runbook_url"), format!("{RUNBOOKS}{name}.md"));
    }
    let runbooks = below(&root().join("deploy/runbooks")).into_iter();
    let runbooks = runbooks.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned());
    let runbooks: BTreeSet<String> = runbooks.filter(|name| name != "README").collect();
    assert_eq!(runbooks, alerts.into_keys().collect());
}

fn promtool(args: &[&str], file: &Path) {
    let mut command = Command::new("promtool");
    let output = command.args(args).arg(file).output();
    let output = output.expect(
        "promtool is of Debian's package prometheus, which `cargo xtask setup --tests` installs",
    );
    assert!(
        output.status.success(),
        "{args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn rules_are_sound_and_each_alert_fires_and_is_quiet() {
    let folder = root().join("deploy/alerts");
    promtool(&["check", "rules"], &folder.join("skein.rules.yaml"));
    promtool(
        &["test", "rules"],
        &folder.join("tests/skein.rules.test.yaml"),
    );
    let tests = read("deploy/alerts/tests/skein.rules.test.yaml");
    let cases: Vec<&str> = tests.split("alertname: ").skip(1).collect();
    for name in alerts().keys() {
        let of_it = cases
            .iter()
            .filter(|case| case.lines().next() == Some(name));
        let (quiet, firing): (Vec<&str>, Vec<&str>) =
            of_it.partition(|case| case.contains("exp_alerts: []"));
        assert!(
            !quiet.is_empty() && !firing.is_empty(),
            "{name} needs a case that fires and one that is quiet"
        );
    }
}

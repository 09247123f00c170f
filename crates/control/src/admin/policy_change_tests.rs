#![expect(clippy::unwrap_used, reason = "tests")]
use skein_wire::v1::PolicyChangeKind::{self, Added, Changed, Removed, Unchanged};

use super::*;

const IP: &str = "kind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example.test\n";

fn request(texts: &[&str], remove: &[&str]) -> ApplyPolicyRequest {
    let sources = texts.iter().map(|text| PolicySource {
        name: "file".into(),
        text: (*text).into(),
    });
    ApplyPolicyRequest {
        sources: sources.collect(),
        remove: remove.iter().map(|key| (*key).into()).collect(),
        ..ApplyPolicyRequest::default()
    }
}

fn changes(plan: &Change) -> Vec<(&str, PolicyChangeKind)> {
    let changes = plan.changes.iter();
    changes
        .map(|change| (change.resource.as_str(), change.change()))
        .collect()
}

/// The resources after a change.
fn applied(mut before: BTreeMap<String, Kept>, change: Change) -> BTreeMap<String, Kept> {
    for key in &change.delete {
        before.remove(key);
    }
    for Put { key, text, source } in change.put {
        before.insert(key, Kept { text, source });
    }
    before
}

#[test]
fn a_plan_says_what_becomes_of_each_resource() {
    let pool = "kind: pool\nname: p\nmembers:\n- ip: a\n";
    let two = format!("{IP}---\n{pool}");
    let plan = Change::plan(&BTreeMap::new(), &request(&[&two], &[])).unwrap();
    assert_eq!(changes(&plan), [("ip/a", Added), ("pool/p", Added)]);
    let before = applied(BTreeMap::new(), plan);

    let again = Change::plan(&before, &request(&[&two], &[])).unwrap();
    assert_eq!(
        changes(&again),
        [("ip/a", Unchanged), ("pool/p", Unchanged)]
    );
    assert!(again.put.is_empty() && again.delete.is_empty());

    let other = IP.replace("192.0.2.1", "192.0.2.2");
    let plan = Change::plan(&before, &request(&[&other], &["pool/p"])).unwrap();
    assert_eq!(changes(&plan), [("ip/a", Changed), ("pool/p", Removed)]);
}

#[test]
fn what_is_left_must_be_whole() {
    let pool = "kind: pool\nname: p\nmembers:\n- ip: a\n";
    let two = format!("{IP}---\n{pool}");
    let plan = Change::plan(&BTreeMap::new(), &request(&[&two], &[])).unwrap();
    let before = applied(BTreeMap::new(), plan);
    let problems = Change::plan(&before, &request(&[], &["ip/a"])).unwrap_err();
    assert!(problems[0].contains("pool"), "{problems:?}");
    let problems = Change::plan(&before, &request(&[], &["ip/b"])).unwrap_err();
    assert!(problems[0].starts_with("ip/b: there is no"), "{problems:?}");
    let bad = IP.replace("bind", "bid");
    let problems = Change::plan(&before, &request(&[&bad], &[])).unwrap_err();
    assert!(problems[0].starts_with("file:"), "{problems:?}");
}

fn of_source(source: &str, texts: &[&str], prune: bool) -> ApplyPolicyRequest {
    ApplyPolicyRequest {
        source: source.to_owned(),
        prune,
        ..request(texts, &[])
    }
}

fn ip(name: &str, n: u8) -> String {
    format!("kind: ip\nname: {name}\nbind: 192.0.2.{n}\nehlo: {name}.example.test\n")
}

#[test]
fn what_belongs_to_another_source_is_taken_over_only_by_word() {
    let plan = Change::plan(&BTreeMap::new(), &of_source("git", &[&ip("a", 1)], false)).unwrap();
    let before = applied(BTreeMap::new(), plan);
    let problems = Change::plan(&before, &of_source("ci", &[&ip("a", 1)], false)).unwrap_err();
    assert!(
        problems[0].contains("belongs to source git"),
        "{problems:?}"
    );
    // Without a source, it stays whose it is.
    let plan = Change::plan(&before, &request(&[&ip("a", 2)], &[])).unwrap();
    assert_eq!(plan.put[0].source.as_deref(), Some("git"));
    let taken = ApplyPolicyRequest {
        take_over: true,
        ..of_source("ci", &[&ip("a", 1)], false)
    };
    let plan = Change::plan(&before, &taken).unwrap();
    assert_eq!(changes(&plan), [("ip/a", Changed)]);
    let keys: Vec<&str> = plan.changes[0]
        .keys
        .iter()
        .map(|one| one.key.as_str())
        .collect();
    assert_eq!(keys, ["(source)"]);
    for bad in [of_source("", &[], true), of_source("a b", &[], false)] {
        assert!(Change::plan(&before, &bad).unwrap_err()[0].starts_with("source: "));
    }
}

proptest::proptest! {
    /// Whatever is applied from whichever source, pruning takes out what is that source's own and nothing else, and going back
    /// brings everything back.
    #[test]
    fn pruning_touches_no_other_source(
        steps in proptest::collection::vec((0usize..3, proptest::collection::btree_set(0u8..8, 0..5), proptest::bool::ANY), 1..12),
    ) {
        let mut all: BTreeMap<String, Kept> = BTreeMap::new();
        for (source, names, prune) in steps {
            let name = ["", "git", "ci"][source];
            let prune = prune && !name.is_empty();
            let texts: Vec<String> = names.iter().map(|n| ip(&format!("ip{n}"), *n + 1)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let Ok(plan) = Change::plan(&all, &of_source(name, &texts, prune)) else {
                continue;
            };
            for key in &plan.delete {
                proptest::prop_assert_eq!(all[key].source.as_deref(), Some(name));
            }
            let before = all.clone();
            all = applied(all, plan);
            for (key, kept) in &before {
                let is_given = names.iter().any(|n| *key == format!("ip/ip{n}"));
                let is_own = !name.is_empty() && kept.source.as_deref() == Some(name);
                if !is_given {
                    proptest::prop_assert_eq!(all.get(key).is_some(), !(prune && is_own), "{}", key);
                }
            }
            let back = Change::back(&all, &before).unwrap();
            proptest::prop_assert_eq!(applied(all.clone(), back), before);
        }
    }
}

#[test]
fn what_nodes_must_know_follows_from_the_resources_that_are_put() {
    let hook = "kind: inbound\nname: h\ndomains: [a.test]\naddresses:\n- address: x\n  http: https://h.test/\n";
    let with_file = format!("{hook}  signing_secret_file: /s\n");
    let nowhere =
        "kind: inbound\nname: h\ndomains: [a.test]\naddresses:\n- address: x\n  discard: true\n";
    let tenant = |quota: &str| format!("kind: tenant\nname: t\nquota: {{{quota}}}\n");
    let needs = |before: &BTreeMap<String, Kept>, text: &str| {
        Change::plan(before, &request(&[text], &[])).unwrap().needs
    };
    let none = BTreeMap::new();
    for (text, expected) in [
        (IP.to_owned(), &[][..]),
        (tenant("tasks: 5"), &[]),
        (tenant("recipients: 5"), &[Feature::HeldOfTenants]),
        (tenant("tasks: 5, bytes: 1GB"), &[Feature::HeldOfTenants]),
        (hook.to_owned(), &[Feature::Inbound]),
        (nowhere.to_owned(), &[Feature::Inbound]),
        (with_file.clone(), &[Feature::Inbound, Feature::SecretFiles]),
    ] {
        assert_eq!(needs(&none, &text), expected, "{text}");
    }
    // What is there already was admitted, and what goes is known to all.
    let plan = Change::plan(&none, &request(&[&with_file], &[])).unwrap();
    let before = applied(BTreeMap::new(), plan);
    assert_eq!(needs(&before, IP), []);
    assert_eq!(needs(&before, &with_file), []);
    let gone = Change::plan(&before, &request(&[], &["inbound/h"])).unwrap();
    assert_eq!(gone.needs, []);
    // The way back to an earlier version is one to resources that older nodes may not know.
    let back = Change::back(&none, &before).unwrap();
    assert_eq!(back.needs, [Feature::Inbound, Feature::SecretFiles]);
}

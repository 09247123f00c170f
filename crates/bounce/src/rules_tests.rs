#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;
use crate::classify::{classify, matched, text_of};
use crate::refusal::Refusal;

#[test]
fn every_file_is_read_and_every_name_is_its_own() {
    for (name, text) in FILES {
        toml::from_str::<Family>(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let rules = Rules::built_in();
    assert_eq!(rules.families.len(), FILES.len());
    let mut ids = BTreeSet::new();
    for at in 0..rules.order.len() {
        let (rule, family) = rules.get(at);
        let family = &rules.families[family];
        let has_source = !family.source.is_empty() || !rule.source.is_empty();
        assert!(ids.insert(&rule.id), "{} is there twice", rule.id);
        assert!(has_source || rule.id.starts_with("any."), "{}", rule.id);
        assert!(!rule.tests.is_empty(), "{} has no test", rule.id);
        assert!(!rule.hinted || !family.providers.is_empty(), "{}", rule.id);
        let pieces = rule.patterns.iter().flat_map(|one| one.split(" ... "));
        for piece in pieces {
            let letters = piece.trim_matches('|').len();
            assert!(
                letters >= 2 && piece.trim() == piece,
                "{}: {piece:?}",
                rule.id
            );
        }
    }
}

#[test]
fn every_rule_decides_its_examples() {
    let rules = Rules::built_in();
    let mut wrong = Vec::new();
    for at in 0..rules.order.len() {
        let (rule, family) = rules.get(at);
        let hint = rules.families[family].providers.first().map(String::as_str);
        for text in &rule.tests {
            let refusal = Refusal::read(text);
            let found = classify(&refusal, hint);
            let is_matched = matched(rules, &refusal, &text_of(&refusal), hint)
                .iter()
                .any(|one| one.id == rule.id);
            if !is_matched || found.class != rule.class {
                wrong.push(format!("{}: {} for {text}", rule.id, found.rule));
            }
            let unhinted = classify(&refusal, None);
            if !rule.hinted && unhinted.class != rule.class {
                wrong.push(format!(
                    "{}: {} without a hint for {text}",
                    rule.id, unhinted.rule
                ));
            }
        }
        for text in &rule.not {
            if classify(&Refusal::read(text), hint).rule == rule.id {
                wrong.push(format!("{} decides {text}", rule.id));
            }
        }
    }
    assert!(wrong.is_empty(), "{:#?}", wrong);
}

#[test]
fn a_refusal_that_is_about_us_is_never_hard() {
    let rules = Rules::built_in();
    for at in 0..rules.order.len() {
        let (rule, family) = rules.get(at);
        let hint = rules.families[family].providers.first().map(String::as_str);
        for text in rule.tests.iter().filter(|_| rule.class.is_about_sender()) {
            for prefix in ["550 5.1.1", "550 5.2.1", "550 5.7.1", "550", "550 5.1.2"] {
                let text = Refusal::read(text).text;
                let bare =
                    text.trim_start_matches(|c: char| c.is_ascii_digit() || " .-".contains(c));
                let text = format!("{prefix} {bare}");
                for hint in [None, hint] {
                    // What a rule needs a hint or another code for says nothing here.
                    let found = classify(&Refusal::read(&text), hint);
                    let holds = !rule.hinted && rule.enhanced.is_empty() && rule.codes.is_empty();
                    let is_hard = found.class.group() == crate::Group::Hard;
                    assert!(!(holds && is_hard), "{text}: {}", found.rule);
                }
            }
        }
    }
}

#[test]
fn hints_name_providers_and_hosts() {
    let rules = Rules::built_in();
    for (hint, family) in [
        ("google", Some(0)),
        ("gmail-smtp-in.l.google.com", Some(0)),
        ("ASPMX.L.GOOGLE.COM.", Some(0)),
        ("notgoogle.com", None),
        ("mx.example.net", None),
        ("", None),
    ] {
        assert_eq!(rules.family_of(hint), family, "{hint}");
    }
}

#[test]
fn rules_say_where_they_are_from() {
    assert_eq!(source_of("any.no-mail-host"), Some("RFC 7504"));
    assert!(source_of("google.quota").is_some_and(|source| source.starts_with("https://")));
    assert_eq!((source_of("any.spam"), source_of("none")), (None, None));
}

#[test]
fn a_pattern_without_letters_is_never_made() {
    let rules = Rules::built_in();
    assert_eq!(rules.phrases.matched(" "), Vec::<usize>::new());
}

#[test]
fn the_hint_of_one_provider_finds_rules_of_all() {
    let spamhaus = Refusal::read("550 5.7.1 blocked using zen.spamhaus.org");
    let found = classify(&spamhaus, Some("google"));
    assert_eq!(rules_class(found.rule).unwrap(), found.class);
}

fn rules_class(id: &str) -> Option<Class> {
    let rules = Rules::built_in();
    let all = (0..rules.order.len()).map(|at| rules.get(at).0);
    all.into_iter()
        .find(|rule| rule.id == id)
        .map(|rule| rule.class)
}

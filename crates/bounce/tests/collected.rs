//! Bounces that others have collected (flufl.bounce), with what its own tests expect of each.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use skein_bounce::inbound::{Recipient, read};
use skein_mail::dsn::Action;

/// Where we read another thing, or less, and why.
const OTHERWISE: [(&str, &str); 9] = [
    ("aol_01.txt", "missed: a screen name without a domain"),
    (
        "dsn_04.txt",
        "Final-Recipient is what the host refused, Original-Recipient may be a list",
    ),
    (
        "dsn_17.txt",
        "Final-Recipient is what the host refused, Original-Recipient may be a list",
    ),
    ("llnl_01.txt", "missed: a name without a domain"),
    (
        "sendmail_01.txt",
        "the alias is told as such, beside the address that it leads to",
    ),
    (
        "simple_20.txt",
        "a subject that begins with RE: is a person's answer",
    ),
    (
        "simple_42.txt",
        "the address is told as the report has it, with dots for what it hides",
    ),
    ("simple_43.txt", "a bounce that names nobody is one"),
    ("yale_01.txt", "missed: names without a domain"),
];

fn samples() -> Option<PathBuf> {
    let tools = std::env::var_os("SKEIN_TOOLS");
    if tools.is_none() {
        println!("not tested: cargo xtask test installs the samples");
    }
    Some(PathBuf::from(tools?).join("bounces/tests"))
}

/// What flufl.bounce reads of a file, by any of its detectors: addresses, and whether they are only delayed.
type Expected = BTreeMap<String, Vec<(BTreeSet<String>, bool)>>;

/// Rows such as `('exim', 'exim_01.txt', [b'userx@its.example.nl'], False),`, over one line or several.
fn expected(source: &str) -> Expected {
    let mut found = Expected::new();
    for row in source.split("\n    ('").skip(1) {
        let words: Vec<&str> = row.split('\'').collect();
        let Some(file) = words.get(2).filter(|file| file.ends_with(".txt")) else {
            continue;
        };
        let Some((list, rest)) = row
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
        else {
            continue;
        };
        let quoted = list.split('\'').skip(1).step_by(2);
        let addresses = quoted.map(str::to_lowercase).collect();
        let is_delayed = rest
            .trim_start_matches([',', ' ', '\n'])
            .starts_with("True");
        let expected = found.entry((*file).to_owned()).or_default();
        expected.push((addresses, is_delayed));
    }
    found
}

fn addresses(recipients: &[Recipient], action: Action) -> BTreeSet<String> {
    let of_action = recipients.iter().filter(|one| one.action == action);
    of_action.map(|one| one.address.to_lowercase()).collect()
}

#[test]
fn what_others_have_collected_is_read_as_they_read_it() {
    let Some(folder) = samples() else {
        return;
    };
    let source = std::fs::read_to_string(folder.join("test_detectors.py")).unwrap();
    let expected = expected(&source);
    assert!(expected.len() > 100, "{}", expected.len());
    let mut otherwise = Vec::new();
    for (file, expected) in &expected {
        let message = std::fs::read(folder.join("data").join(file)).unwrap();
        let found = read(&message);
        let of = |is_delayed: bool| {
            let action = if is_delayed {
                Action::Delayed
            } else {
                Action::Failed
            };
            addresses(&found.recipients, action)
        };
        let is_same = expected
            .iter()
            .any(|(addresses, is_delayed)| of(*is_delayed) == *addresses);
        if !is_same {
            otherwise.push(file.as_str());
        }
    }
    let known: Vec<&str> = OTHERWISE.iter().map(|(file, _)| *file).collect();
    assert_eq!(otherwise, known, "of {}", expected.len());
    println!(
        "{} of {} are read as others read them",
        expected.len() - known.len(),
        expected.len()
    );
}

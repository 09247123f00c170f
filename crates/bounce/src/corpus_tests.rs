//! The corpus: replies and messages with what is to be made of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;

use crate::inbound::{Kind, read};
use crate::{Class, Group, Refusal, classify};

/// Of a hundred samples so many are to be right.
const RIGHT_OF_100_MIN: usize = 98;

fn path(name: &str) -> String {
    format!("{}/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

struct Reply {
    class: Class,
    hint: Option<String>,
    text: String,
}

/// Lines of `class`, maybe a hint, and a reply in which `\n` ends a line. Without a hint column the name of the file is one, except for
/// those of any host.
fn replies() -> Vec<Reply> {
    let mut found = Vec::new();
    let mut files: Vec<_> = fs::read_dir(path("replies"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&file).unwrap().lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            let (class, hint, text) = match columns.as_slice() {
                [class, text] => (class, stem.as_str(), text),
                [class, hint, text] => (class, *hint, text),
                _ => panic!("{stem}: {line}"),
            };
            let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty() && hint != "any");
            let class = Class::of_name(class).unwrap_or_else(|| panic!("{stem}: {line}"));
            let text = text.replace("\\n", "\n");
            found.push(Reply { class, hint, text });
        }
    }
    found
}

/// Never may what is about us suppress an address.
fn is_costly(expected: Class, found: Class) -> bool {
    expected.is_about_sender() && found.group() == Group::Hard
}

#[test]
fn replies_are_classified() {
    let replies = replies();
    let mut wrong = Vec::new();
    for Reply { class, hint, text } in &replies {
        let found = classify(&Refusal::read(text), hint.as_deref());
        assert!(!is_costly(*class, found.class), "{text}: {found:?}");
        if found.class != *class {
            wrong.push(format!(
                "{class}: {} by {} for {text}",
                found.class, found.rule
            ));
        }
    }
    check(replies.len(), &wrong);
}

#[test]
fn replies_are_never_hard_for_our_fault_without_a_hint() {
    for Reply { class, text, .. } in replies() {
        let found = classify(&Refusal::read(&text), None);
        // Some codes mean a block at one provider alone.
        assert!(!is_costly(class, found.class), "{text}: {found:?}");
    }
}

fn check(count: usize, wrong: &[String]) {
    let right = count - wrong.len();
    assert!(
        right * 100 >= count * RIGHT_OF_100_MIN,
        "{right} of {count}: {wrong:#?}"
    );
    for one in wrong {
        eprintln!("{one}");
    }
}

/// `file`, kind, format, and for each recipient `address=class`.
fn messages() -> BTreeMap<String, (String, String, Vec<String>)> {
    let table = fs::read_to_string(path("messages.tsv")).unwrap();
    let rows = table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let mut columns = line.split('\t').map(str::to_owned);
        let mut next = || columns.next().unwrap_or_else(|| panic!("{line}"));
        let (file, kind, format) = (next(), next(), next());
        (file, (kind, format, columns.collect()))
    })
    .collect()
}

fn octets(file: &str) -> Vec<u8> {
    fs::read(path(&format!("messages/{file}"))).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_message_is_in_the_table() {
    let table = messages();
    for file in fs::read_dir(path("messages")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(table.contains_key(&name), "{name}");
    }
    assert!(replies().len() + table.len() >= 300);
}

#[test]
fn messages_are_read_with_either_line_end() {
    let table = messages();
    let mut wrong = Vec::new();
    for (file, expected) in &table {
        let octets = octets(file);
        let crlf = crate::inbound::with_crlf(&octets);
        for octets in [octets, crlf] {
            let found = read(&octets);
            let recipients: Vec<String> = found
                .recipients
                .iter()
                .map(|one| format!("{}={}", one.address, one.classified.class))
                .collect();
            for one in &found.recipients {
                let class = expected
                    .2
                    .iter()
                    .find_map(|text| Class::of_name(text.rsplit_once('=')?.1));
                assert!(
                    class.is_none_or(|class| !is_costly(class, one.classified.class)),
                    "{file}"
                );
            }
            let found = (
                found.kind.name().to_owned(),
                found.format.to_owned(),
                recipients,
            );
            if found != *expected {
                wrong.push(format!("{file}: {found:?}"));
            }
        }
    }
    check(table.len() * 2, &wrong);
}

#[test]
fn what_came_back_has_its_places() {
    for file in messages().keys() {
        let text = String::from_utf8_lossy(&octets(file)).into_owned();
        let found = read(text.as_bytes());
        // Samples have this where a message came back.
        let has = text.contains("\nMessage-ID: <returned@")
            && matches!(found.kind, Kind::Bounce | Kind::Delayed);
        if has {
            let id = found.returned.message_id.as_deref();
            assert_eq!(id, Some("<returned@example.com>"), "{file}");
            assert_eq!(
                found.returned.return_path.as_deref(),
                Some("b-token@example.com"),
                "{file}"
            );
        }
    }
}

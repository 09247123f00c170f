#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::super::{Entry, Key, NewEntry, Reason, Scope, Subject, Written};
use super::*;
use crate::rfc3339;
use crate::time::UnixMs;

/// 2026-01-31T12:00:00Z.
const NOON: UnixMs = UnixMs(1_769_860_800_000);

fn defaults() -> Defaults {
    Defaults {
        scope: Scope::Tenant("acme".into()),
        reason: Reason::Manual,
        created: NOON,
        source: "a file".into(),
    }
}

fn stream(name: &str) -> Scope {
    Scope::Stream {
        tenant: "acme".into(),
        stream: name.into(),
    }
}

fn read(text: &str) -> (Vec<NewEntry>, Vec<String>) {
    let mut reader = Reader::new(defaults());
    let (mut items, mut faults) = (Vec::new(), Vec::new());
    for line in text.split_inclusive('\n') {
        match reader.line(line.as_bytes()) {
            Ok(item) => items.extend(item),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    (items, faults)
}

fn one(header: &str, line: &str) -> NewEntry {
    let (mut items, faults) = read(&format!("{header}\n{line}"));
    assert_eq!((faults, items.len()), (Vec::new(), 1), "{line}");
    items.remove(0)
}

#[test]
fn a_line_has_all_of_an_entry() {
    let line = "Ann@Example.com,stream,acme,news,soft_bounce,2026-01-31T13:00:00.5+01:00,\
                2026-03-02T12:00:00Z,01KG,\"a \"\"note\"\", and more\"";
    let item = one(HEADER, line);
    let expected = NewEntry {
        key: Key {
            scope: stream("news"),
            subject: Subject::Address("ann@example.com".into()),
        },
        spelling: Some("Ann@example.com".into()),
        entry: Entry {
            reason: Reason::SoftBounce,
            source: "01KG".into(),
            created: UnixMs(NOON.0 + 500),
            expires: Some(UnixMs(NOON.0 + 30 * 86_400_000)),
            note: "a \"note\", and more".into(),
        },
    };
    assert_eq!(item, expected);
    let mut out = String::new();
    write(&mut out, &item);
    let expected = "Ann@example.com,stream,acme,news,soft_bounce,2026-01-31T12:00:00.500Z,\
                    2026-03-02T12:00:00.000Z,01KG,\"a \"\"note\"\", and more\"\r\n";
    assert_eq!(out, expected);
}

#[test]
fn a_list_of_addresses_is_a_file() {
    for text in [
        "ann@example.com\nexample.com\n\n  bob@example.com \n",
        "\u{feff}address\r\nann@example.com\r\nexample.com\r\nbob@example.com",
        "\u{feff}ann@example.com\r\n\"example.com\"\r\nbob@example.com\r\n",
    ] {
        let (items, faults) = read(text);
        assert_eq!(faults, Vec::<String>::new());
        let subjects: Vec<_> = items.iter().map(|item| item.key.subject.as_str()).collect();
        assert_eq!(
            subjects,
            ["ann@example.com", "example.com", "bob@example.com"]
        );
        for item in &items {
            let entry = &item.entry;
            assert_eq!(item.key.scope, Scope::Tenant("acme".into()));
            assert_eq!((entry.reason, entry.created), (Reason::Manual, NOON));
            assert_eq!((entry.source.as_str(), entry.expires), ("a file", None));
        }
    }
}

#[test]
fn scopes_are_said_in_whole_or_in_part() {
    let of = |line: &str| one("scope,tenant,stream,address", line).key.scope;
    for (line, scope) in [
        (",,,a@b.example", Scope::Tenant("acme".into())),
        ("Global,,,a@b.example", Scope::Global),
        ("tenant,,,a@b.example", Scope::Tenant("acme".into())),
        (",other,,a@b.example", Scope::Tenant("other".into())),
        (",,news,a@b.example", stream("news")),
        ("stream,,news,a@b.example", stream("news")),
    ] {
        assert_eq!(of(line), scope, "{line}");
    }
}

#[test]
fn a_fault_names_line_column_and_what_would_do() {
    let long = format!("{HEADER}\n{}", "x".repeat(LINE_BYTES_MAX + 1));
    let note = format!("address,note\na@b.example,{}", "x".repeat(257));
    for (text, expected) in [
        (
            "adress,note\n",
            "line 1, column adress: there is no such column, but address; such as address,scope,",
        ),
        (
            "address,colour\n",
            "line 1, column colour: there is no such column; such as",
        ),
        ("note\n", "line 1, column address: it is missing"),
        (
            "address,address\n",
            "line 1, column address: it is there twice",
        ),
        ("ann\n", "line 1, column ann: there is no such column"),
        (
            "address\nann@",
            "line 2, column address: \"\" is no domain such as example.com; such as ann@example.com",
        ),
        (
            "address,reason\n\na@b.example,spam",
            "line 3, column reason: there is no reason \"spam\"; such as hard_bounce, soft",
        ),
        (
            "address,created\na@b.example,yesterday",
            "line 2, column created: \"yesterday\" is no time; such as 2026-01-31T12:00:00Z",
        ),
        (
            "address,expires\na@b.example,2026-02-30T12:00:00Z",
            "column expires: \"2026-02-30T12:00:00Z\" is no time",
        ),
        (
            "address,scope\na@b.example,all",
            "line 2, column scope: there is no scope \"all\"; such as global, tenant or stream",
        ),
        (
            "address,scope,stream\na@b.example,tenant,news",
            "line 2, column stream: only the scope stream has one",
        ),
        (
            "address,scope\na@b.example,stream",
            "line 2, column stream: \"\" is no name of a stream",
        ),
        (
            "address,tenant\na@b.example,a b",
            "line 2, column tenant: \"a b\" is no name of a tenant",
        ),
        (
            "address,scope,tenant\na@b.example,global,other",
            "line 2, column tenant: what counts for everybody",
        ),
        (
            "address,note\na@b.example",
            "line 2: it has 1 fields, and the first line 2",
        ),
        (
            "address,note\na@b.example,\"open",
            "line 2, column note: a field begins with a quote",
        ),
        (
            "address,note\na@b.example,\"a\"b",
            "line 2, column note: something follows the quote",
        ),
        (
            "address,note\na@b.example,a\"b",
            "line 2, column note: a field has a quote and does not begin",
        ),
        (
            "address,note\na@b.example,a\u{1}",
            "line 2, column note: note has a control character",
        ),
        (
            &note,
            "line 2, column note: note has 257 octets, and up to 256 are kept",
        ),
        (&long, "line 2: it has more than 8192 octets"),
    ] {
        let (items, faults) = read(text);
        assert_eq!((items.len(), faults.len()), (0, 1), "{text:.50} {faults:?}");
        assert!(
            faults[0].contains(expected),
            "{} instead of {expected}",
            faults[0]
        );
    }
    let mut reader = Reader::new(defaults());
    let fault = reader.line(b"\xff@b.example").unwrap_err();
    assert!(
        fault
            .to_string()
            .starts_with("line 1: it is not UTF-8; such as address,")
    );
}

#[test]
fn lines_behind_a_fault_are_read_unless_it_is_the_header() {
    let (items, faults) = read("address\na@\nb@c.example\nd@\ne@c.example\n");
    assert_eq!((items.len(), faults.len()), (2, 2));
    let (items, faults) = read("adress\na@b.example\n");
    assert_eq!((items.len(), faults.len()), (0, 2));
    assert!(faults[1].starts_with("line 2: the first line of the file was none of columns"));
}

#[test]
fn times_are_read_as_they_are_written() {
    for (text, at) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2000-02-29T23:59:59.999z", Some(951_868_799_999)),
        ("2026-01-31 12:00:00.1234567-00:00", Some(NOON.0 + 123)),
        ("2026-01-31t14:30:00+02:30", Some(NOON.0)),
        ("2026-01-31T07:00:00-05:00", Some(NOON.0)),
        ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
        ("9999-12-31T23:59:59.999Z", Some(253_402_300_799_999)),
        ("1969-12-31T23:59:59Z", None),
        ("1970-01-01T00:00:00+01:00", None),
        ("2026-01-31", None),
        ("2026-01-31T12:00:00", None),
        ("2026-01-31T12:00Z", None),
        ("2026-01-31T12:00:00.Z", None),
        ("2026-01-31T24:00:00Z", None),
        ("2026-13-01T12:00:00Z", None),
        ("2026-00-01T12:00:00Z", None),
        ("2026-01-00T12:00:00Z", None),
        ("2100-02-29T12:00:00Z", None),
        ("+026-01-31T12:00:00Z", None),
        ("2026-01-31T12:00:00+1:00", None),
        ("2026-01-31T12:00:00+24:00", None),
        ("2026-01-\u{fc}1T12:00:00Z", None),
        ("1769860800000", None),
    ] {
        assert_eq!(rfc3339::read(text), at.map(UnixMs), "{text}");
    }
    assert_eq!(rfc3339::write(NOON), "2026-01-31T12:00:00.000Z");
}

fn text() -> impl Strategy<Value = String> {
    let any_text = "\\PC{0,20}".prop_filter("kept", |text| !text.chars().any(char::is_control));
    prop_oneof![Just(String::new()), "[ ,\"a;=\u{e4}]{0,20}", any_text]
}

fn at() -> impl Strategy<Value = UnixMs> {
    (0_u64..253_402_300_800_000).prop_map(UnixMs)
}

fn item() -> impl Strategy<Value = NewEntry> {
    let scope = prop_oneof![
        Just(Scope::Global),
        Just(Scope::Tenant("other".into())),
        Just(stream("news")),
    ];
    let subject = prop_oneof![
        "[a-zA-Z\u{e4}.+]{1,9}@[a-zA-Z\u{e4}]{1,9}\\.example",
        "\"[ -!#-\\[\\]-~]{0,9}\"@b\\.example",
        "[a-z]{1,9}\\.example",
    ];
    let reason = prop::sample::select(Reason::ALL.as_slice());
    let times = (at(), prop::option::of(at()));
    let all = (scope, subject, reason, times, text(), text());
    all.prop_filter_map(
        "a subject",
        |(scope, subject, reason, times, source, note)| {
            let written = Written::parse(&subject).ok()?;
            Some(NewEntry {
                key: Key {
                    scope,
                    subject: written.subject,
                },
                spelling: written.spelling,
                entry: Entry {
                    reason,
                    source,
                    created: times.0,
                    expires: times.1,
                    note,
                },
            })
        },
    )
}

proptest! {
    #[test]
    fn what_was_exported_is_imported_as_the_same(items in prop::collection::vec(item(), 0..20)) {
        let mut out = format!("{HEADER}\r\n");
        for item in &items {
            let before = out.len();
            write(&mut out, item);
            prop_assert!(out.len() - before <= LINE_BYTES_MAX);
        }
        let (found, faults) = read(&out);
        prop_assert_eq!(faults, Vec::<String>::new());
        prop_assert_eq!(found, items);
    }

    #[test]
    fn any_file_is_read_or_has_faults(
        bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5),
        text in "[a-z,\"@. \r\n]{0,60}",
    ) {
        let mut reader = Reader::new(defaults());
        for line in &bytes {
            let _ = reader.line(line);
        }
        read(&text);
        read(&format!("{HEADER}\n{text}"));
    }

    #[test]
    fn any_time_is_read_again(at in at()) {
        prop_assert_eq!(rfc3339::read(&rfc3339::write(at)), Some(at));
    }

    #[test]
    fn any_text_is_a_time_or_none(text in "\\PC{0,30}|[0-9T:Z.+-]{10,30}") {
        rfc3339::read(&text);
    }
}

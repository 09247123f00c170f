#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::meta::{self, Import};
use crate::rotation::{Answer, KeyId, Observation, Schedule, SlotAnswers, SlotState, Source};
use crate::rows::MemoryRows;
use crate::time::DurationMs;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const HOUR: DurationMs = DurationMs::from_secs(3600);

fn say(rows: &mut MemoryRows, at: UnixMs, command: Command) -> Response {
    let command = meta::Command::Domain(Box::new(command));
    assert!(meta::read_proposed(&crate::codec::encode(&command)).is_ok());
    match meta::apply(rows, at, &command) {
        meta::Response::Domain(response) => response,
        other => panic!("{other:?}"),
    }
}

fn done(response: Response) -> Vec<What> {
    match response {
        Response::Done(changes) => changes.into_iter().map(|change| change.what).collect(),
        Response::Refused(refusal) => panic!("{refusal}"),
    }
}

fn add(name: &str, is_operator: bool) -> Command {
    Command::Add {
        name: name.into(),
        new: NewDomain {
            tenant: "acme".into(),
            label: "d1".into(),
            token: "t".into(),
            is_delegated: false,
            is_operator,
            has_ed25519: false,
        },
        schedule: Schedule::default(),
        by: "ann".into(),
    }
}

fn install(name: &str, selector: &str) -> Command {
    Command::InstallKey {
        name: name.into(),
        selector: selector.into(),
        key: NewKey {
            algorithm: Algorithm::Rsa,
            record: "v=DKIM1; k=rsa; p=AAAA".into(),
            wrapped: vec![1; 64],
        },
    }
}

/// What everybody tells of the keys that slots have.
fn seen(row: &DomainRow, answer: Answer) -> Seen {
    let with_key = row.slots().filter_map(|(_, slot)| {
        Some(SlotAnswers {
            selector: slot.selector.clone(),
            key: slot.state.key()?,
            answers: vec![(Source::Authoritative, answer), (Source::Resolver, answer)],
        })
    });
    Seen {
        label: row.label.clone(),
        observation: Observation {
            slots: with_key.collect(),
        },
        is_owned: true,
        findings: Vec::new(),
        schedule: Schedule::default(),
        jitter: 0,
    }
}

fn observe(rows: &mut MemoryRows, at: UnixMs, name: &str, answer: Answer) -> Vec<What> {
    let seen = seen(&domain(rows, name).unwrap(), answer);
    let name = name.to_owned();
    done(say(rows, at, Command::Observe { name, seen }))
}

fn with_active(rows: &mut MemoryRows, name: &str) -> UnixMs {
    done(say(rows, NOW, add(name, false)));
    done(say(rows, NOW, install(name, "sk1")));
    observe(rows, NOW + HOUR, name, Answer::Shows);
    let at = NOW + DurationMs(3 * HOUR.0);
    assert_eq!(observe(rows, at, name, Answer::Shows), [What::Activated]);
    at
}

#[test]
fn a_domain_is_signed_for_when_it_is_verified_and_its_key_was_seen_for_long_enough() {
    let mut rows = MemoryRows::default();
    let name = "example.com";
    let signed = |rows: &MemoryRows| domain(rows, name).unwrap().signed_with();
    assert_eq!(done(say(&mut rows, NOW, add(name, false))), [What::Added]);
    assert_eq!(
        domain(&rows, name).unwrap().wanted_keys(NOW),
        [(Algorithm::Rsa, "sk1".to_owned())]
    );
    assert_eq!(
        done(say(&mut rows, NOW, install(name, "sk1"))),
        [What::Made]
    );
    let again = say(&mut rows, NOW, install(name, "sk1"));
    assert_eq!(again, Response::Refused(Refusal::NoSlot));
    assert_eq!(signed(&rows), SignedWith::default(), "it is nobody's yet");
    assert_eq!(due(&rows, NOW, 9).len(), 0);
    assert_eq!(due(&rows, first_check(NOW), 9), [name]);

    let at = first_check(NOW);
    assert_eq!(
        observe(&mut rows, at, name, Answer::Shows),
        [What::Verified]
    );
    assert_eq!(signed(&rows).waits, Some(Waits::NoneYet));
    // From the moment on at which the key may be used.
    let settled = at + DurationMs(2 * HOUR.0);
    for minute in [1, 6, 21, 81, 120] {
        let next = domain(&rows, name).unwrap().next_check;
        assert_eq!(next, at + DurationMs::from_secs(minute * 60));
        let changes = observe(&mut rows, next, name, Answer::Shows);
        assert_eq!(
            changes.contains(&What::Activated),
            next == settled,
            "{minute}"
        );
    }
    assert_eq!(signed(&rows).keys, [("sk1".to_owned(), KeyId(1))]);
    let steady = domain(&rows, name).unwrap().next_check;
    assert_eq!(steady, settled + DurationMs(6 * HOUR.0));
}

#[test]
fn mail_waits_while_the_key_is_gone_and_each_turn_is_told_once() {
    let mut rows = MemoryRows::default();
    let name = "example.com";
    let at = with_active(&mut rows, name);
    let version = signing_version(&rows);
    let minutes = |minutes: u64| at + DurationMs::from_secs(60 * minutes);
    assert_eq!(
        observe(&mut rows, minutes(1), name, Answer::Differs),
        [What::Gone]
    );
    assert_eq!(observe(&mut rows, minutes(2), name, Answer::Differs), []);
    assert_eq!(signing_version(&rows), version);
    assert_eq!(
        observe(&mut rows, minutes(70), name, Answer::Differs),
        [What::Waiting]
    );
    assert_eq!(observe(&mut rows, minutes(80), name, Answer::Differs), []);
    assert_eq!(signing_version(&rows), version + 1);
    let signed = domain(&rows, name).unwrap().signed_with();
    assert!(signed.keys.is_empty() && matches!(signed.waits, Some(Waits::Gone { .. })));
    observe(&mut rows, minutes(90), name, Answer::Shows);
    assert_eq!(domain(&rows, name).unwrap().signed_with().keys.len(), 1);
    assert_eq!(signing_version(&rows), version + 2);
}

#[test]
fn a_compromised_key_is_replaced_and_destroyed() {
    let mut rows = MemoryRows::default();
    let name = "example.com";
    let at = with_active(&mut rows, name);
    let rotate = Command::Rotate {
        name: name.into(),
        is_compromised: true,
        by: "ann".into(),
    };
    assert_eq!(done(say(&mut rows, at, rotate)), [What::Compromised]);
    done(say(&mut rows, at, install(name, "sk2")));
    observe(&mut rows, at + HOUR, name, Answer::Shows);
    let later = at + DurationMs(4 * HOUR.0);
    let changes = observe(&mut rows, later, name, Answer::Shows);
    assert_eq!(changes, [What::Revoked, What::Activated]);
    let row = domain(&rows, name).unwrap();
    assert!(row.key(KeyId(1)).unwrap().wrapped.is_empty());
    assert_eq!(row.signed_with().keys, [("sk2".to_owned(), KeyId(2))]);
    let state = row.slots().next().unwrap().1.state;
    assert!(matches!(state, SlotState::Revoked { .. }));
}

/// What the log has from a number on: kinds with the selector, if there is one.
fn logged(rows: &MemoryRows, from: &mut u64) -> Vec<String> {
    let (events, next) = meta::meta_events(rows, *from, usize::MAX);
    *from = next;
    let told = events.into_iter().map(|event| match event.kind {
        meta::MetaEventKind::Domain(event) => {
            assert_eq!((&*event.name, &*event.tenant), ("example.com", "acme"));
            let parts = [event.what.name(), &event.selector, &event.who];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            match event.findings.is_empty() {
                true => parts.join(" "),
                false => format!("{}: {}", parts.join(" "), event.findings.join(" ")),
            }
        }
        other => panic!("{other:?}"),
    });
    told.collect()
}

#[test]
fn each_turn_of_a_domain_is_logged_once() {
    let mut rows = MemoryRows::default();
    let (name, mut from) = ("example.com", 0);
    meta::apply(&mut rows, NOW, &meta::Command::TakeEvents(0));
    let at = with_active(&mut rows, name);
    assert_eq!(
        logged(&rows, &mut from),
        [
            "added ann",
            "key published sk1",
            "key seen sk1",
            "verified",
            "key active sk1"
        ]
    );
    let with_findings = |rows: &MemoryRows, found: &[&str]| {
        let mut seen = seen(&domain(rows, name).unwrap(), Answer::Shows);
        seen.findings = found.iter().map(|&id| id.to_owned()).collect();
        let name = name.to_owned();
        Command::Observe { name, seen }
    };
    // The same faults again are no news.
    for (minute, found, told) in [
        (1, &["spf.missing"][..], &["faulty: spf.missing"][..]),
        (2, &["spf.missing"], &[]),
        (3, &["a", "b"], &["faulty: a b"]),
        (4, &[], &["well"]),
        (5, &[], &[]),
    ] {
        let command = with_findings(&rows, found);
        done(say(&mut rows, at + DurationMs(minute), command));
        assert_eq!(logged(&rows, &mut from), told, "{minute}");
    }
    // A key that goes and comes is told each time.
    for hour in [1, 3] {
        let hours = |hours: u64| at + DurationMs(hours * HOUR.0);
        observe(&mut rows, hours(hour), name, Answer::Differs);
        observe(&mut rows, hours(hour), name, Answer::Differs);
        observe(&mut rows, hours(hour + 1), name, Answer::Shows);
        let told = logged(&rows, &mut from);
        assert_eq!(told, ["key gone sk1", "key back sk1"], "{hour}");
    }
    let by = || "ann".to_owned();
    let rotate = Command::Rotate {
        name: name.into(),
        is_compromised: true,
        by: by(),
    };
    done(say(&mut rows, at + DurationMs(5 * HOUR.0), rotate));
    let remove = Command::Remove {
        name: name.into(),
        by: by(),
    };
    done(say(&mut rows, at + DurationMs(6 * HOUR.0), remove));
    assert_eq!(
        logged(&rows, &mut from),
        ["key compromised ann", "removed ann"]
    );
}

#[test]
fn every_event_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = DomainEventKind::ALL
        .iter()
        .map(|kind| kind.name())
        .collect();
    assert_eq!(names.len(), DomainEventKind::ALL.len());
}

#[test]
fn what_has_changed_is_told_by_name_for_a_while() {
    let mut rows = MemoryRows::default();
    done(say(&mut rows, NOW, add("a.example", false)));
    let since = signing_version(&rows);
    assert_eq!(changed_since(&rows, since), Some(vec![]));
    done(say(&mut rows, NOW, add("b.example", false)));
    let remove = Command::Remove {
        name: "a.example".into(),
        by: String::new(),
    };
    done(say(&mut rows, NOW, remove));
    let both = vec!["b.example".to_owned(), "a.example".to_owned()];
    assert_eq!(changed_since(&rows, since), Some(both));
    assert_eq!(changed_since(&rows, since + 99), None, "of another cluster");
    done(say(&mut rows, NOW, add("esp.example", true)));
    assert_eq!(
        changed_since(&rows, since),
        None,
        "all mail is signed by it"
    );
    let since = signing_version(&rows);
    for nth in 0..CHANGES_TOLD_MAX + 1 {
        done(say(&mut rows, NOW, add(&format!("n{nth}.example"), false)));
    }
    assert_eq!(changed_since(&rows, since), None);
    assert_eq!(changed_since(&rows, since + 1).unwrap().len(), 1000);
    assert_eq!(count(&rows), CHANGES_TOLD_MAX + 3);
}

#[test]
fn a_name_below_a_domain_is_found_and_another_that_ends_alike_is_not() {
    let mut rows = MemoryRows::default();
    done(say(&mut rows, NOW, add("example.com", false)));
    for (asked, found) in [
        ("example.com", Some("example.com")),
        ("a.b.example.com", Some("example.com")),
        ("myexample.com", None),
        ("com", None),
        ("", None),
    ] {
        let nearest = nearest(&rows, asked).map(|(name, _)| name);
        assert_eq!(nearest.as_deref(), found, "{asked}");
    }
}

#[test]
fn domains_of_a_backup_come_with_their_keys() {
    let mut rows = MemoryRows::default();
    with_active(&mut rows, "example.com");
    let mut import = Import::default();
    for (key, value) in &rows.0 {
        import.add(key, value);
    }
    let mut restored = MemoryRows::default();
    for part in import.in_parts() {
        let command = meta::Command::Import(part);
        assert!(meta::read_proposed(&crate::codec::encode(&command)).is_ok());
        meta::apply(&mut restored, NOW, &command);
    }
    let (before, after) = (
        domain(&rows, "example.com"),
        domain(&restored, "example.com"),
    );
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_eq!(after.signed_with(), before.signed_with());
    assert_eq!(after.keys, before.keys);
    assert_eq!(due(&restored, first_check(NOW), 9), ["example.com"]);
}

#[test]
fn names_are_domains() {
    for good in [
        "example.com",
        "a-b.example.co.uk",
        "xn--bcher-kva.example",
        "1.example",
    ] {
        assert_eq!(check_name(good), Ok(()));
    }
    let long = format!("{}.com", "a.".repeat(130));
    for bad in [
        "",
        "com",
        "Example.com",
        "a..b",
        "-a.b",
        "a b.c",
        "bücher.example",
        ".a.b",
        &long,
    ] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

use super::*;
use crate::meta::{self, Refusal, Response};
use crate::rows::MemoryRows;
use crate::sts::StsMode;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const DAY: DurationMs = DurationMs::from_secs(86_400);

fn a_policy(mode: StsMode, max_age_s: u32) -> StsPolicy {
    StsPolicy {
        id: "1".to_owned(),
        mode,
        mx: vec!["mx.a.example".to_owned()],
        max_age_s,
    }
}

fn say(rows: &mut MemoryRows, at: UnixMs, command: Command) -> Response {
    let command = meta::Command::Sts(Box::new(command));
    let read = meta::read_proposed(&crate::codec::encode(&command)).unwrap();
    meta::apply(rows, at, &read)
}

fn keep(rows: &mut MemoryRows, at: UnixMs, domain: &str, policy: StsPolicy) -> Response {
    let command = Command::Keep {
        domain: domain.to_owned(),
        policy,
        asked_at: at,
    };
    say(rows, at, command)
}

fn go_on(rows: &mut MemoryRows, at: UnixMs, fault: Option<&str>) -> Response {
    let command = Command::GoOn {
        domain: "a.example".to_owned(),
        asked_at: UnixMs(0),
        fault: fault.map(str::to_owned),
    };
    say(rows, at, command)
}

/// Keys of what is due are those of what is kept, and the size is theirs.
fn check(rows: &MemoryRows) {
    let kept = policies(rows, "", usize::MAX);
    let mut due = due(rows, UnixMs(u64::MAX), usize::MAX);
    due.sort();
    let names: Vec<String> = kept.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(due, names);
    let bytes = kept
        .iter()
        .map(|(_, row)| crate::codec::encode(row).len() as u64);
    let expected = Size {
        domains: kept.len() as u64,
        bytes: bytes.sum(),
    };
    assert_eq!(size(rows), expected);
}

#[test]
fn a_policy_is_looked_at_daily_and_lasts_as_long_as_it_says() {
    let mut rows = MemoryRows::default();
    keep(
        &mut rows,
        NOW,
        "a.example",
        a_policy(StsMode::Enforce, 7 * 86_400),
    );
    let row = policy(&rows, "a.example").unwrap();
    let wait = row.next_look.since(NOW);
    assert!(wait >= LOOK_AFTER && wait <= DAY, "{wait:?}");
    assert_eq!(row.ends_at(), NOW + DurationMs(7 * DAY.0));
    assert!(due(&rows, NOW, 9).is_empty());
    assert_eq!(due(&rows, row.next_look, 9), ["a.example"]);
    check(&rows);
    // The record is gone, or the host is down: the policy goes on, and a fault is tried again sooner.
    let later = row.next_look;
    go_on(&mut rows, later, Some("no answer"));
    let row = policy(&rows, "a.example").unwrap();
    assert_eq!((row.fetched_at, row.next_look), (NOW, later + LOOK_AGAIN));
    assert_eq!(row.fault.as_deref(), Some("no answer"));
    go_on(&mut rows, row.next_look, None);
    assert!(policy(&rows, "a.example").unwrap().fault.is_none());
    check(&rows);
    let end = row.ends_at();
    go_on(&mut rows, UnixMs(end.0 - 1), None);
    assert_eq!(policy(&rows, "a.example").unwrap().next_look, end);
    go_on(&mut rows, end, None);
    assert_eq!(policy(&rows, "a.example"), None);
    check(&rows);
    assert_eq!(version(&rows), 0, "what ends by itself ends at senders too");
}

#[test]
fn looks_are_spread_and_short_policies_are_looked_at_within_their_time() {
    let long = a_policy(StsMode::Enforce, 604_800);
    let looks = (0..1000).map(|n| next_look(&format!("d{n}.example"), &long, NOW).since(NOW).0);
    let hours: std::collections::BTreeSet<u64> = looks.map(|ms| ms / 3_600_000).collect();
    assert_eq!(hours, (20..24).collect());
    for (max_age_s, wait_s) in [(86_400, 43_200), (7200, 3600), (60, 3600), (0, 3600)] {
        let short = a_policy(StsMode::Enforce, max_age_s);
        let wait = next_look("a.example", &short, NOW).since(NOW);
        assert_eq!(wait, DurationMs::from_secs(wait_s), "{max_age_s}");
    }
}

#[test]
fn senders_hear_of_what_is_replaced_or_flushed() {
    let mut rows = MemoryRows::default();
    let enforce = || a_policy(StsMode::Enforce, 86_400);
    keep(&mut rows, NOW, "a.example", enforce());
    keep(&mut rows, NOW, "a.example", enforce());
    assert_eq!(version(&rows), 0, "nothing that is known has changed");
    keep(&mut rows, NOW, "a.example", a_policy(StsMode::None, 86_400));
    assert_eq!(version(&rows), 1);
    let flush = || Command::Flush {
        domain: "a.example".to_owned(),
        by: "ann".to_owned(),
    };
    say(&mut rows, NOW, flush());
    assert_eq!((policy(&rows, "a.example"), version(&rows)), (None, 2));
    check(&rows);
}

#[test]
fn what_is_kept_is_bounded_and_what_is_there_stays() {
    let mut rows = MemoryRows::default();
    let mut large = a_policy(StsMode::Enforce, 86_400);
    large.mx = (0..POLICY_MX_MAX)
        .map(|n| format!("{n}.{}", "x".repeat(240)))
        .collect();
    let mut kept = 0;
    let refused = loop {
        match keep(&mut rows, NOW, &format!("d{kept}.example"), large.clone()) {
            Response::Done => kept += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused, Response::Refused(Refusal::TooMany));
    assert!(size(&rows).bytes <= BYTES_MAX && kept > 900, "{kept}");
    assert_eq!(keep(&mut rows, NOW, "d0.example", large), Response::Done);
    check(&rows);
}

#[test]
fn a_backup_brings_what_is_newer_and_not_too_old() {
    let mut rows = MemoryRows::default();
    keep(
        &mut rows,
        NOW,
        "a.example",
        a_policy(StsMode::Enforce, 86_400),
    );
    keep(
        &mut rows,
        NOW,
        "b.example",
        a_policy(StsMode::Testing, 3600),
    );
    let mut import = meta::Import::default();
    for (key, value) in &rows.0 {
        import.add(key, value);
    }
    assert_eq!(import.sts.len(), 2);
    let later = NOW + DurationMs::from_secs(7200);
    let mut restored = MemoryRows::default();
    for part in import.in_parts() {
        let part = meta::Command::Import(part);
        assert_eq!(meta::apply(&mut restored, later, &part), Response::Done);
        assert_eq!(meta::apply(&mut restored, later, &part), Response::Done);
    }
    check(&restored);
    let names: Vec<String> = policies(&restored, "", 9)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["a.example"], "the other one is too old");
    assert_eq!(policy(&restored, "a.example").unwrap().fetched_at, NOW);
}

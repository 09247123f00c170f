use super::*;
use crate::meta::{self, Refusal, Response};
use crate::rows::MemoryRows;
use crate::tls_report::{AppliedPolicy, FailureKind, TlsResult};

const TODAY: Day = Day(20_000);
const SESSION: SessionId = SessionId(7);

fn noon(day: Day) -> UnixMs {
    day.begins_at() + DurationMs(DAY_MS / 2)
}

fn told(day: Day, domain: &str, failures: usize) -> Told {
    let mut counts = DayCounts::default();
    for nth in 0..=failures {
        counts.count(TlsResult {
            domain: domain.to_owned(),
            policy: AppliedPolicy::none(),
            mx_host: format!("mx{nth}.{domain}"),
            receiving_ip: Some([192, 0, 2, 1].into()),
            sending_ip: Some([198, 51, 100, 1].into()),
            failure: (nth > 0).then_some(FailureKind::CertificateExpired),
        });
    }
    Told {
        domain: domain.to_owned(),
        day,
        counts,
    }
}

fn say(rows: &mut MemoryRows, at: UnixMs, command: Command) -> Response {
    let command = meta::Command::TlsReport(Box::new(command));
    let read = meta::read_proposed(&crate::codec::encode(&command)).unwrap();
    meta::apply(rows, at, &read)
}

fn with_session() -> MemoryRows {
    let mut rows = MemoryRows::default();
    let open = meta::Command::OpenSession {
        session: SESSION,
        sender: "s1".to_owned(),
        order: 1,
    };
    meta::apply(&mut rows, noon(TODAY), &open);
    rows
}

fn tell(rows: &mut MemoryRows, at: UnixMs, batch: u64, told: Vec<Told>) -> Response {
    let session = SESSION;
    say(
        rows,
        at,
        Command::Tell {
            session,
            batch,
            told,
        },
    )
}

fn finish(rows: &mut MemoryRows, at: UnixMs, day: Day, domain: &str) {
    let domain = domain.to_owned();
    say(rows, at, Command::Finish { day, domain });
}

#[test]
fn what_sessions_tell_is_counted_once_and_by_day() {
    let mut rows = with_session();
    let yesterday = Day(TODAY.0 - 1);
    for (batch, day) in [
        (1, TODAY),
        (1, TODAY),
        (2, TODAY),
        (3, yesterday),
        (2, TODAY),
    ] {
        let done = tell(
            &mut rows,
            noon(TODAY),
            batch,
            vec![told(day, "a.example", 1)],
        );
        assert_eq!(done, Response::Done);
    }
    // A clock that is ahead.
    tell(
        &mut rows,
        noon(TODAY),
        4,
        vec![told(Day(TODAY.0 + 1), "a.example", 0)],
    );
    let sessions = |day| counted(&rows, day, "a.example").unwrap().counts.sessions();
    assert_eq!((sessions(TODAY), sessions(yesterday)), (5, 2));
    let all = all_counted(&rows, (Day(0), ""), 9);
    let a = || "a.example".to_owned();
    assert_eq!(all, [(yesterday, a()), (TODAY, a())]);
    assert_eq!(
        all_counted(&rows, (yesterday, "a.example"), 9),
        [(TODAY, a())]
    );
    let stranger = Command::Tell {
        session: SessionId(8),
        batch: 1,
        told: Vec::new(),
    };
    let refused = say(&mut rows, noon(TODAY), stranger);
    assert_eq!(refused, Response::Refused(Refusal::NoSession));
    let close = meta::Command::CloseSession(SESSION);
    meta::apply(&mut rows, noon(TODAY), &close);
    assert!(!rows.0.keys().any(|key| key.starts_with(b"Tb")));
}

#[test]
fn a_report_is_sent_once_whoever_leads() {
    let mut rows = with_session();
    let tomorrow = noon(Day(TODAY.0 + 1));
    tell(&mut rows, noon(TODAY), 1, vec![told(TODAY, "a.example", 1)]);
    let reach = |rows: &mut MemoryRows, place: &str, fault: Option<&str>| {
        let command = Command::Reach {
            day: TODAY,
            domain: "a.example".to_owned(),
            place: place.to_owned(),
            fault: fault.map(str::to_owned),
        };
        say(rows, tomorrow, command)
    };
    reach(&mut rows, "mailto:tls@a.example", None);
    reach(&mut rows, "mailto:tls@a.example", Some("too late"));
    // What comes now would be in one report and not in the other.
    tell(&mut rows, tomorrow, 2, vec![told(TODAY, "a.example", 0)]);
    reach(&mut rows, "https://a.example/", Some("503"));
    finish(&mut rows, tomorrow, TODAY, "a.example");
    finish(&mut rows, tomorrow, TODAY, "a.example");
    assert_eq!(counted(&rows, TODAY, "a.example"), None);
    let sent = sent(&rows, TODAY, "a.example").unwrap();
    let reached: Vec<_> = sent
        .reached
        .iter()
        .map(|at| (&*at.place, at.fault.as_deref()))
        .collect();
    assert_eq!((sent.sessions, sent.failed), (2, 1));
    assert_eq!(
        reached,
        [
            ("mailto:tls@a.example", None),
            ("https://a.example/", Some("503"))
        ]
    );
    tell(&mut rows, tomorrow, 3, vec![told(TODAY, "a.example", 2)]);
    assert_eq!(
        counted(&rows, TODAY, "a.example"),
        None,
        "its report is gone"
    );
    assert_eq!(size(&rows, TODAY).lost, 4);
}

#[test]
fn an_operator_has_reports_sent_before_their_time() {
    let mut rows = with_session();
    tell(&mut rows, noon(TODAY), 1, vec![told(TODAY, "a.example", 0)]);
    let is_due = |rows: &MemoryRows, at| super::is_due(rows, at, TODAY, "a.example");
    assert!(!is_due(&rows, noon(TODAY)) && !is_due(&rows, TODAY.ends_at()));
    assert!(is_due(&rows, sent_at(TODAY, "a.example")));
    for day in [Day(TODAY.0 + 1), Day(0), TODAY] {
        assert!(!is_due(&rows, noon(TODAY)), "{day:?}");
        let by = "ann".to_owned();
        say(&mut rows, noon(TODAY), Command::Hurry { day, by });
    }
    assert!(is_due(&rows, noon(TODAY)));
}

#[test]
fn a_day_is_bounded_in_domains_and_bytes_and_ends() {
    let mut rows = with_session();
    let mut batch = 0;
    for from in (0..DOMAINS_MAX + 32).step_by(32) {
        batch += 1;
        let all = (from..from + 32).map(|n| told(TODAY, &format!("d{n}.example"), 0));
        tell(&mut rows, noon(TODAY), batch, all.collect());
    }
    let small = size(&rows, TODAY);
    assert_eq!(small.domains, DOMAINS_MAX);
    assert!(small.lost > 0);
    let mut other = with_session();
    for n in 0..3000 {
        let large = told(TODAY, &format!("d{n}.{}.example", "x".repeat(60)), 1000);
        tell(&mut other, noon(TODAY), n + 1, vec![large]);
    }
    let large = size(&other, TODAY);
    assert!(large.bytes <= BYTES_MAX && large.lost > 0, "{large:?}");
    let later = noon(Day(TODAY.0 + DAYS_KEPT + 1));
    for nth in 0..DOMAINS_MAX / 500 + 1 {
        finish(&mut rows, later, Day(TODAY.0 + nth as u32), "x.example");
    }
    assert!(
        !rows
            .0
            .keys()
            .any(|key| key.starts_with(b"Tc") || key.starts_with(b"Td"))
    );
}

#[test]
fn reports_leave_within_four_hours_and_not_all_at_once() {
    let times = (0..1000).map(|n| sent_at(TODAY, &format!("d{n}.example")));
    let waits: Vec<u64> = times.map(|at| at.since(TODAY.ends_at()).0).collect();
    let hours: std::collections::BTreeSet<u64> = waits.iter().map(|ms| ms / 3_600_000).collect();
    assert_eq!(hours, (0..4).collect());
    assert!(waits.iter().all(|ms| *ms >= SENT_AFTER.0));
    assert_eq!(sent_at(TODAY, "a.example"), sent_at(TODAY, "a.example"));
    assert_eq!(Day::of(TODAY.begins_at()), TODAY);
    assert_eq!(Day::of(UnixMs(TODAY.ends_at().0 - 1)), TODAY);
}

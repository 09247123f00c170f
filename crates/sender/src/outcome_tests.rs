#![expect(clippy::unwrap_used, reason = "tests")]

use skein_model::retry::RetryPolicy;
use skein_smtp::reply::Reply as Heard;
use skein_smtp::reply_class::{ReplyClass, Stage};

use super::*;
use crate::task::test_tasks::task;

fn host() -> Host {
    Host {
        name: "mx.there.test".into(),
        address: std::net::IpAddr::from([192, 0, 2, 1]),
        port: 25,
    }
}

fn of(class: ReplyClass, reply: Heard, from_peer: bool) -> RecipientOutcome {
    RecipientOutcome {
        class,
        reply,
        stage: Stage::Rcpt,
        from_peer,
    }
}

fn transaction(recipients: Vec<RecipientOutcome>, dot_sent: bool) -> TransactionOutcome {
    TransactionOutcome {
        recipients,
        needs_reset: false,
        connection_usable: false,
        dot_sent,
        is_ambiguous: false,
    }
}

#[test]
fn replies_of_hosts_name_the_host_and_our_own_words_have_no_code() {
    let outcomes = [
        of(
            ReplyClass::Failed(Scope::Recipient),
            Heard::new(550, (5, 1, 1), "no such\nuser"),
            true,
        ),
        of(
            ReplyClass::Deferred(Scope::Connection),
            Heard::new(421, (4, 4, 2), "the host closed the connection"),
            false,
        ),
        of(ReplyClass::Delivered, Heard::plain(250, "ok"), true),
    ];
    let facts = verdicts(&host(), &outcomes);
    let shown: Vec<_> = facts
        .iter()
        .map(|(verdict, reply)| (*verdict, reply.to_string(), reply.host.as_deref()))
        .collect();
    let mx = Some("mx.there.test [192.0.2.1]");
    assert_eq!(
        shown,
        [
            (Verdict::Failed, "550 5.1.1 no such user".to_owned(), mx),
            (
                Verdict::Deferred,
                "4.4.2 the host closed the connection".to_owned(),
                None
            ),
            (Verdict::Delivered, "250 ok".to_owned(), mx),
        ]
    );
}

#[test]
fn what_a_host_says_is_bounded() {
    let long = Heard::plain(550, "\u{fc}".repeat(4000));
    assert!(fact(&long).text.len() <= Reply::TEXT_MAX);
}

#[test]
fn another_host_is_tried_when_nothing_was_decided() {
    let gone = || {
        of(
            ReplyClass::Deferred(Scope::Connection),
            Heard::plain(421, "bye"),
            true,
        )
    };
    let unknown = of(
        ReplyClass::Failed(Scope::Recipient),
        Heard::plain(550, "no"),
        true,
    );
    let later = of(
        ReplyClass::Deferred(Scope::Message),
        Heard::plain(451, "later"),
        true,
    );
    let at_mail = |class| RecipientOutcome {
        stage: Stage::Mail,
        ..of(class, Heard::plain(450, "not now"), true)
    };
    let refused = |from_peer| {
        let class = ReplyClass::Failed(Scope::Message);
        of(class, Heard::plain(550, "no"), from_peer)
    };
    // A host that takes no mail of this sender now has said nothing about the recipients.
    for (class, has_more_hosts, expected) in [
        (ReplyClass::Deferred(Scope::Message), true, true),
        (ReplyClass::Deferred(Scope::Message), false, false),
        (ReplyClass::Failed(Scope::Message), true, false),
    ] {
        let outcome = transaction(vec![at_mail(class)], false);
        assert_eq!(
            may_go_elsewhere(&outcome, has_more_hosts),
            expected,
            "{outcome:?}"
        );
    }
    assert!(!may_go_elsewhere(
        &transaction(vec![later.clone()], false),
        true
    ));
    for (outcome, expected) in [
        (transaction(vec![gone(), gone()], false), true),
        (transaction(vec![gone()], true), false),
        (transaction(vec![gone(), unknown], false), false),
        (transaction(vec![later], false), false),
        // The host lacks an extension; and the host read the message and refused it.
        (transaction(vec![refused(false)], false), true),
        (transaction(vec![refused(true)], false), false),
    ] {
        assert_eq!(may_go_elsewhere(&outcome, false), expected, "{outcome:?}");
    }
}

#[test]
fn too_many_recipients_follow_at_once_if_some_were_taken() {
    let taken = || of(ReplyClass::Delivered, Heard::plain(250, "ok"), true);
    let deferred = |reply| of(ReplyClass::Deferred(Scope::Recipient), reply, true);
    let many = || deferred(Heard::new(452, (4, 5, 3), "too many"));
    let full = || deferred(Heard::new(452, (4, 2, 2), "mailbox full"));
    let failed = of(
        ReplyClass::Failed(Scope::Recipient),
        Heard::plain(550, "no"),
        true,
    );
    for (recipients, expected) in [
        (vec![taken(), many(), many()], true),
        (vec![taken(), failed, many()], true),
        (vec![many(), many()], false),
        (vec![taken(), many(), full()], false),
        (vec![taken()], false),
        (vec![], false),
    ] {
        assert_eq!(
            rest_may_follow_at_once(&recipients),
            expected,
            "{recipients:?}"
        );
    }
}

fn reported(attempt: &Attempt, now: UnixMs) -> Report {
    let verdicts = vec![
        (Verdict::Delivered, Reply::ours((2, 0, 0), "ok")),
        (Verdict::Deferred, Reply::ours((4, 2, 2), "mailbox full")),
        (Verdict::Failed, Reply::ours((5, 1, 1), "no such user")),
    ];
    let task = task(&["a@there.test", "b@there.test", "c@there.test"]);
    report(&RetryPolicy::default(), &task, attempt, verdicts, now)
}

#[test]
fn a_young_task_waits_by_the_retry_policy() {
    let report = reported(&Attempt::default(), UnixMs(1000));
    let verdicts: Vec<_> = report.outcomes.iter().map(|one| one.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Delivered, Verdict::Deferred, Verdict::Failed]
    );
    assert_eq!(report.facts.number, 1);
    let first = RetryPolicy::default().first.0;
    assert!((first * 9 / 10..=first * 11 / 10).contains(&report.retry_after.0));
}

#[test]
fn the_rest_of_many_recipients_waits_for_nothing() {
    let attempt = Attempt {
        rest_at_once: true,
        ..Attempt::default()
    };
    assert_eq!(reported(&attempt, UnixMs(1000)).retry_after, DurationMs(0));
}

#[test]
fn an_old_task_expires_where_it_was_deferred_and_says_why() {
    let old = UnixMs(RetryPolicy::default().max_age.0);
    let report = reported(&Attempt::default(), old);
    let verdicts: Vec<_> = report.outcomes.iter().map(|one| one.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Delivered, Verdict::Expired, Verdict::Failed]
    );
    let reply = &report.outcomes[1].reply;
    assert_eq!(reply.enhanced, Some((4, 4, 7)));
    assert!(reply.text.contains("mailbox full"), "{reply}");
}

#[test]
fn a_task_waits_as_long_as_its_hosts_ask_for_and_not_beyond_what_the_policy_has() {
    let policy = RetryPolicy::default();
    let waits = |text: &str, at: u64| {
        let task = task(&["a@there.test"]);
        let reply = Reply {
            code: 450,
            host: Some("mx.there.test [192.0.2.1]".into()),
            ..Reply::ours((4, 2, 0), text)
        };
        let verdicts = vec![(Verdict::Deferred, reply)];
        let report = report(&policy, &task, &Attempt::default(), verdicts, UnixMs(at));
        report.retry_after.0 / 1000
    };
    let asked = waits("Greylisted, try again in 60 seconds", 1);
    assert!((60..=66).contains(&asked), "{asked}");
    let long = waits("Greylisted, try again in 1200 minutes", 1);
    assert_eq!(long, policy.cap.0 / 1000);
    let silent = waits("Greylisted", 1);
    assert!((270..=330).contains(&silent), "{silent}");
    let late = policy.max_age.0 - 20_000;
    assert_eq!(waits("Greylisted, try again in 60 seconds", late), 20);
}

#[test]
fn a_retried_task_reports_the_recipients_that_are_left() {
    let mut task = task(&["a@there.test", "b@there.test", "c@there.test"]);
    task.task.recipients.remove(0);
    task.task.attempts = 4;
    let verdicts = vec![
        (Verdict::Delivered, Reply::ours((2, 0, 0), "ok")),
        (Verdict::Failed, Reply::ours((5, 1, 1), "no")),
    ];
    let policy = RetryPolicy::default();
    let report = report(&policy, &task, &Attempt::default(), verdicts, UnixMs(1));
    let numbers: Vec<_> = report.outcomes.iter().map(|one| one.recipient).collect();
    assert_eq!((numbers, report.facts.number), (vec![1, 2], 5));
}

#[test]
fn attempts_that_met_nobody_neither_lengthen_the_next_wait_nor_hold_up_what_goes_by_age() {
    let policy = RetryPolicy::default();
    let minutes = |attempts: u32, absences: u32, away_for: Option<u64>, at: u64| {
        let mut task = task(&["b@there.test"]);
        (task.task.attempts, task.task.absences) = (attempts, absences);
        let attempt = Attempt {
            away_for: away_for.map(DurationMs),
            ..Attempt::default()
        };
        let verdicts = vec![(Verdict::Deferred, skein_model::Reply::ours((4, 4, 1), "x"))];
        let report = report(&policy, &task, &attempt, verdicts, UnixMs(at));
        assert_eq!(report.facts.number, attempts + 1);
        assert_eq!(report.away_for, attempt.away_for);
        match report.outcomes[0].verdict {
            Verdict::Expired => None,
            _ => Some(report.retry_after.0 as f64 / 60_000.0),
        }
    };
    let near = |found: Option<f64>, expected: f64| {
        let found = found.unwrap();
        assert!(
            (found / expected - 1.0).abs() <= 0.1,
            "{found} and not {expected}"
        );
    };
    near(minutes(0, 0, None, 1), 5.0);
    near(minutes(7, 7, None, 1), 5.0);
    near(minutes(9, 7, None, 1), 20.0);
    // Rows of an earlier version may say anything.
    near(minutes(2, 7, None, 1), 5.0);
    // One that waits for its destination is looked at as rarely as others of its age.
    near(minutes(3, 3, Some(5_000), 1), 40.0);
    // Nobody was met, and the destination is not left alone yet.
    near(minutes(0, 0, Some(0), 1), 1.0 / 60.0);
    near(minutes(3, 3, Some(0), 1), 8.0 / 60.0);
    near(minutes(40, 40, Some(0), 1), 240.0);
    let old = policy.max_age.0;
    for away_for in [None, Some(0), Some(5_000)] {
        assert_eq!(minutes(3, 3, away_for, old), None);
        assert!(minutes(3, 3, away_for, old - 1000).unwrap() <= 1.0 / 60.0);
    }
}

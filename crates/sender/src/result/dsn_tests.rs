#![expect(clippy::unwrap_used, reason = "tests")]
use skein_model::Reply;
use skein_model::retry::RetryPolicy;
use skein_model::spool::Outcome;

use super::*;
use crate::outcome::{Attempt, report as report_of};
use crate::task::test_tasks::task;

const NEVER: Notify = Notify {
    success: false,
    failure: false,
    delay: false,
    given: true,
};
const SUCCESS: Notify = Notify {
    success: true,
    ..NEVER
};
const FAILURE: Notify = Notify {
    failure: true,
    ..NEVER
};
const DELAY: Notify = Notify {
    delay: true,
    ..NEVER
};

/// The report of an attempt that ended the same for all.
fn ended(task: &LeasedTask, verdict: Verdict) -> Report {
    let reply = Reply {
        code: 550,
        enhanced: Some((5, 1, 1)),
        text: "no such user".into(),
        host: Some("mx.there.test [192.0.2.1]".into()),
        class: None,
    };
    let verdicts = vec![(verdict, reply); task.task.recipients.len()];
    let policy = RetryPolicy::default();
    report_of(&policy, task, &Attempt::default(), verdicts, UnixMs(1000))
}

fn due_for(notify: Notify, verdict: Verdict, passes_dsn: bool, delay_due: bool) -> Option<Action> {
    let mut task = task(&["b@there.test"]);
    task.task.recipients[0].1.notify = notify;
    let report = ended(&task, verdict);
    let due = due(DsnPolicy::Normal, &task, &report, passes_dsn, delay_due);
    assert!(due.len() <= 1);
    due.first().map(|(_, action)| *action)
}

#[test]
fn notify_decides_what_is_reported() {
    use Action::{Delayed, Failed, Relayed};
    use Verdict::{Deferred, Delivered, Expired, Failed as Bounced};
    let default = Notify::default();
    // NOTIFY, how it ended, whether the next host knows DSN, whether a delay notice is due, and what is reported.
    for (notify, verdict, passes_dsn, delay_due, expected) in [
        (default, Bounced, false, false, Some(Failed)),
        (default, Bounced, true, false, Some(Failed)),
        (default, Expired, false, false, Some(Failed)),
        (default, Delivered, false, false, None),
        (default, Deferred, false, false, None),
        (default, Deferred, false, true, Some(Delayed)),
        (NEVER, Bounced, false, false, None),
        (NEVER, Expired, false, false, None),
        (NEVER, Deferred, false, true, None),
        (NEVER, Delivered, false, false, None),
        (SUCCESS, Delivered, false, false, Some(Relayed)),
        (SUCCESS, Delivered, true, false, None),
        (SUCCESS, Bounced, false, false, None),
        (SUCCESS, Deferred, false, true, None),
        (FAILURE, Bounced, false, false, Some(Failed)),
        (FAILURE, Delivered, false, false, None),
        (FAILURE, Deferred, false, true, None),
        (DELAY, Deferred, false, true, Some(Delayed)),
        (DELAY, Deferred, false, false, None),
        (DELAY, Bounced, false, false, None),
    ] {
        assert_eq!(
            due_for(notify, verdict, passes_dsn, delay_due),
            expected,
            "{notify:?} {verdict:?} passes_dsn={passes_dsn} delay_due={delay_due}"
        );
    }
}

#[test]
fn a_null_return_path_is_never_answered() {
    let mut task = task(&["b@there.test"]);
    task.message.envelope.return_path = String::new();
    task.task.recipients[0].1.notify = Notify {
        success: true,
        failure: true,
        delay: true,
        given: true,
    };
    for verdict in [
        Verdict::Failed,
        Verdict::Expired,
        Verdict::Deferred,
        Verdict::Delivered,
    ] {
        let report = ended(&task, verdict);
        assert!(due(DsnPolicy::Normal, &task, &report, false, true).is_empty());
    }
}

#[test]
fn one_report_tells_of_all_recipients_that_want_it() {
    let mut task = task(&["b@there.test", "c@there.test", "d@there.test"]);
    task.task.recipients[1].1.notify = NEVER;
    let mut report = ended(&task, Verdict::Failed);
    report.outcomes[2].verdict = Verdict::Deferred;
    let due = |policy| super::due(policy, &task, &report, false, true);
    let both = [(0, Action::Failed), (2, Action::Delayed)];
    assert_eq!(due(DsnPolicy::Normal), both);
    // A tenant may want fewer.
    assert_eq!(due(DsnPolicy::Failures), both[..1]);
    assert!(due(DsnPolicy::Never).is_empty());
}

fn entry_of(outcome: Outcome, action: Action) -> DsnRecipient {
    let mut task = task(&["b@there.test"]);
    task.task.recipients[0].1.orcpt = Some("rfc822;first@there.test".into());
    let mut report = ended(&task, outcome.verdict);
    report.outcomes[0] = outcome;
    let max_age = RetryPolicy::default().max_age;
    entry(max_age, &task, &report, 0, action, UnixMs(5000))
}

#[test]
fn an_entry_says_who_answered_and_what() {
    let reply = Reply {
        code: 550,
        enhanced: Some((5, 1, 1)),
        text: "no such user".into(),
        host: Some("mx.there.test [192.0.2.1]".into()),
        class: None,
    };
    let outcome = Outcome {
        recipient: 0,
        verdict: Verdict::Failed,
        reply,
    };
    let entry = entry_of(outcome, Action::Failed);
    assert_eq!(entry.status, (5, 1, 1));
    assert_eq!(entry.remote_mta.as_deref(), Some("mx.there.test"));
    assert_eq!(
        entry.original_recipient.as_deref(),
        Some("rfc822;first@there.test")
    );
    assert_eq!(entry.will_retry_until_ms, None);
    let Some(Diagnostic::Smtp(text)) = entry.diagnostic else {
        panic!("a host's reply is an SMTP diagnostic");
    };
    assert_eq!(text, "550 5.1.1 no such user");
}

#[test]
fn the_status_class_follows_from_what_is_reported() {
    let own_words = |enhanced| Reply::ours(enhanced, "our words");
    let bare = |code| Reply {
        code,
        enhanced: None,
        text: String::new(),
        host: None,
        class: None,
    };
    for (verdict, reply, action, status) in [
        (Verdict::Failed, bare(550), Action::Failed, (5, 0, 0)),
        (
            Verdict::Failed,
            own_words((4, 1, 1)),
            Action::Failed,
            (5, 1, 1),
        ),
        (
            Verdict::Expired,
            own_words((4, 4, 7)),
            Action::Failed,
            (4, 4, 7),
        ),
        (
            Verdict::Deferred,
            own_words((4, 4, 3)),
            Action::Delayed,
            (4, 4, 3),
        ),
        (Verdict::Delivered, bare(250), Action::Relayed, (2, 0, 0)),
    ] {
        let outcome = Outcome {
            recipient: 0,
            verdict,
            reply,
        };
        let entry = entry_of(outcome, action);
        assert_eq!(entry.status, status, "{verdict:?}");
        let retries = action == Action::Delayed;
        assert_eq!(entry.will_retry_until_ms.is_some(), retries);
    }
}

#[test]
fn the_whole_message_is_returned_only_when_asked_for_and_safe() {
    let whole = |change: &dyn Fn(&mut LeasedTask), is_failure| {
        let mut task = task(&["b@there.test"]);
        change(&mut task);
        let bytes = task.body.clone().unwrap();
        match original(&task, &bytes, is_failure) {
            OriginalContent::Full(content) => {
                assert_eq!(content, &bytes[..]);
                true
            }
            OriginalContent::Headers(content) => {
                assert_eq!(content, b"Subject: hello\r\nX-Secret: no\r\n");
                false
            }
        }
    };
    let full = |task: &mut LeasedTask| task.message.envelope.ret = Some(Ret::Full);
    assert!(whole(&full, true));
    assert!(!whole(&full, false), "a delay or success has headers only");
    assert!(!whole(&|_| {}, true), "without RET, headers are enough");
    assert!(!whole(
        &|task| {
            full(task);
            task.message.envelope.require_tls = true;
        },
        true
    ));
    assert!(!whole(
        &|task| {
            full(task);
            task.message.body.bytes += 1;
        },
        true
    ));
}

#[test]
fn a_report_goes_to_the_return_path_and_asks_for_no_report() {
    let (domain, recipient) = return_recipient("a@b\u{fc}cher.test").unwrap();
    assert_eq!(domain.as_str(), "xn--bcher-kva.test");
    assert_eq!(recipient.address, "a@xn--bcher-kva.test");
    let (_, recipient) = return_recipient("\u{fc}@b.test").unwrap();
    assert_eq!(recipient.address, "\u{fc}@b.test", "it has no other form");
    assert_eq!(recipient.notify, NEVER);
    assert!(return_recipient("nonsense").is_err());
}

//! The built-in providers are sound, and know what hosts say.

use std::sync::Arc;

use crate::draft::Draft;
use crate::policy::Overlap;
use crate::*;

fn draft() -> Draft {
    let (name, text) = (BUILT_IN_NAME, BUILT_IN_TEXT);
    Draft::read(&[Source { name, text }])
}

#[test]
fn the_built_in_providers_lint_clean() {
    let draft = draft();
    assert_eq!(draft.problems, []);
    let given = draft.providers;
    // As if they were somebody's own, and on top of nothing.
    let policy = Policy::build(&Default::default(), self::draft(), Overlap::Refused);
    let policy = policy.unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(policy.providers().count(), given.len());
    assert_eq!(Policy::built_in().providers().count(), given.len());
}

#[test]
fn each_figure_has_a_comment_that_says_where_it_is_from() {
    let mut comment = String::new();
    let mut named = 0;
    for (nth, line) in BUILT_IN_TEXT.lines().enumerate() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
            continue;
        }
        let figures = [
            "connections:",
            "connection_rate:",
            "message_rate:",
            "messages_per_connection:",
            "recipients_per_message:",
            "tls:",
            "connect:",
            "command:",
            "data:",
            "dot:",
            "idle:",
            "- match:",
        ];
        let is_figure = figures.iter().any(|key| line.starts_with(key));
        if is_figure {
            named += 1;
            let says = ["(shared", "(RFC", "(ours"]
                .iter()
                .any(|source| comment.contains(source));
            assert!(says, "{}: {line}", nth + 1);
        }
        // The rules of `default` share one comment.
        let is_shared = line.starts_with("- match:")
            || !line.contains("match") && comment.contains("Each is about the IP");
        if !is_shared {
            comment.clear();
        }
    }
    assert!(named > 60, "{named}");
}

#[test]
fn each_rule_has_an_example_that_it_is_the_first_to_match() {
    let mut count = 0;
    for provider in Policy::built_in().providers() {
        let rules: Vec<Rule> = provider.rules().cloned().collect();
        for (nth, rule) in rules.iter().enumerate() {
            assert!(!rule.examples.is_empty(), "{}", rule.origin);
            // What `default` says of an example may be said more narrowly by a provider.
            let is_own = *rule.origin.name == *provider.name;
            for example in rule.examples.iter().filter(|_| is_own) {
                let (first, found) = provider.reaction(example).expect(example);
                assert_eq!((first, found), (nth, rule), "{example}");
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count}");
}

fn check_site(domain: &str, mx: &[&str], expected: Option<&str>) {
    let site = Policy::built_in().site_of(domain, mx);
    assert_eq!(site.name.as_deref(), expected, "{domain} {mx:?}");
    assert_eq!(
        site.provider
            .map(|provider| provider.name.to_string())
            .as_deref(),
        expected
    );
}

#[test]
fn well_known_domains_are_at_their_providers() {
    for (domain, mx, expected) in [
        (
            "gmail.com",
            &[
                "gmail-smtp-in.l.google.com",
                "alt1.gmail-smtp-in.l.google.com",
            ][..],
            "google",
        ),
        (
            "corp.example",
            &[
                "ASPMX.L.GOOGLE.COM.",
                "alt1.aspmx.l.google.com",
                "aspmx2.googlemail.com",
            ],
            "google",
        ),
        ("aol.com", &["mx-aol.mail.gm0.yahoodns.net"], "yahoo"),
        ("yahoo.co.jp", &["mx1.mail.yahoo.co.jp"], "yahoo-jp"),
        (
            "hotmail.com",
            &["hotmail-com.olc.protection.outlook.com"],
            "outlook",
        ),
        (
            "corp.example",
            &["corp-example.mail.protection.outlook.com"],
            "office365",
        ),
        (
            "corp.example",
            &["corp-example.a-v1.mx.microsoft"],
            "office365",
        ),
        (
            "me.com",
            &["mx01.mail.icloud.com", "mx02.mail.icloud.com"],
            "apple",
        ),
        ("comcast.net", &["mx1a1.comcast.net"], "comcast"),
        ("wanadoo.fr", &["smtp-in.orange.fr"], "orange"),
        ("gmx.de", &["mx00.emig.gmx.net", "mx01.emig.gmx.net"], "gmx"),
        ("web.de", &["mx-ha02.web.de"], "gmx"),
        ("mail.com", &["mx00.mail.com"], "mail-com"),
        ("corp.example", &["mx0a-0001.pphosted.com"], "proofpoint"),
        (
            "corp.example",
            &["eu-smtp-inbound-1.mimecast.com"],
            "mimecast",
        ),
        (
            "corp.example",
            &["d1.ess.barracudanetworks.com"],
            "barracuda",
        ),
        ("planet.nl", &[], "kpn"),
        ("163.com", &["163mx01.mxmail.netease.com"], "netease"),
        ("qq.com", &["mx1.qq.com", "mx2.qq.com"], "qq"),
    ] {
        check_site(domain, mx, Some(expected));
    }
    check_site("small.example", &["mx.small.example"], None);
    check_site("small.example", &[], None);
    // A second host of somebody else, and hosts that only look alike.
    check_site(
        "corp.example",
        &["aspmx.l.google.com", "mx.corp.example"],
        None,
    );
    check_site(
        "corp.example",
        &["aspmx.l.google.com", "mx0a-0001.pphosted.com"],
        None,
    );
    check_site("corp.example", &["mx.notgoogle.com"], None);
    check_site("corp.example", &["google.com"], None);
}

#[test]
fn providers_take_what_they_do_not_say_from_default() {
    let policy = Policy::built_in();
    let google = policy.provider("google").expect("built in");
    let limits = policy.limits("default", "a1", Some(google), "acme");
    let lines: Vec<String> = limits.0.iter().map(ToString::to_string).collect();
    let of = |nth: usize, words: &str| assert!(lines[nth].starts_with(words), "{lines:#?}");
    of(
        0,
        "ip_site: 5 connections: provider \"google\" per_ip.connections (built-in/providers.yaml:",
    );
    of(
        1,
        "ip_site: 100/min connections: provider \"default\" per_ip.connection_rate",
    );
    of(
        2,
        "ip_site: 100/s messages: provider \"default\" per_ip.message_rate",
    );
    assert_eq!(lines.len(), 3);
    assert_eq!(google.tls, Tls::Require);
    assert_eq!(google.timeouts, Timeouts::default());
    assert_eq!(
        google.recipients_per_message.as_ref().map(|at| at.value),
        Some(100)
    );
    let (nth, rule) = google
        .reaction("550 5.7.1 Unfortunately, messages from [192.0.2.1]\nweren't sent")
        .expect("the rules of default hold as well, over all lines of a reply");
    assert_eq!((nth, &*rule.origin.name), (5, "default"));
    assert!(google.reaction("550 5.1.1 No such user").is_none());
    assert!(Arc::ptr_eq(
        policy.default_provider(),
        policy.provider("default").expect("built in")
    ));
}

//! What is refused of providers and their rules.

use crate::problem_tests::{check, problems};
use crate::{Action, ActionScope, Policy, Source};

#[test]
fn providers_must_make_sense() {
    let check = |keys: &str, line: u32, words: &str| {
        check(&format!("kind: provider\nname: p\n{keys}"), line, words);
    };
    check("", 1, "provider \"p\": matches nothing: give mx or domains");
    check(
        "extends: true\nmx: .p.example\n",
        3,
        "extends: there is no built-in provider of this name",
    );
    check(
        "mx: .p.example\nextends: yes\n",
        4,
        "extends: must be true or false",
    );
    check(
        "mx: [.a.example, '*.b.example']\n",
        3,
        "mx: must be a host name",
    );
    check(
        "mx: [.a.example, .A.example]\n",
        3,
        ".a.example is given twice",
    );
    check("domains: [.a.example]\n", 3, "domains: must be a host name");
    check("domains: [bücher.example]\n", 3, "A-labels");
    check(
        "mx:\n- .google.com\n",
        4,
        "mx: .google.com is matched by the built-in provider \"google\": leave it out, or call this one \"google\"",
    );
    check(
        "domains: [yahoo.co.jp]\n",
        3,
        "matched by the built-in provider \"yahoo-jp\"",
    );
    check(
        "mx: .p.example\nmessages_per_connection: 0\n",
        4,
        "messages_per_connection: must be a whole number from 1",
    );
    check(
        "mx: .p.example\ntls: maybe\n",
        4,
        "tls: must be opportunistic, encrypt, require or disable",
    );
    check(
        "mx: .p.example\ntimeouts:\n  dot: 59s\n",
        5,
        "timeouts.dot: must be 60s or more: a host that is slow",
    );
    check(
        "mx: .p.example\ntimeouts:\n  dot: 31m\n",
        5,
        "timeouts.dot: must be from 60s to 30m",
    );
    check(
        "mx: .p.example\ntimeouts:\n  connect: 5\n",
        5,
        "timeouts.connect: \"5\" is no span of time",
    );
    check(
        "mx: .p.example\ntotal: {connections: 5}\nper_ip: {connections: 6}\n",
        5,
        "per_ip.connections: 6 for one IP is above total.connections, 5",
    );
    check(
        "mx: .p.example\ntotal: {message_rate: 5/s}\nper_ip: {message_rate: 6/s}\n",
        5,
        "above total.message_rate, 5/s",
    );
    check(
        "mx: .p.example\ntotal: {connection_rate: 5/s}\nper_ip: {connection_rate: 6/s}\n",
        5,
        "above total.connection_rate, 5/s",
    );
}

#[test]
fn a_total_below_what_default_gives_one_ip_is_fine() {
    assert_eq!(
        problems("kind: provider\nname: google\nextends: true\ntotal: {connections: 2}\n"),
        [""; 0]
    );
    assert_eq!(
        problems("kind: provider\nname: p\nmx: .p.example\ntotal: {connections: 2}\n"),
        [""; 0]
    );
    check(
        "kind: provider\nname: default\nmx: .p.example\n",
        1,
        "leave mx and domains out",
    );
}

#[test]
fn providers_must_not_overlap_and_may_nest() {
    let two = |a: &str, b: &str| {
        format!("kind: provider\nname: z\n{a}\n---\nkind: provider\nname: a\n{b}\n")
    };
    check(
        &two("mx: .x.example", "mx: [.y.example, .x.example]"),
        7,
        "mx: .x.example is matched by provider \"z\" as well",
    );
    check(
        &two("domains: x.example", "domains: x.example"),
        7,
        "domains: x.example is matched by provider \"z\"",
    );
    for (a, b) in [
        ("mx: .x.example", "mx: .y.x.example"),
        ("mx: .x.example", "mx: x.example"),
        ("domains: '*.x.example'", "domains: x.example"),
        ("domains: x.example", "mx: x.example"),
    ] {
        assert_eq!(problems(&two(a, b)), [""; 0], "{a} {b}");
    }
    // One that takes the place of a built-in one sets its suffixes free.
    assert_eq!(
        problems(
            &two("mx: .google.com", "mx: .b.example")
                .replace("name: a", "name: google")
                .replace("mx: .b", "mx: .c")
        ),
        [""; 0]
    );
}

#[test]
fn rules_must_make_sense() {
    let check = |rule: &str, line: u32, words: &str| {
        check(
            &format!("kind: provider\nname: p\nmx: .p.example\nautomation:\n{rule}"),
            line,
            words,
        );
    };
    check("- action: suspend\n", 5, "automation[1].match: is missing");
    check(
        "- match: busy\n",
        5,
        "automation[1].action: is missing: it must be suspend, rate: 1/min",
    );
    check("- match: ''\n  action: suspend\n", 5, "match: is empty");
    check(
        "- match: .*\n  action: suspend\n",
        5,
        "match: matches every failure reply",
    );
    check(
        "- match: busy$ later\n  action: suspend\n",
        5,
        "match: can match no reply",
    );
    check(
        "- match: '\\\\[HCM1\\\\] deferred'\n  action: suspend\n  example: 421 [HCM1] deferred\n",
        7,
        "example: is not matched by",
    );
    check(
        "- match: (\n  action: suspend\n",
        5,
        "match: is no regular expression",
    );
    check(
        "- match: busy\n  action: explode\n",
        6,
        "action: must be suspend",
    );
    check(
        "- match: busy\n  action: {rate: 0/s}\n",
        6,
        "action: a rate of 0",
    );
    check(
        "- match: busy\n  action: {connections: 0}\n",
        6,
        "action: must be a whole number",
    );
    check(
        "- match: busy\n  action: {rate: 1/s, connections: 1}\n",
        6,
        "action: must be suspend",
    );
    check(
        "- match: busy\n  action: suspend\n  scope: world\n",
        7,
        "scope: must be site",
    );
    check(
        "- match: busy\n  action: rest_ip\n  scope: pool\n",
        7,
        "rest_ip is about the IP",
    );
    check(
        "- match: busy\n  action: suspend\n  threshold: 5\n",
        7,
        "threshold: \"5\" is no rate",
    );
    check(
        "- match: busy\n  action: suspend\n  threshold: 5/2day\n",
        7,
        "threshold: must be up to",
    );
    check(
        "- match: busy\n  action: suspend\n  for: 8d\n",
        7,
        "for: must be from 10s to 1d",
    );
    check(
        "- match: busy\n  action: suspend\n- match: busy\n  action: bounce\n",
        7,
        "the rule of line 5 has the same expression",
    );
    check(
        "- match: busy\n  action: suspend\n- match: very busy\n  action: bounce\n  example: 421 very busy\n",
        7,
        "the rule of line 5 comes first",
    );
    check(
        "- match: busy\n  action: suspend\n  until: 1h\n",
        7,
        "until: is no known key",
    );
    check("- busy\n", 5, "automation[1]: must be keys with values");
}

#[test]
fn an_action_is_a_word_or_a_key() {
    for (written, action) in [
        ("suspend", Action::Suspend),
        ("bounce", Action::Bounce),
        ("rest_ip", Action::RestIp),
        ("{connections: 2}", Action::Connections(2)),
        ("'connections: 2'", Action::Connections(2)),
        (
            "{rate: 5/min}",
            Action::Rate("5/min".parse().expect("a rate")),
        ),
        (
            "'rate: 5/min'",
            Action::Rate("5/min".parse().expect("a rate")),
        ),
    ] {
        let text = format!(
            "kind: provider\nname: p\nmx: .p.example\nautomation:\n- {{match: busy, action: {written}}}\n"
        );
        let (name, text) = ("p.yaml", text.as_str());
        let policy = Policy::parse(&[Source { name, text }]).expect(written);
        let provider = policy.provider("p").expect("given");
        let (_, rule) = provider.reaction("421 busy").expect("matches");
        assert_eq!(rule.action, action, "{written}");
        assert_eq!((rule.threshold.count, rule.scope), (1, ActionScope::Site));
    }
}

#[test]
fn rules_of_a_built_in_provider_may_be_overridden() {
    let text = "kind: provider\nname: google\nextends: true\nautomation:\n- match: detected an unusual rate\n  action: suspend\n";
    assert_eq!(problems(text), [""; 0]);
}

#[test]
fn a_provider_that_is_built_in_since_gives_way() {
    let own = "kind: provider\nname: mine\nmx: .google.com\n";
    check(own, 3, "matched by the built-in provider");
    let load = |text: &str| {
        Policy::load(&[Source {
            name: "p.yaml",
            text,
        }])
    };
    let policy = load(own).expect("it was accepted before");
    let site = |mx: &str| policy.site_of("gmail.com", &[mx]).name;
    assert_eq!(site("a.google.com").as_deref(), Some("mine"));
    assert_eq!(site("a.googlemail.com").as_deref(), Some("google"));
    let two = format!("{own}---\n{}", own.replace("mine", "other"));
    assert_eq!(load(&two).expect_err("both are own").len(), 1);
}

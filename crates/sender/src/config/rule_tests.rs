#![expect(clippy::unwrap_used, reason = "tests")]
use skein_smtp::secret::Secret;

use super::*;
use crate::config::login::LoginSecret;

fn rule(domains: &[&str], host: &str) -> RouteRule {
    RouteRule {
        domains: domains
            .iter()
            .map(|text| DomainPattern::parse(text).unwrap())
            .collect(),
        hosts: match host {
            "" => Vec::new(),
            _ => vec![RouteHost::parse(host, 25).unwrap()],
        },
        policy: HopPolicy::default(),
    }
}

fn chosen(rules: &Rules, domain: &str) -> String {
    let hosts = rules.choose(domain).hosts;
    hosts
        .first()
        .map_or("mx".to_owned(), |host| host.name.clone())
}

#[test]
fn the_longest_pattern_that_matches_decides() {
    let rules = [
        rule(&["*"], "smarthost"),
        rule(&["*.example.test"], "below"),
        rule(&["*.deep.example.test", "*.other.test"], "deeper"),
        rule(&["example.test", "a.deep.example.test"], "exact"),
        rule(&["b\u{fc}cher.TEST"], "idn"),
        rule(&["mx.example.test"], ""),
        rule(&["[192.0.2.1]"], "literal"),
    ];
    let rules = Rules::new(HopPolicy::default(), rules.to_vec()).unwrap();
    for (domain, expected) in [
        ("example.test", "exact"),
        ("sub.example.test", "below"),
        ("deep.example.test", "below"),
        ("b.deep.example.test", "deeper"),
        ("a.deep.example.test", "exact"),
        ("b.a.deep.example.test", "deeper"),
        ("notexample.test", "smarthost"),
        ("other.test", "smarthost"),
        ("x.y.other.test", "deeper"),
        ("xn--bcher-kva.test", "idn"),
        ("mx.example.test", "mx"),
        ("[192.0.2.1]", "literal"),
        ("[192.0.2.2]", "smarthost"),
        ("test", "smarthost"),
    ] {
        assert_eq!(chosen(&rules, domain), expected, "{domain}");
    }
}

#[test]
fn without_a_rule_the_default_policy_and_the_mx_hosts_hold() {
    let default = HopPolicy {
        tls: TlsPolicy::Encrypt,
        ..HopPolicy::default()
    };
    let rules = Rules::new(default.clone(), vec![rule(&["a.test"], "h")]).unwrap();
    let choice = rules.choose("b.test");
    assert_eq!(
        (choice.hosts.len(), &*choice.policy, choice.label.as_str()),
        (0, &default, "")
    );
    assert_eq!(rules.choose("a.test").policy.tls, TlsPolicy::default());
}

#[test]
fn what_must_not_share_connections_has_different_labels() {
    let rules = [rule(&["a.test", "b.test"], "h"), rule(&["c.test"], "h")];
    let rules = Rules::new(HopPolicy::default(), rules.to_vec()).unwrap();
    let label = |domain: &str| rules.choose(domain).label;
    assert_eq!(label("a.test"), label("b.test"));
    let different = [label("a.test"), label("c.test"), label("d.test")];
    let distinct: std::collections::HashSet<_> = different.iter().collect();
    assert_eq!(distinct.len(), different.len(), "{different:?}");
}

#[test]
fn a_pattern_in_two_rules_is_refused() {
    for text in ["*", "*.a.test", "a.test"] {
        let rules = vec![rule(&[text], "h"), rule(&[text], "i")];
        let error = Rules::new(HopPolicy::default(), rules).unwrap_err();
        assert_eq!(error.to_string(), format!("{text} has two routes"));
    }
}

#[test]
fn patterns_parse_or_are_refused() {
    for (text, shown) in [
        ("Example.TEST.", Some("example.test")),
        ("*.Example.test", Some("*.example.test")),
        ("*", Some("*")),
        ("", None),
        ("*.", None),
        ("*.*.test", None),
        ("a.*.test", None),
        ("a b", None),
        ("user@a.test", None),
    ] {
        let parsed = DomainPattern::parse(text).ok();
        let parsed = parsed.map(|pattern| pattern.to_string());
        assert_eq!(parsed.as_deref(), shown, "{text:?}");
    }
}

#[test]
fn hosts_parse_or_are_refused() {
    for (text, expected) in [
        ("mail.a.test", Some("mail.a.test:25")),
        ("mail.a.test:2525", Some("mail.a.test:2525")),
        ("192.0.2.1", Some("192.0.2.1:25")),
        ("192.0.2.1:26", Some("192.0.2.1:26")),
        ("[192.0.2.1]:26", Some("192.0.2.1:26")),
        ("[::1]", Some("[::1]:25")),
        ("[::1]:2525", Some("[::1]:2525")),
        ("2001:db8::1", Some("[2001:db8::1]:25")),
        ("", None),
        (":25", None),
        ("a:", None),
        ("a:0", None),
        ("a:65536", None),
        ("a b:25", None),
        ("[::1", None),
        ("[::1]25", None),
        ("[a.test]:25", None),
        ("smtp://a.test", None),
    ] {
        let parsed = RouteHost::parse(text, 25).ok();
        let parsed = parsed.map(|host| host.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text:?}");
    }
}

#[test]
fn a_login_that_needs_tls_is_never_followed_by_plain_text() {
    let login = |allow_plaintext| Login {
        user: "u".into(),
        secret: LoginSecret::Password(Secret::new("p")),
        mechanism: None,
        allow_plaintext,
    };
    for (implicit_tls, login, expected) in [
        (false, None, true),
        (true, None, false),
        (false, Some(login(false)), false),
        (false, Some(login(true)), true),
    ] {
        let policy = HopPolicy {
            implicit_tls,
            login,
            ..HopPolicy::default()
        };
        assert_eq!(policy.may_go_in_the_clear(), expected, "{policy:?}");
    }
}

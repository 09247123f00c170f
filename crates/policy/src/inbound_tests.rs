#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{Kind, MASK, Policy, Source};

fn parse(text: &str) -> Result<Policy, Vec<Problem>> {
    Policy::parse(&[Source {
        name: "p.yaml",
        text,
    }])
}

const TEXT: &str = "\
kind: inbound
name: bounces
domains: [rp.example.com, '*.rp.example.com']
tenant: acme
max_size: 10MB
max_recipients: 50
checks: enforce
addresses:
  - address: ['b+*']
    http: 'https://hooks.example.com/in?x=1'
    signing_secret: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]
    headers: ['Authorization: Bearer abc']
    timeout: 10s
  - address: [postmaster, abuse]
    lmtp: ['dovecot.example.com:24']
    tls: disable
  - address: [fbl]
    smtp: ['mail.example.com:25', '[2001:db8::1]:2525']
    arc: true
  - address: [noreply]
    discard: true
";

#[test]
fn a_resource_says_where_each_address_leads() {
    let policy = parse(TEXT).unwrap();
    let site = |address: &str| {
        let (local, domain) = address.rsplit_once('@').unwrap();
        match policy.hosted(domain, local) {
            Hosted::Elsewhere => "elsewhere".to_owned(),
            Hosted::Unknown(_) => "unknown".to_owned(),
            Hosted::Known(_, destination) => destination.site(),
        }
    };
    for (address, expected) in [
        ("b+1=x.test@rp.example.com", "https://hooks.example.com:443"),
        ("B+1@c.rp.example.com", "https://hooks.example.com:443"),
        ("Postmaster@rp.example.com", "lmtp://dovecot.example.com:24"),
        ("fbl@rp.example.com", "mail.example.com:25"),
        ("noreply@rp.example.com", "discard"),
        ("nobody@rp.example.com", "unknown"),
        ("b+x%other.test@rp.example.com", "unknown"),
        ("postmaster@example.com", "elsewhere"),
    ] {
        assert_eq!(site(address), expected, "{address}");
    }
    let Hosted::Known(inbound, destination) = policy.hosted("rp.example.com", "b+1") else {
        panic!("it is known");
    };
    assert_eq!(
        (&*inbound.tenant, inbound.size_max),
        ("acme", Some(10_000_000))
    );
    assert_eq!(
        (inbound.recipients_max, inbound.checks),
        (50, Checks::Enforce)
    );
    let Destination::Http(webhook) = &**destination else {
        panic!("it is a webhook");
    };
    assert_eq!(webhook.url.host_field(), "hooks.example.com");
    assert_eq!(webhook.url.path, "/in?x=1");
    assert!(policy.hosts_domains());
    assert!(!Policy::built_in().hosts_domains());
}

#[test]
fn what_is_written_is_read_again_and_secrets_are_masked() {
    let policy = parse(TEXT).unwrap();
    assert_eq!(policy.get(Kind::Inbound, "bounces").unwrap(), TEXT);
    let masked = policy.masked(Kind::Inbound, "bounces").unwrap();
    assert!(
        !masked.contains("whsec_") && !masked.contains("Bearer"),
        "{masked}"
    );
    assert!(masked.contains(MASK));
    let refused = parse(&masked).unwrap_err();
    assert!(
        refused.iter().any(|one| one.message.contains("stands for")),
        "{refused:?}"
    );
    let changed = TEXT.replace("LaLaSw", "LaLaSx");
    let told = format!("{:?}", crate::diff(TEXT, &changed));
    assert!(
        !told.contains("whsec_") && told.contains("signing_secret"),
        "{told}"
    );
}

#[test]
fn a_file_of_secrets_is_named_and_not_read() {
    let text = TEXT.replace(
        "signing_secret: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]",
        "signing_secret_file: '/run/skein/webhook-secret'",
    );
    let policy = parse(&text).unwrap();
    for written in [
        policy.get(Kind::Inbound, "bounces"),
        policy.masked(Kind::Inbound, "bounces"),
    ] {
        let written = written.unwrap();
        assert!(
            written.contains("signing_secret_file: '/run/skein/webhook-secret'\n"),
            "{written}"
        );
    }
    assert_eq!(policy.get(Kind::Inbound, "bounces").unwrap(), text);
    let told = format!(
        "{:?}",
        crate::diff(&text, &text.replace("webhook-secret", "other"))
    );
    assert!(told.contains("/run/skein/other"), "{told}");
}

#[test]
fn mistakes_are_named() {
    let with = |domain: &str, entry: &str| {
        format!("kind: inbound\nname: x\ndomains: [{domain}]\naddresses:\n  - {entry}\n")
    };
    for (text, says) in [
        (with("a.test", "{address: x}"), "must name one destination"),
        (
            with("a.test", "{address: x, discard: true, lmtp: h}"),
            "must name one destination",
        ),
        (
            with("a.test", "{address: x, discard: false}"),
            "must be true",
        ),
        (with("a.test", "{discard: true}"), "address: is missing"),
        (
            with("a.test", "{address: x@a.test, discard: true}"),
            "before the @",
        ),
        (
            with("a.test", "{address: [x, X], discard: true}"),
            "x is given twice",
        ),
        (
            with("a.test", "{address: x, http: 'http://h/'}"),
            "https://",
        ),
        (
            with("a.test", "{address: x, http: 'ftp://h/'}"),
            "must be a URL",
        ),
        (
            with("a.test", "{address: x, http: 'https://u:p@h/'}"),
            "has a user",
        ),
        (
            with("a.test", "{address: x, http: 'https://h/#a'}"),
            "fragment",
        ),
        (
            with("a.test", "{address: x, http: 'https://h/', arc: true}"),
            "goes with smtp only",
        ),
        (
            with("a.test", "{address: x, lmtp: h, arc: true}"),
            "goes with smtp only",
        ),
        (with("a.test", "{address: x, lmtp: []}"), "is empty"),
        (with("a.test", "{address: x, lmtp: 'h:0'}"), "host:port"),
        (
            with(
                "a.test",
                "{address: x, http: 'https://h/', headers: ['Host: x']}",
            ),
            "may not be Host",
        ),
        (
            with(
                "a.test",
                "{address: x, http: 'https://h/', headers: ['Webhook-Id: x']}",
            ),
            "may not be",
        ),
        (
            with(
                "a.test",
                "{address: x, http: 'https://h/', signing_secret: abc}",
            ),
            "whsec_",
        ),
        (
            with(
                "a.test",
                "{address: x, http: 'https://h/', signing_secret_file: secrets/hook}",
            ),
            "must be a whole path",
        ),
        (
            with(
                "a.test",
                "{address: x, http: 'https://h/', signing_secret_file: /s, signing_secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}",
            ),
            "contradicts signing_secret",
        ),
        (
            with("a.test", "{address: x, lmtp: h, signing_secret_file: /s}"),
            "goes with http only",
        ),
        (
            with("a.test", "{address: x, http: 'https://h/', timeout: 10m}"),
            "must be 1s to 300s",
        ),
        (
            with("a.test, A.test", "{address: x, discard: true}"),
            "is given twice",
        ),
        ("kind: inbound\nname: x\n".into(), "domains: is missing"),
        (
            "kind: inbound\nname: x\ndomains: [a.test]\naddresses: []\n".into(),
            "is empty",
        ),
        (
            format!(
                "{}checks: maybe\n",
                with("a.test", "{address: x, discard: true}")
            ),
            "off, mark or enforce",
        ),
        (
            format!(
                "{}max_size: 10\n",
                with("a.test", "{address: x, discard: true}")
            ),
            "must be 1KiB to 1GiB",
        ),
    ] {
        let problems = parse(&text).expect_err(&text);
        let told = problems
            .iter()
            .any(|problem| problem.message.contains(says));
        assert!(told, "{text}: {problems:?}");
    }
}

#[test]
fn a_domain_has_one_owner() {
    let one = |name: &str, domain: &str| {
        format!(
            "kind: inbound\nname: {name}\ndomains: ['{domain}']\naddresses: [{{address: x, discard: true}}]\n---\n"
        )
    };
    let both = one("a", "a.test") + &one("b", "A.test");
    let problems = parse(&both).unwrap_err();
    assert!(
        problems[0]
            .message
            .contains("hosted by inbound \"a\" already"),
        "{problems:?}"
    );
    let nested = parse(&(one("a", "*.test") + &one("b", "b.test"))).unwrap();
    for (domain, expected) in [
        ("b.test", "b"),
        ("B.Test", "b"),
        ("c.test", "a"),
        ("x.b.test", "a"),
    ] {
        let Hosted::Known(found, _) = nested.hosted(domain, "x") else {
            panic!("{domain}");
        };
        assert_eq!(&*found.name, expected, "{domain}");
    }
}

//! Credentials, and whose mail clients hand in.

use std::net::IpAddr;

use proptest::prelude::*;
use skein_credential::{GeneratedSecret, SecretKind, Verifier};

use crate::problem_tests::check;
use crate::*;

fn secret(nth: u8) -> GeneratedSecret {
    GeneratedSecret::from_random(SecretKind::Smtp, [nth; 32])
}

fn verifier(nth: u8) -> String {
    Verifier::of_secret(&secret(nth), [nth; 16]).to_string()
}

fn policy(text: &str) -> Policy {
    let source = Source {
        name: "p.yaml",
        text,
    };
    Policy::parse(&[source]).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

#[test]
fn credentials_must_make_sense() {
    let check = |keys: &str, line: u32, words: &str| {
        check(&format!("kind: credential\nname: a\n{keys}"), line, words);
    };
    let secret = format!("secret: '{}'\n", verifier(1));
    check(&secret, 1, "tenant: is missing");
    check("tenant: t\n", 1, "lets nobody in");
    check("tenant: t\nnetworks: []\n", 1, "lets nobody in");
    check(
        "tenant: t\nsecret: hunter2\n",
        4,
        "a password itself may not be kept",
    );
    let whole = format!(
        "tenant: t\nsecret: {}\n",
        super::credential_tests::secret(1).expose()
    );
    check(&whole, 4, "is the secret itself");
    check(
        &format!("tenant: t\n{secret}user: a b\n"),
        5,
        "user: must have",
    );
    check(
        &format!("tenant: t\n{secret}expires: tomorrow\n"),
        5,
        "2027-01-31T00:00:00Z",
    );
    check(
        "tenant: t\nnetworks: [10.0.0.0/8]\nuser: x\n",
        5,
        "user: goes with secret",
    );
    for name in [
        "'*.a.test'",
        "'a b'",
        "CN=",
        "'CN= '",
        "''",
        "\"a\\tb\"",
        "'b\u{fc}cher.test'",
    ] {
        check(
            &format!("tenant: t\ncertificate: [{name}]\n"),
            4,
            "must be a name of the certificate",
        );
    }
    check("tenant: t\ncertificate: []\n", 1, "lets nobody in");
    for (network, words) in [
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("0.0.0.0/0", "hosts of strangers"),
        ("'::/0'", "hosts of strangers"),
        ("128.0.0.0/1", "hosts of strangers"),
        ("'::ffff:10.0.0.0/104'", "write it as IPv4"),
        ("10.0.0", "must be a network"),
    ] {
        check(&format!("tenant: t\nnetworks: [{network}]\n"), 4, words);
    }
}

#[test]
fn no_two_have_one_user_or_one_network() {
    let two = |one: &str, other: &str| {
        format!(
            "kind: credential\nname: a\ntenant: t\n{one}\n---\nkind: credential\nname: b\ntenant: u\n{other}\n"
        )
    };
    let secret = format!("secret: '{}'", verifier(1));
    let users = two(&format!("user: x\n{secret}"), &format!("user: x\n{secret}"));
    check(&users, 10, "x is that of credential \"a\" already");
    let named = two(&secret, &format!("user: a\n{secret}"));
    check(&named, 9, "a is that of credential \"a\" already");
    let networks = two(
        "networks: [10.1.0.0/16]",
        "networks: [10.2.0.0/16, 10.1.0.0/16]",
    );
    check(
        &networks,
        9,
        "10.1.0.0/16 is that of credential \"a\" already",
    );
    let certificates = two(
        "certificate: [a.test, CN=App]",
        "certificate: [b.test, CN=App]",
    );
    check(
        &certificates,
        9,
        "CN=App is that of credential \"a\" already",
    );
    // Networks of logins say from where, not who.
    policy(&two(
        &format!("{secret}\nnetworks: [10.1.0.0/16]"),
        &format!("{secret}\nnetworks: [10.1.0.0/16]"),
    ));
}

#[test]
fn names_of_certificates_are_found_each_in_its_form() {
    let names = "App.A.test, ops@a.test, 'spiffe://a/App', CN=The App";
    let text = format!(
        "kind: credential\nname: a\ntenant: t\ncertificate: [{names}]\nnetworks: [192.0.2.0/24]\n"
    );
    let policy = policy(&text);
    for (name, is_there) in [
        ("app.a.test", true),
        ("ops@a.test", true),
        ("spiffe://a/App", true),
        ("CN=The App", true),
        ("The App", false),
        ("a.test", false),
        ("other.a.test", false),
    ] {
        let found = policy.credential_of_certificate(name);
        assert_eq!(found.is_some(), is_there, "{name}");
    }
    // Without a secret nobody logs in with it, and its networks say from where it is good.
    assert!(!policy.has_users() && policy.credential_of_user("a").is_none());
    assert!(
        policy
            .credential_of_client("192.0.2.1".parse().expect("an address"))
            .is_none()
    );
    let written = policy.get(Kind::Credential, "a").expect("it is there");
    let again = Source {
        name: "again",
        text: &written,
    };
    let again = Policy::parse(&[again]).expect("it can be read");
    assert_eq!(again.get(Kind::Credential, "a").as_ref(), Some(&written));
    assert!(again.credential_of_certificate("CN=The App").is_some());
}

#[test]
fn a_client_has_the_credential_of_the_smallest_network_around_it() {
    let of = |name: &str, networks: &str| {
        format!("kind: credential\nname: {name}\ntenant: {name}\nnetworks: [{networks}]\n---\n")
    };
    let text = of("wide", "10.0.0.0/8, '2001:db8::/32'")
        + &of("narrow", "10.1.2.0/24")
        + &of("host", "10.1.2.3");
    let policy = policy(&text);
    for (client, expected) in [
        ("10.9.9.9", Some("wide")),
        ("::ffff:10.9.9.9", Some("wide")),
        ("10.1.2.4", Some("narrow")),
        ("10.1.2.3", Some("host")),
        ("2001:db8::1", Some("wide")),
        ("2001:db9::1", None),
        ("192.0.2.1", None),
    ] {
        let client: IpAddr = client.parse().expect(client);
        let found = policy.credential_of_client(client);
        assert_eq!(found.map(|found| &*found.name), expected, "{client}");
    }
}

#[test]
fn a_login_is_good_until_it_ends_and_from_its_networks() {
    let text = format!(
        "kind: credential\nname: a\ntenant: t\nuser: app@a.example\nsecret: ['{}', '{}']\nnetworks: [192.0.2.0/24]\nexpires: 2027-01-31T00:00:00Z\n",
        verifier(1),
        verifier(2)
    );
    let policy = policy(&text);
    let credential = policy
        .credential_of_user("app@a.example")
        .expect("it is there");
    assert!(policy.credential_of_user("a").is_none() && policy.has_users());
    let lets_in = |nth| {
        let given = secret(nth);
        let mut secrets = credential.secrets.iter();
        secrets.any(|one| one.lets_in(given.expose().as_bytes()))
    };
    assert!(lets_in(1) && lets_in(2) && !lets_in(3));
    let end_ms = 1_801_353_600_000;
    assert!(!credential.has_expired(end_ms - 1) && credential.has_expired(end_ms));
    assert!(credential.is_good_from("192.0.2.9".parse().expect("an address")));
    assert!(!credential.is_good_from("192.0.3.9".parse().expect("an address")));
    let written = policy.get(Kind::Credential, "a").expect("it is there");
    assert_eq!(
        Policy::parse(&[Source {
            name: "again",
            text: &written
        }])
        .map(|again| again.get(Kind::Credential, "a")),
        Ok(Some(written.clone()))
    );
}

#[test]
fn tenants_send_as_their_domains() {
    let policy = policy(
        "kind: tenant\nname: any\n---\nkind: tenant\nname: own\nsender_domains: [a.example, '*.b.example']\ndsn: failures\nstate: suspended\n",
    );
    let any = policy.tenant("any").expect("it is there");
    assert!(any.may_send_as("x.example") && !any.is_suspended && any.dsn == DsnPolicy::Normal);
    let own = policy.tenant("own").expect("it is there");
    assert!(own.is_suspended && own.dsn == DsnPolicy::Failures);
    for (domain, may) in [
        ("a.example", true),
        ("A.Example.", true),
        ("x.a.example", false),
        ("b.example", false),
        ("x.b.example", true),
        ("", false),
        ("xb.example", false),
    ] {
        assert_eq!(own.may_send_as(domain), may, "{domain}");
    }
    let written = policy.get(Kind::Tenant, "own").expect("it is there");
    assert_eq!(
        written,
        "kind: tenant\nname: own\nsender_domains: [a.example, '*.b.example']\ndsn: failures\nstate: suspended\n"
    );
}

#[test]
fn tenants_must_make_sense() {
    let check =
        |keys: &str, words: &str| check(&format!("kind: tenant\nname: a\n{keys}"), 3, words);
    check("sender_domains: []\n", "is empty");
    check("sender_domains: ['a b']\n", "must be a host name");
    check("dsn: none\n", "must be normal, failures or never");
    check("state: off\n", "must be active or suspended");
}

proptest! {
    /// The smallest network is found as trying each finds it.
    #[test]
    fn finding_a_network_agrees_with_trying_each(
        networks in proptest::collection::btree_set((8u8..=32, 0u32..=255), 0..12),
        client in 0u32..=255,
    ) {
        let networks: std::collections::BTreeSet<ipnet::IpNet> = networks.into_iter().map(|(length, at)| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 | at);
            ipnet::IpNet::new(address.into(), length).expect("a length").trunc()
        }).collect();
        let text: String = networks.iter().enumerate().map(|(nth, net)| {
            format!("kind: credential\nname: c{nth}\ntenant: t\nnetworks: [{net}]\n---\n")
        }).collect();
        let policy = policy(&text);
        let client = IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 | client));
        let tried = networks.iter().filter(|net| net.contains(&client)).max_by_key(|net| net.prefix_len());
        let found = policy.credential_of_client(client).map(|found| found.networks[0]);
        prop_assert_eq!(found, tried.copied());
    }
}

#[test]
fn tokens_have_a_role_and_let_nobody_hand_in_mail() {
    let check = |keys: &str, line: u32, words: &str| {
        check(&format!("kind: credential\nname: a\n{keys}"), line, words);
    };
    let secret = format!("secret: '{}'\n", verifier(1));
    check(
        &format!("{secret}tenant: t\nrole: root\n"),
        5,
        "must be admin, operator, viewer or tenant",
    );
    check(&format!("{secret}role: tenant\n"), 1, "tenant: is missing");
    check(
        &format!("{secret}role: admin\ntenant: t\n"),
        5,
        "goes with role: tenant",
    );
    check(
        &format!("{secret}role: viewer\nuser: x\n"),
        5,
        "a token has none",
    );
    check(
        "role: viewer\nnetworks: [192.0.2.0/24]\n",
        3,
        "needs secret",
    );
    let slow = Verifier::of_password(b"p", [1; 16]).unwrap();
    check(
        &format!("role: admin\nsecret: {slow}\n"),
        4,
        "is one that was made",
    );

    let text = format!(
        "kind: credential\nname: ops\nrole: operator\n{secret}networks: [192.0.2.0/24]\n---\nkind: credential\nname: t\n\
         role: tenant\ntenant: acme\nsecret: '{}'\n",
        verifier(2)
    );
    let policy = policy(&text);
    let tokens: Vec<_> = policy
        .credentials()
        .map(|one| (&*one.name, one.role, &*one.tenant))
        .collect();
    assert_eq!(
        tokens,
        [
            ("ops", Some(TokenRole::Operator), ""),
            ("t", Some(TokenRole::Tenant), "acme")
        ]
    );
    assert!(!policy.has_users() && policy.credential_of_user("ops").is_none());
    assert!(policy.credential_of_client([192, 0, 2, 1].into()).is_none());
    for name in ["ops", "t"] {
        let written = policy.get(Kind::Credential, name).unwrap();
        let again = self::policy(&written);
        assert_eq!(again.get(Kind::Credential, name).as_ref(), Some(&written));
    }
}

#![expect(clippy::unwrap_used, reason = "tests")]

use skein_dkim::PrivateKey;
use skein_dkim::at_rest::{About, Kek, RANDOM_BYTES};
use skein_wire::internal::{self, SigningKey};

use super::*;

const NOW: DurationMs = DurationMs::from_secs(1_000_000);

fn keks(octet: u8) -> Keks {
    let octets: Vec<u8> = (0..32).map(|n| n ^ octet).collect();
    Keks {
        current: Kek::parse(&octets).unwrap(),
        previous: None,
    }
}

fn wrapped(tenant: &str, domain: &str) -> SigningKey {
    let key = PrivateKey::ed25519_of(&[7; 32]).unwrap();
    let about = About::dkim_key(tenant, domain, "sk1");
    SigningKey {
        domain: domain.into(),
        selector: "sk1".into(),
        wrapped: keks(1)
            .seal(about, key.to_pkcs8(), &[3; RANDOM_BYTES])
            .into(),
    }
}

/// A leader that has a.test, of tenant `acme`.
fn answer(version: u64, asked: &[String]) -> GetSigningReply {
    let of = |domain: &String| match domain.ends_with("a.test") {
        false => internal::DomainSigning::default(),
        true => internal::DomainSigning {
            domain: "a.test".into(),
            tenant: "acme".into(),
            keys: vec![wrapped("acme", "a.test")],
            waits_for: String::new(),
            is_verified: true,
        },
    };
    GetSigningReply {
        version,
        domains: asked.iter().map(of).collect(),
        operator_keys: vec![wrapped("", "esp.test")],
    }
}

fn names(domains: &[&str]) -> Vec<String> {
    domains.iter().map(|domain| (*domain).to_owned()).collect()
}

fn changes(version: u64, domains: &[&str]) -> GetSigningChangesReply {
    GetSigningChangesReply {
        version,
        all: false,
        domains: names(domains),
    }
}

/// Knows what a leader at version 5 answered of these.
fn knows(domains: &[&str]) -> KnownSigning {
    let known = KnownSigning::default();
    known.set_keks(Some(keks(1).into()));
    let asked = names(domains);
    known.learn(&asked, answer(5, &asked), NOW);
    known
}

fn has(known: &KnownSigning, domain: &str, now: DurationMs) -> bool {
    known.look_up(&names(&[domain]), now).is_some()
}

#[test]
fn what_was_answered_is_ready_to_sign() {
    let known = knows(&["mail.a.test", "b.test"]);
    let found = known.look_up(&names(&["b.test", "mail.a.test"]), NOW);
    let found = found.unwrap();
    assert!(found.domains[0].is_none());
    let domain = found.domains[1].as_ref().unwrap();
    assert_eq!((&*domain.domain, &*domain.tenant), ("a.test", "acme"));
    let signers = domain.signers.as_ref().unwrap();
    assert_eq!((signers[0].domain(), signers.len()), ("a.test", 1));
    let operator = (*found.operator).as_ref().unwrap();
    assert_eq!(operator[0].domain(), "esp.test");
    // Another one was never asked about.
    assert!(!has(&known, "c.test", NOW));
}

#[test]
fn keys_that_do_not_open_are_told() {
    let asked = names(&["a.test"]);
    let said = |keks: Option<Keks>, reply| {
        let read = keys::read(keks.as_ref(), 1, reply);
        let domain = read.domains[0].as_ref().unwrap().clone();
        domain.signers.as_ref().unwrap_err().to_string()
    };
    assert!(said(None, answer(5, &asked)).contains("dkim.key_file"));
    assert!(said(Some(keks(2)), answer(5, &asked)).contains("which this node does not have"));
    let mut moved = answer(5, &asked);
    moved.domains[0].tenant = "other".into();
    assert!(said(Some(keks(1)), moved).contains("another tenant's"));
    let mut waits = answer(5, &asked);
    waits.domains[0].waits_for = "its record is gone".into();
    assert_eq!(said(Some(keks(1)), waits.clone()), "its record is gone");
    // A domain that is not ours waits for the operator's.
    waits.domains[0] = internal::DomainSigning {
        waits_for: "the operator's is gone".into(),
        ..internal::DomainSigning::default()
    };
    assert_eq!(said(Some(keks(1)), waits), "the operator's is gone");
}

#[test]
fn a_change_is_forgotten_with_what_is_below_of_it() {
    let all = ["a.test", "mail.a.test", "xa.test", "b.test", "sub.new.test"];
    for (changed, gone) in [
        (&["a.test"][..], &["a.test", "mail.a.test"][..]),
        (&["mail.a.test"], &["mail.a.test"]),
        // A domain that has come to the cluster was known to be none of it.
        (&["new.test"], &["sub.new.test"]),
        (&[], &[]),
    ] {
        let known = knows(&all);
        assert_eq!(known.hear(7, NOW), Some(5));
        known.forget(&changes(7, changed), NOW);
        assert_eq!(known.version(), Some(7));
        // The operator's are asked for again.
        let asked = names(&["z.test"]);
        known.learn(&asked, answer(7, &asked), NOW);
        for domain in all {
            let expected = !gone.contains(&domain);
            assert_eq!(has(&known, domain, NOW), expected, "{changed:?} {domain}");
        }
    }
    let known = knows(&all);
    let everything = GetSigningChangesReply {
        all: true,
        ..changes(9, &[])
    };
    known.forget(&everything, NOW);
    let asked = names(&["z.test"]);
    known.learn(&asked, answer(9, &asked), NOW);
    assert!(all.iter().all(|domain| !has(&known, domain, NOW)));
}

#[test]
fn an_answer_from_before_a_change_is_not_kept() {
    let known = knows(&["b.test"]);
    known.forget(&changes(8, &["a.test"]), NOW);
    let asked = names(&["a.test"]);
    let used = known.learn(&asked, answer(7, &asked), NOW);
    assert!(used.domains[0].is_some());
    assert!(!has(&known, "a.test", NOW));
    known.learn(&asked, answer(8, &asked), NOW);
    assert!(has(&known, "a.test", NOW));
    // A cluster that was restored from a backup counts from before.
    assert_eq!(known.hear(6, NOW), None);
    assert!(!has(&known, "a.test", NOW));
}

#[test]
fn what_is_known_is_used_for_an_hour_without_a_leader() {
    let known = knows(&["a.test"]);
    let later = |seconds: u64| DurationMs(NOW.0 + 1000 * seconds);
    assert!(has(&known, "a.test", later(3600)));
    assert!(!has(&known, "a.test", later(3601)));
    // It says that nothing has changed.
    assert_eq!(known.hear(5, later(3000)), None);
    assert!(has(&known, "a.test", later(6600)));
    // It says that something has, and not what.
    assert_eq!(known.hear(6, later(6000)), Some(5));
    assert!(!has(&known, "a.test", later(6601)));
}

#[test]
fn a_cluster_without_domains_costs_nothing_until_it_has_one() {
    let known = KnownSigning::default();
    let is_off = |known: &KnownSigning| known.is_off.load(Ordering::Relaxed);
    // Mail that comes before the first heartbeat asks.
    assert!(!is_off(&known));
    known.learn(&names(&["a.test"]), GetSigningReply::default(), NOW);
    assert!(is_off(&known));
    assert_eq!(known.hear(0, NOW), None);
    assert_eq!(known.hear(1, NOW), Some(0));
    assert!(!is_off(&known));
    known.forget(&changes(1, &["a.test"]), NOW);
    assert!(!has(&known, "a.test", NOW));
    let known = KnownSigning::default();
    assert_eq!(known.hear(0, NOW), None);
    assert!(is_off(&known));
}

#[test]
fn other_keys_of_the_node_open_what_did_not() {
    let known = knows(&["a.test"]);
    known.set_keks(None);
    let asked = names(&["a.test"]);
    let found = known.learn(&asked, answer(5, &asked), NOW);
    assert!(found.operator.is_err());
    assert!(has(&known, "a.test", NOW));
    known.set_keks(Some(keks(1).into()));
    assert!(!has(&known, "a.test", NOW));
    assert!(known.learn(&asked, answer(5, &asked), NOW).operator.is_ok());
}

#[test]
fn mail_from_any_domain_may_wait_for_the_operators_key() {
    let known = knows(&["a.test", "b.test", "c.test"]);
    let asked = names(&["b.test"]);
    let mut gone = answer(6, &asked);
    gone.operator_keys.clear();
    gone.domains[0].waits_for = "the operator's is gone".into();
    known.forget(&changes(6, &["esp.test"]), NOW);
    assert!(known.learn(&asked, gone, NOW).domains[0].is_some());
    assert!(has(&known, "b.test", NOW) && !has(&known, "c.test", NOW));
    known.forget(&changes(7, &["esp.test"]), NOW);
    let other = names(&["c.test"]);
    known.learn(&other, answer(7, &other), NOW);
    assert!(has(&known, "c.test", NOW) && !has(&known, "b.test", NOW));
}

#[test]
fn ever_new_domains_drive_out_what_is_not_used() {
    let known = KnownSigning::default();
    let none = |asked: &[String]| GetSigningReply {
        version: 5,
        domains: vec![internal::DomainSigning::default(); asked.len()],
        operator_keys: Vec::new(),
    };
    let learn = |domain: &str| {
        let asked = names(&[domain]);
        known.learn(&asked, none(&asked), NOW);
    };
    learn("a.test");
    learn("unused.test");
    for n in 0..30_000 {
        learn(&format!("{n}.test"));
        if n % 1000 == 0 {
            assert!(has(&known, "a.test", NOW), "{n}");
        }
    }
    assert!(!has(&known, "unused.test", NOW));
    assert!(known.inner.lock().cache.domains() <= 10_000);
}

//! One row for each row of the tables of RFC 7672, RFC 8461 and RFC 8689, and for what others got wrong.

use skein_dns::Tlsa;

use super::*;

const HOST: &str = "mx.d.test";

fn record(usage: u8) -> Tlsa {
    Tlsa {
        usage,
        selector: 1,
        matching: 1,
        data: vec![7; 32],
    }
}

fn records(records: &[Tlsa]) -> TlsaAnswer {
    TlsaAnswer::Records {
        base: HOST.to_owned(),
        records: records.to_vec(),
    }
}

fn sts(mode: StsMode, mx: &str) -> Option<Arc<StsPolicy>> {
    let policy = StsPolicy {
        id: "1".to_owned(),
        mode,
        mx: vec![mx.to_owned()],
        max_age_s: 86_400,
    };
    Some(Arc::new(policy))
}

fn task() -> TaskTls {
    TaskTls {
        domain: "d.test".to_owned(),
        ..TaskTls::default()
    }
}

fn signed() -> TaskTls {
    TaskTls {
        mx: Security::Secure,
        ..task()
    }
}

/// Who decides, and what: `skip`, or the demand.
fn shown(decision: &Decision) -> String {
    let choice = match &decision.choice {
        Choice::Try(demand) => demand.name(),
        Choice::Skip(skip) if skip.is_temporary => "skip for now",
        Choice::Skip(_) => "skip",
    };
    format!("{}: {choice}", decision.applied.name())
}

type Row<'a> = (&'a str, TaskTls, TlsaAnswer, TlsPolicy, &'a str);

fn check(rows: Vec<Row<'_>>) {
    for (what, task, tlsa, provider, expected) in rows {
        let decision = task.decide(HOST, &tlsa, provider);
        assert_eq!(shown(&decision), expected, "{what}: {task:?} {tlsa:?}");
        let fixed = task.fixed(HOST, &tlsa);
        let is_of_provider = matches!(decision.applied, Applied::Provider | Applied::Opportunistic);
        match fixed {
            Some(fixed) => assert_eq!(fixed, decision, "{what}"),
            None => assert!(is_of_provider, "{what}"),
        }
    }
}

#[test]
fn dane_by_what_is_validated() {
    use TlsPolicy::Opportunistic as Any;
    let usable = || records(&[record(3)]);
    let failed = || TlsaAnswer::Failed("SERVFAIL".to_owned());
    check(vec![
        (
            "insecure MX",
            task(),
            TlsaAnswer::NotAsked,
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "insecure MX, whatever is found",
            task(),
            usable(),
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "insecure MX, and an error",
            task(),
            failed(),
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "insecure addresses",
            signed(),
            TlsaAnswer::NotAsked,
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "no records",
            signed(),
            TlsaAnswer::None,
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "SERVFAIL is not none",
            signed(),
            failed(),
            Any,
            "dane: skip for now",
        ),
        ("usable", signed(), usable(), Any, "dane: dane"),
        (
            "DANE-TA",
            signed(),
            records(&[record(2)]),
            Any,
            "dane: dane",
        ),
        (
            "PKIX usages are of no use",
            signed(),
            records(&[record(0), record(1)]),
            Any,
            "dane: tls",
        ),
        (
            "one of several",
            signed(),
            records(&[record(1), record(3)]),
            Any,
            "dane: dane",
        ),
        (
            "no records, a strict provider",
            signed(),
            TlsaAnswer::None,
            TlsPolicy::Require,
            "provider: pkix",
        ),
        (
            "a lax provider weakens nothing",
            signed(),
            usable(),
            TlsPolicy::Disable,
            "dane: dane",
        ),
    ]);
    for (what, odd) in [
        (
            "usage",
            Tlsa {
                usage: 4,
                ..record(3)
            },
        ),
        (
            "selector",
            Tlsa {
                selector: 2,
                ..record(3)
            },
        ),
        (
            "matching type",
            Tlsa {
                matching: 3,
                ..record(3)
            },
        ),
        (
            "SHA-256 length",
            Tlsa {
                data: vec![7; 31],
                ..record(3)
            },
        ),
        (
            "SHA-512 length",
            Tlsa {
                matching: 2,
                ..record(3)
            },
        ),
        (
            "nothing",
            Tlsa {
                matching: 0,
                data: Vec::new(),
                ..record(3)
            },
        ),
        (
            "no certificate",
            Tlsa {
                selector: 0,
                matching: 0,
                ..record(3)
            },
        ),
    ] {
        let decision = signed().decide(HOST, &records(&[odd]), Any);
        assert_eq!(shown(&decision), "dane: tls", "{what}");
    }
}

#[test]
fn of_digests_the_strongest_counts() {
    let sha512 = |usage| Tlsa {
        matching: 2,
        data: vec![9; 64],
        ..record(usage)
    };
    let all = [record(3), sha512(3), record(2)];
    let Usable::Records(left) = usable(&all) else {
        panic!("three are of use");
    };
    assert_eq!(left, [record(2), sha512(3)], "by usage and selector");
    let other_selector = Tlsa {
        selector: 0,
        ..record(3)
    };
    let all = [other_selector.clone(), sha512(3)];
    assert_eq!(
        usable(&all),
        Usable::Records(vec![other_selector, sha512(3)])
    );
}

#[test]
fn mta_sts_by_mode_and_host() {
    use TlsPolicy::Opportunistic as Any;
    let with = |mode, mx| TaskTls {
        sts: sts(mode, mx),
        ..task()
    };
    let none = || TlsaAnswer::NotAsked;
    let secure = |task: TaskTls| TaskTls {
        mx: Security::Secure,
        ..task
    };
    check(vec![
        (
            "enforced",
            with(StsMode::Enforce, "*.d.test"),
            none(),
            Any,
            "sts: pkix",
        ),
        (
            "another host",
            with(StsMode::Enforce, "mx.e.test"),
            none(),
            Any,
            "sts: skip",
        ),
        (
            "testing",
            with(StsMode::Testing, "mx.d.test"),
            none(),
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "testing, another host",
            with(StsMode::Testing, "mx.e.test"),
            none(),
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "testing, strict provider",
            with(StsMode::Testing, "mx.d.test"),
            none(),
            TlsPolicy::Encrypt,
            "provider: tls",
        ),
        (
            "none",
            with(StsMode::None, "mx.e.test"),
            none(),
            Any,
            "opportunistic: opportunistic",
        ),
        (
            "a lax provider weakens nothing",
            with(StsMode::Enforce, "mx.d.test"),
            none(),
            TlsPolicy::Disable,
            "sts: pkix",
        ),
        (
            "DANE goes before",
            secure(with(StsMode::Enforce, "mx.d.test")),
            records(&[record(3)]),
            Any,
            "dane: dane",
        ),
        (
            "and is not weakened",
            secure(with(StsMode::Enforce, "mx.d.test")),
            TlsaAnswer::Failed("SERVFAIL".to_owned()),
            Any,
            "dane: skip for now",
        ),
        (
            "no TLSA records",
            secure(with(StsMode::Enforce, "mx.d.test")),
            TlsaAnswer::None,
            Any,
            "sts: pkix",
        ),
        (
            "adds to unusable ones",
            secure(with(StsMode::Enforce, "mx.d.test")),
            records(&[record(1)]),
            Any,
            "sts: pkix",
        ),
        (
            "in the same way",
            secure(with(StsMode::Enforce, "mx.e.test")),
            records(&[record(1)]),
            Any,
            "sts: skip",
        ),
        (
            "testing adds nothing",
            secure(with(StsMode::Testing, "mx.e.test")),
            records(&[record(1)]),
            Any,
            "dane: tls",
        ),
    ]);
}

#[test]
fn operators_go_first_or_last() {
    use TlsPolicy::{Disable, Encrypt, Opportunistic as Any, Require};
    let dane = || records(&[record(3)]);
    let route = |policy| TaskTls {
        route: Some(policy),
        sts: sts(StsMode::Enforce, "mx.e.test"),
        ..signed()
    };
    let node = |node| TaskTls { node, ..task() };
    check(vec![
        ("route", route(Any), dane(), Require, "route: opportunistic"),
        ("route", route(Encrypt), dane(), Any, "route: tls"),
        ("route", route(Require), dane(), Any, "route: pkix"),
        ("route", route(Disable), dane(), Require, "route: clear"),
        (
            "node",
            node(Encrypt),
            TlsaAnswer::NotAsked,
            Any,
            "node: tls",
        ),
        (
            "node before provider",
            node(Require),
            TlsaAnswer::NotAsked,
            Encrypt,
            "node: pkix",
        ),
        (
            "provider",
            node(Any),
            TlsaAnswer::NotAsked,
            Encrypt,
            "provider: tls",
        ),
        (
            "provider",
            node(Any),
            TlsaAnswer::NotAsked,
            Disable,
            "provider: clear",
        ),
        (
            "DANE before the node",
            TaskTls {
                node: Require,
                ..signed()
            },
            dane(),
            Any,
            "dane: dane",
        ),
        (
            "no TLS at all",
            TaskTls {
                node: Disable,
                ..signed()
            },
            dane(),
            Any,
            "node: clear",
        ),
    ]);
    let named = TaskTls {
        is_named: true,
        sts: sts(StsMode::Enforce, "mx.e.test"),
        ..signed()
    };
    check(vec![(
        "hosts that an operator named are another domain's",
        named,
        dane(),
        Any,
        "opportunistic: opportunistic",
    )]);
}

#[test]
fn requiretls_needs_a_host_that_is_found_securely_and_verifies() {
    use TlsPolicy::{Disable, Opportunistic as Any};
    let wish = |task: TaskTls| TaskTls {
        wish: SenderWish::Required,
        ..task
    };
    let enforced = |mx| TaskTls {
        sts: sts(StsMode::Enforce, mx),
        ..task()
    };
    let testing = TaskTls {
        sts: sts(StsMode::Testing, "mx.d.test"),
        ..task()
    };
    check(vec![
        (
            "neither",
            wish(task()),
            TlsaAnswer::NotAsked,
            Any,
            "requiretls: skip",
        ),
        (
            "testing vouches for nothing",
            wish(testing),
            TlsaAnswer::NotAsked,
            Any,
            "requiretls: skip",
        ),
        (
            "signed MX",
            wish(signed()),
            TlsaAnswer::NotAsked,
            Any,
            "requiretls: pkix",
        ),
        (
            "even where TLS is disabled",
            wish(signed()),
            TlsaAnswer::None,
            Disable,
            "requiretls: pkix",
        ),
        (
            "DANE",
            wish(signed()),
            records(&[record(3)]),
            Any,
            "dane: dane",
        ),
        (
            "unusable records",
            wish(signed()),
            records(&[record(0)]),
            Any,
            "requiretls: pkix",
        ),
        (
            "MTA-STS",
            wish(enforced("mx.d.test")),
            TlsaAnswer::NotAsked,
            Any,
            "sts: pkix",
        ),
        (
            "not by MTA-STS",
            wish(enforced("mx.e.test")),
            TlsaAnswer::NotAsked,
            Any,
            "sts: skip",
        ),
        (
            "an error of the name server bounces nothing",
            wish(signed()),
            TlsaAnswer::Failed("SERVFAIL".to_owned()),
            Any,
            "dane: skip for now",
        ),
    ]);
}

/// A smarthost is where an operator sends all mail, whatever becomes of it there.
#[test]
fn requiretls_goes_to_a_named_host_only_where_the_operator_says_that_it_is_secure() {
    use TlsPolicy::{Disable, Encrypt, Opportunistic as Any, Require};
    let named = |route, node| TaskTls {
        is_named: true,
        route,
        node,
        wish: SenderWish::Required,
        // The domain's own hosts and policies are others.
        sts: sts(StsMode::Enforce, HOST),
        ..signed()
    };
    for (route, node, expected) in [
        (Some(Require), Any, "route: pkix"),
        (Some(Require), Disable, "route: pkix"),
        (None, Require, "node: pkix"),
        (Some(Encrypt), Require, "requiretls: skip"),
        (Some(Any), Require, "requiretls: skip"),
        (Some(Disable), Require, "requiretls: skip"),
        (None, Encrypt, "requiretls: skip"),
        (None, Any, "requiretls: skip"),
        (None, Disable, "requiretls: skip"),
    ] {
        // A provider's word is about all of its hosts, and says nothing of the route.
        for provider in [Any, Encrypt, Require, Disable] {
            let task = named(route, node);
            let decision = task.decide(HOST, &TlsaAnswer::NotAsked, provider);
            assert_eq!(
                shown(&decision),
                expected,
                "{route:?} {node:?} {provider:?}"
            );
            if let Choice::Skip(skip) = decision.choice {
                assert_eq!((skip.status, skip.is_temporary), ((5, 7, 30), false));
            }
        }
    }
}

#[test]
fn requiretls_is_refused_as_lacking_tls_where_nobody_vouches_for_a_host() {
    let task = TaskTls {
        wish: SenderWish::Required,
        ..task()
    };
    let decision = task.decide(HOST, &TlsaAnswer::NotAsked, TlsPolicy::Require);
    match decision.choice {
        Choice::Skip(skip) => assert_eq!(skip.status, ENCRYPTION_NEEDED),
        Choice::Try(demand) => panic!("{demand:?}"),
    }
}

#[test]
fn tls_required_no_passes_over_what_the_domain_publishes() {
    let not_required = TaskTls {
        wish: SenderWish::NotRequired,
        sts: sts(StsMode::Enforce, "mx.e.test"),
        ..signed()
    };
    let failed = TlsaAnswer::Failed("SERVFAIL".to_owned());
    let any = TlsPolicy::Opportunistic;
    check(vec![
        (
            "DANE",
            not_required.clone(),
            records(&[record(3)]),
            any,
            "opportunistic: opportunistic",
        ),
        (
            "an error",
            not_required.clone(),
            failed,
            any,
            "opportunistic: opportunistic",
        ),
        (
            "MTA-STS",
            not_required.clone(),
            TlsaAnswer::None,
            any,
            "opportunistic: opportunistic",
        ),
        (
            "not the operator",
            not_required,
            TlsaAnswer::None,
            TlsPolicy::Encrypt,
            "provider: tls",
        ),
    ]);
}

use super::*;

fn result(policy: AppliedPolicy, host: &str, failure: Option<FailureKind>) -> TlsResult {
    TlsResult {
        domain: "a.example".to_owned(),
        policy,
        mx_host: host.to_owned(),
        receiving_ip: Some([192, 0, 2, 1].into()),
        sending_ip: Some([198, 51, 100, 1].into()),
        failure,
    }
}

#[test]
fn sessions_are_summed_by_policy_and_failures_by_what_went_wrong_where() {
    let tlsa = || AppliedPolicy::tlsa(vec!["3 1 1 AB".to_owned()]);
    let expired = Some(FailureKind::CertificateExpired);
    let (mut one, mut other) = (DayCounts::default(), DayCounts::default());
    for (policy, host, failure) in [
        (AppliedPolicy::none(), "mx1", None),
        (AppliedPolicy::none(), "mx2", None),
        (tlsa(), "mx1", None),
        (tlsa(), "mx1", expired),
    ] {
        one.count(result(policy, host, failure));
    }
    for host in ["mx1", "mx2"] {
        other.count(result(tlsa(), host, expired));
    }
    one.add(other);
    assert_eq!((one.sessions(), one.failed()), (6, 3));
    let [none, tlsa] = &one.policies[..] else {
        panic!("{one:?}");
    };
    assert_eq!((none.successes, none.failed()), (2, 0));
    let failures = tlsa.failures.iter();
    let failures: Vec<_> = failures.map(|f| (&*f.of.mx_host, f.sessions)).collect();
    assert_eq!(
        (tlsa.successes, failures),
        (1, vec![("mx1", 2), ("mx2", 1)])
    );
}

#[test]
fn no_session_is_lost_where_there_is_no_room_for_what_it_was() {
    let mut counts = DayCounts::default();
    for n in 0..1000 {
        let policy = AppliedPolicy::tlsa(vec![format!("3 1 1 {n}"), "x".repeat(10_000)]);
        let failure = Some(FailureKind::StarttlsNotSupported);
        counts.count(result(policy, &format!("mx{n}"), failure));
    }
    assert_eq!((counts.sessions(), counts.failed()), (1000, 1000));
    assert!(counts.policies.len() <= POLICIES_MAX);
    let last = counts.policies.last().unwrap();
    assert_eq!(last.policy, AppliedPolicy::none());
    assert_eq!(last.failures.len(), FAILURES_MAX + 1);
    let rest = last.failures.last().unwrap();
    assert!(
        rest.of.mx_host.is_empty() && rest.sessions > 800,
        "{rest:?}"
    );
    assert!(counts.is_bounded());
    let bytes = crate::codec::encode(&counts).len();
    assert!(bytes < 16 << 10, "{bytes}");
    let again = counts.clone();
    counts.add(again);
    assert_eq!((counts.sessions(), counts.failed()), (2000, 2000));
}

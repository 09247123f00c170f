use std::time::Instant;

use skein_dns::{Host, PlanKind, Security, Tlsa};
use skein_model::sts::StsPolicy;
use skein_model::{DurationMs, UnixMs};

use super::*;

fn plan(security: Security, tlsa: &TlsaAnswer) -> Plan {
    Plan {
        domain: "a.example".to_owned(),
        kind: PlanKind::Mx,
        security,
        hosts: vec![Host {
            name: "mx1.a.example".to_owned(),
            preference: 10,
            addrs: vec![[192, 0, 2, 1].into()],
            security,
            tlsa: tlsa.clone(),
        }],
        site: "mx1.a.example".to_owned(),
        expires_at: Instant::now(),
    }
}

fn row(mode: StsMode, mx: &str) -> sts::StsRow {
    let now = UnixMs(1_700_000_000_000);
    sts::StsRow {
        policy: StsPolicy {
            id: "1".to_owned(),
            mode,
            mx: vec![mx.to_owned()],
            max_age_s: 86_400,
        },
        fetched_at: now,
        next_look: now + DurationMs::from_secs(3600),
        asked_at: now,
        fault: None,
    }
}

#[test]
fn each_host_is_told_with_who_decides_and_what_it_must_prove() {
    let (secure, insecure) = (Security::Secure, Security::Insecure);
    let records = TlsaAnswer::Records {
        base: "mx1.a.example".to_owned(),
        records: vec![Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: vec![0xab; 32],
        }],
    };
    let none = TlsaAnswer::None;
    let failed = TlsaAnswer::Failed("no answer".to_owned());
    let enforce = |mx: &str| Some(row(StsMode::Enforce, mx));
    for (security, tlsa, live, decided_by, demand, is_skipped) in [
        (
            insecure,
            &none,
            None,
            "opportunistic",
            "TLS where it works",
            false,
        ),
        (
            insecure,
            &none,
            enforce("*.a.example"),
            "sts",
            "leads to a trusted authority",
            false,
        ),
        (
            insecure,
            &none,
            enforce("mx2.a.example"),
            "sts",
            "does not name this host",
            true,
        ),
        (
            insecure,
            &none,
            Some(row(StsMode::Testing, "x.example")),
            "opportunistic",
            "TLS where it works",
            false,
        ),
        (
            secure,
            &records,
            None,
            "dane",
            "matches its TLSA records",
            false,
        ),
        (
            secure,
            &records,
            enforce("mx2.a.example"),
            "dane",
            "matches its TLSA records",
            false,
        ),
        (secure, &failed, None, "dane", "not known", true),
        (
            secure,
            &none,
            None,
            "opportunistic",
            "TLS where it works",
            false,
        ),
    ] {
        let told = of_plan(&plan(security, tlsa), &Policy::built_in(), live.as_ref());
        let [host] = &told.hosts[..] else {
            panic!("{told:?}");
        };
        assert_eq!(
            (host.decided_by.as_str(), host.is_skipped),
            (decided_by, is_skipped)
        );
        assert!(host.demand.contains(demand), "{}", host.demand);
        assert_eq!(host.tlsa.is_empty(), !host.no_tlsa.is_empty());
        assert_eq!(notes(&told, live.as_ref()).len(), 4);
    }
}

//! Certificates as hosts show them, against records as zones publish them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use sha2::{Digest, Sha256, Sha512};

use super::*;
use crate::pkix::Roots;

const HOST: &str = "mx.d.test";
const DOMAIN: &str = "d.test";

fn now() -> UnixTime {
    // 2026-06-01
    UnixTime::since_unix_epoch(Duration::from_secs(1_780_272_000))
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn named(names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn authority(name: &str, until: i32) -> CertificateParams {
    let mut params = named(&[], until);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn root(until: i32) -> Issuer {
    CertifiedIssuer::self_signed(authority("root", until), KeyPair::generate().unwrap()).unwrap()
}

fn below(issuer: &Issuer, until: i32) -> Issuer {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(authority("intermediate", until), key, issuer).unwrap()
}

fn host(issuer: &Issuer, names: &[&str], until: i32) -> Certificate {
    let key = KeyPair::generate().unwrap();
    named(names, until).signed_by(&key, issuer).unwrap()
}

fn data(certificate: &[u8], selector: u8, matching: u8) -> Vec<u8> {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let selected = match selector {
        0 => certificate,
        _ => parsed.tbs_certificate.subject_pki.raw,
    };
    match matching {
        0 => selected.to_vec(),
        1 => Sha256::digest(selected).to_vec(),
        _ => Sha512::digest(selected).to_vec(),
    }
}

fn tlsa(usage: u8, selector: u8, matching: u8, of: &CertificateDer<'_>) -> Tlsa {
    Tlsa {
        usage,
        selector,
        matching,
        data: data(of, selector, matching),
    }
}

fn verify(records: &[Tlsa], chain: &[&CertificateDer<'static>]) -> Result<(), CertificateFault> {
    let crate::Usable::Records(records) = crate::usable(records) else {
        panic!("no record is of use");
    };
    let records = DaneRecords::new(HOST, DOMAIN, records);
    let issuers: Vec<_> = chain[1..].iter().map(|one| (*one).clone()).collect();
    records.verify(chain[0], &issuers, now(), &algorithms())
}

#[test]
fn the_hosts_own_certificate_needs_neither_name_nor_time_nor_issuer() {
    let root = root(2030);
    let expired = host(&root, &["elsewhere.test"], 2021);
    let other = host(&root, &[HOST], 2030);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let record = tlsa(3, selector, matching, expired.der());
            let what = format!("3 {selector} {matching}");
            assert_eq!(
                verify(&[record.clone()], &[expired.der()]),
                Ok(()),
                "{what}"
            );
            let mismatch = Err(CertificateFault::NoTlsaMatch);
            assert_eq!(verify(&[record], &[other.der()]), mismatch, "{what}");
        }
    }
    let wrong = tlsa(3, 1, 1, other.der());
    let right = tlsa(3, 1, 1, expired.der());
    assert_eq!(
        verify(&[wrong, right], &[expired.der()]),
        Ok(()),
        "one of several"
    );
}

#[test]
fn an_issuer_that_nobody_else_trusts_is_enough_whatever_signed_it() {
    let root = root(2030);
    let middle = below(&root, 2030);
    let good = host(&middle, &[HOST], 2030);
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let what = format!("2 {selector} {matching}");
            let by_root = tlsa(2, selector, matching, root.der());
            let whole = [good.der(), middle.der(), root.der()];
            assert_eq!(verify(&[by_root], &whole), Ok(()), "{what}");
            // Not self-signed, and nothing above it is shown.
            let by_middle = tlsa(2, selector, matching, middle.der());
            assert_eq!(
                verify(&[by_middle], &[good.der(), middle.der()]),
                Ok(()),
                "{what}"
            );
        }
    }
    // A certificate that is in the zone need not be sent.
    let published = tlsa(2, 0, 0, middle.der());
    assert_eq!(verify(&[published], &[good.der()]), Ok(()));
    // The name of the domain does as well.
    let of_domain = host(&middle, &[DOMAIN], 2030);
    let record = tlsa(2, 1, 1, middle.der());
    assert_eq!(verify(&[record], &[of_domain.der(), middle.der()]), Ok(()));
}

#[test]
fn what_an_issuer_has_signed_has_a_name_an_end_and_a_signature() {
    use CertificateFault::{Expired, NoTlsaMatch, OtherName, UnknownIssuer};
    let root = root(2030);
    let (middle, old) = (below(&root, 2030), below(&root, 2021));
    let record = |issuer: &Issuer| tlsa(2, 1, 1, issuer.der());
    let rows = [
        (
            "another name",
            record(&middle),
            host(&middle, &["x.test"], 2030),
            &middle,
            OtherName,
        ),
        (
            "expired",
            record(&middle),
            host(&middle, &[HOST], 2021),
            &middle,
            Expired,
        ),
        (
            "its issuer is",
            record(&old),
            host(&old, &[HOST], 2030),
            &old,
            Expired,
        ),
        (
            "another issuer",
            record(&root),
            host(&middle, &[HOST], 2030),
            &middle,
            NoTlsaMatch,
        ),
        // The issuer is shown and has not signed it.
        (
            "no signature",
            record(&middle),
            host(&root, &[HOST], 2030),
            &middle,
            UnknownIssuer,
        ),
    ];
    for (what, record, certificate, issuer, fault) in rows {
        let chain = [certificate.der(), issuer.der()];
        assert_eq!(verify(&[record], &chain), Err(fault), "{what}");
    }
    // Usage 2 is not about the host's own certificate.
    let good = host(&middle, &[HOST], 2030);
    let own = tlsa(2, 1, 1, good.der());
    assert_eq!(
        verify(&[own], &[good.der(), middle.der()]),
        Err(NoTlsaMatch)
    );
}

#[test]
fn of_two_digests_the_weaker_one_does_not_help() {
    let root = root(2030);
    let (new, old) = (host(&root, &[HOST], 2030), host(&root, &[HOST], 2030));
    let records = [tlsa(3, 1, 2, new.der()), tlsa(3, 1, 1, old.der())];
    assert_eq!(verify(&records, &[new.der()]), Ok(()));
    assert_eq!(
        verify(&records, &[old.der()]),
        Err(CertificateFault::NoTlsaMatch)
    );
}

#[test]
fn authorities_vouch_for_a_name_until_an_end() {
    let root = root(2030);
    let roots = Roots::new(&[root.der().clone()]).unwrap();
    let stranger = self::root(2030);
    let name = ServerName::try_from(HOST).unwrap();
    for (certificate, expected) in [
        (host(&root, &[HOST], 2030), None),
        (
            host(&root, &["x.test"], 2030),
            Some(CertificateFault::OtherName),
        ),
        (host(&root, &[HOST], 2021), Some(CertificateFault::Expired)),
        (
            host(&stranger, &[HOST], 2030),
            Some(CertificateFault::UnknownIssuer),
        ),
    ] {
        let found = roots.verify(certificate.der(), &[], &name, now(), &algorithms());
        let fault = found.err().map(|error| CertificateFault::of(&error));
        assert_eq!(fault, expected);
    }
}

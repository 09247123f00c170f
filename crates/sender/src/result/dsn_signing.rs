//! Signatures of the DSNs that this sender makes.

use skein_client::SpoolError;
use skein_client::signing::{MailSigning, Signing};
use skein_dkim::Signer;
use skein_model::UnixMs;

/// A DSN of this host with its signatures in front, if there are any.
///
/// # Errors
/// No leader tells what it is signed with, or a key of the host's own domain cannot be used: it waits.
pub async fn signed(
    signing: &Signing,
    host: &str,
    dsn: Vec<u8>,
    now: UnixMs,
) -> Result<Vec<u8>, SpoolError> {
    if signing.is_off() {
        return Ok(dsn);
    }
    let found = signing.of(&[host.to_ascii_lowercase()]).await?;
    sign(&signers(&found)?, dsn, now)
}

/// The keys of the domain that the host is of, and the operator's. If the latter cannot be used, a DSN goes without: it says
/// what became of mail, and its author's domain is none that promises signatures.
fn signers(found: &MailSigning) -> Result<Vec<Signer>, SpoolError> {
    let mut signers = Vec::new();
    let own = found.domains.iter().flatten();
    for domain in own.filter(|domain| !domain.domain.is_empty()) {
        let own = domain.signers.as_ref();
        signers.extend_from_slice(
            own.map_err(|why| SpoolError::Unavailable(format!("a DSN cannot be signed: {why}")))?,
        );
    }
    match &*found.operator {
        Ok(operator) => signers.extend_from_slice(operator),
        Err(why) => tracing::warn!(%why, "a DSN has no signature of the operator"),
    }
    Ok(signers)
}

fn sign(signers: &[Signer], dsn: Vec<u8>, now: UnixMs) -> Result<Vec<u8>, SpoolError> {
    skein_dkim::sign_whole(signers, dsn, now)
        .map_err(|why| SpoolError::Unavailable(format!("a DSN cannot be signed: {why}")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use skein_client::signing::{DomainSigning, Unusable};
    use skein_dkim::PrivateKey;

    use super::*;

    fn keys(domain: &str) -> Vec<Signer> {
        let key = PrivateKey::ed25519_of(&[7; 32]).unwrap();
        vec![Signer::new(domain, "sk1", Arc::new(key))]
    }

    fn found(
        own: Result<Vec<Signer>, Unusable>,
        operator: Result<Vec<Signer>, Unusable>,
    ) -> MailSigning {
        let domain = DomainSigning {
            domain: "esp.test".into(),
            tenant: "operator".into(),
            is_verified: true,
            signers: own,
        };
        MailSigning {
            domains: vec![Some(Arc::new(domain))],
            operator: Arc::new(operator),
        }
    }

    #[test]
    fn a_dsn_has_the_signatures_of_its_host_and_of_the_operator() {
        let dsn =
            b"From: MAILER-DAEMON@mx.esp.test\r\nDate: x\r\nMessage-ID: <1@mx>\r\n\r\nbody\r\n";
        let gone = || Err(Unusable("no key".into()));
        for (own, operator, expected) in [
            (Ok(keys("esp.test")), Ok(keys("op.test")), Some(2)),
            (Ok(Vec::new()), Ok(keys("op.test")), Some(1)),
            (Ok(Vec::new()), Ok(Vec::new()), Some(0)),
            (Ok(keys("esp.test")), gone(), Some(1)),
            (gone(), Ok(keys("op.test")), None),
        ] {
            let signers = signers(&found(own, operator));
            assert_eq!(signers.as_ref().ok().map(Vec::len), expected);
            let Ok(signers) = signers else { continue };
            let signed = sign(&signers, dsn.to_vec(), UnixMs(1000)).unwrap();
            assert!(signed.ends_with(dsn));
            let text = String::from_utf8(signed).unwrap();
            assert_eq!(text.matches("DKIM-Signature: ").count(), signers.len());
        }
    }
}

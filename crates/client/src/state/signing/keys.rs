//! Answers of the leader, with their private keys decrypted. Pure.

use std::sync::Arc;

use skein_dkim::at_rest::{About, Keks};
use skein_dkim::{PrivateKey, Signer};
use skein_wire::internal::{self, GetSigningReply, SigningKey};

use super::{DomainSigning, MailSigning};

/// Why mail cannot be signed and waits, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// What was answered of so many domains; all that is beyond is none of the cluster's.
pub fn read(keks: Option<&Keks>, asked: usize, reply: GetSigningReply) -> MailSigning {
    let answered = reply.domains.into_iter();
    let mut domains: Vec<_> = answered
        .map(|domain| {
            // Mail from a domain that is not ours may wait too, for the operator's key.
            let says_something = !domain.domain.is_empty() || !domain.waits_for.is_empty();
            says_something.then(|| Arc::new(read_domain(keks, domain)))
        })
        .collect();
    domains.resize(asked, None);
    // Its keys are nobody else's.
    let operator = signers(keks, "", &reply.operator_keys);
    MailSigning {
        domains,
        operator: Arc::new(operator),
    }
}

fn read_domain(keks: Option<&Keks>, answered: internal::DomainSigning) -> DomainSigning {
    let signers = match answered.waits_for.as_str() {
        "" => signers(keks, &answered.tenant, &answered.keys),
        waits_for => Err(Unusable(waits_for.to_owned())),
    };
    DomainSigning {
        domain: answered.domain,
        tenant: answered.tenant,
        is_verified: answered.is_verified,
        signers,
    }
}

fn signers(
    keks: Option<&Keks>,
    tenant: &str,
    keys: &[SigningKey],
) -> Result<Vec<Signer>, Unusable> {
    keys.iter().map(|key| signer(keks, tenant, key)).collect()
}

fn signer(keks: Option<&Keks>, tenant: &str, key: &SigningKey) -> Result<Signer, Unusable> {
    let SigningKey {
        domain,
        selector,
        wrapped,
    } = key;
    let unusable = |why: String| Unusable(format!("{selector}._domainkey.{domain}: {why}"));
    let Some(keks) = keks else {
        return Err(unusable(
            "this node has no key-encryption key: name its file in dkim.key_file".into(),
        ));
    };
    let opened = keks.open(About::dkim_key(tenant, domain, selector), wrapped);
    let pkcs8 = opened.map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKey::from_pkcs8(&pkcs8).map_err(|error| unusable(error.to_string()))?;
    Ok(Signer::new(domain, selector, Arc::new(key)))
}

//! What senders are told of the keys that they sign with.

use skein_model::meta::domains::{self, DomainRow, SignedWith};
use skein_store::Reader;
use skein_wire::internal::{DomainSigning, GetSigningChangesReply, GetSigningReply, SigningKey};
use tonic::Status;

use super::waits_for;

/// A message has as many authors as it has domains in its From field, and few have more than one.
const DOMAINS_MAX: usize = 16;

/// # Errors
/// More domains are asked for than a message may have.
pub fn signing(meta: &Reader, asked: &[String]) -> Result<GetSigningReply, Status> {
    if asked.len() > DOMAINS_MAX {
        return Err(Status::invalid_argument(format!(
            "domains: at most {DOMAINS_MAX}"
        )));
    }
    // Read first: a change that comes between is asked for again.
    let version = domains::signing_version(meta);
    let operators: Vec<_> = domains::operators(meta)
        .into_iter()
        .map(|(name, row)| (row.signed_with(), name, row))
        .collect();
    let operator_keys: Vec<SigningKey> = operators
        .iter()
        .flat_map(|(signed, name, row)| keys(signed, name, row))
        .collect();
    let waits = operators.iter().find_map(|(signed, name, _)| {
        let waits = signed.waits.as_ref()?;
        Some(waits_for(name, waits))
    });
    // Mail is never sent unsigned where there is a key to be had.
    let waits = waits.filter(|_| operator_keys.is_empty());
    let found = asked.iter().map(|asked| {
        let mut signing = of_domain(meta, asked);
        if signing.keys.is_empty() && signing.waits_for.is_empty() {
            signing.waits_for = waits.clone().unwrap_or_default();
        }
        signing
    });
    Ok(GetSigningReply {
        version,
        domains: found.collect(),
        operator_keys,
    })
}

fn of_domain(meta: &Reader, asked: &str) -> DomainSigning {
    let asked = asked.trim_end_matches('.');
    let ascii = idna::domain_to_ascii(asked).unwrap_or_default();
    let Some((name, row)) = domains::nearest(meta, &ascii) else {
        return DomainSigning::default();
    };
    let signed = row.signed_with();
    DomainSigning {
        // The operator's are on all mail, and so on that of its own domain.
        keys: match row.is_operator {
            true => Vec::new(),
            false => keys(&signed, &name, &row),
        },
        waits_for: signed
            .waits
            .as_ref()
            .map(|waits| waits_for(&name, waits))
            .unwrap_or_default(),
        is_verified: signed.is_verified,
        tenant: row.tenant,
        domain: name,
    }
}

fn keys(signed: &SignedWith, name: &str, row: &DomainRow) -> Vec<SigningKey> {
    let keys = signed.keys.iter().filter_map(|(selector, id)| {
        Some(SigningKey {
            domain: name.to_owned(),
            selector: selector.clone(),
            wrapped: row.key(*id)?.wrapped.clone().into(),
        })
    });
    keys.collect()
}

/// A domain that is listed stands for all below it, too.
pub fn changes(meta: &Reader, since: u64) -> GetSigningChangesReply {
    let version = domains::signing_version(meta);
    let changed = domains::changed_since(meta, since);
    GetSigningChangesReply {
        version,
        all: changed.is_none(),
        domains: changed.unwrap_or_default(),
    }
}

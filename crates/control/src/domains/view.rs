//! Domains as [`skein_identity`] and people see them.

use skein_dkim::PublicKey;
use skein_identity::{Domain, Operator, Record, Slot};
use skein_model::meta::domains::{DomainRow, Waits};
use skein_model::rotation::SlotState;

/// What a row says of the records that a domain is to have.
pub fn of_row(name: &str, row: &DomainRow) -> Domain {
    let slots = row.slots().map(|(_, slot)| {
        let key = slot.state.key().and_then(|id| row.key(id));
        Slot {
            selector: slot.selector.clone(),
            key: key.and_then(|key| PublicKey::of_record(&key.record)),
            is_revoked: matches!(slot.state, SlotState::Revoked { .. }),
        }
    });
    Domain {
        name: name.to_owned(),
        id: row.label.clone(),
        ownership_token: row.token.clone(),
        slots: slots.collect(),
        is_delegated: row.is_delegated,
        hosted_with_policy: None,
    }
}

pub fn records(name: &str, row: &DomainRow, operator: &Operator) -> Vec<Record> {
    skein_identity::records(&of_row(name, row), operator)
}

/// Why mail of a domain waits, and what to do.
pub fn waits_for(name: &str, waits: &Waits) -> String {
    match waits {
        Waits::NoneYet => format!(
            "no DKIM key of {name} was seen in the DNS for long enough yet; `skeinctl domain check {name}` tells what is missing"
        ),
        Waits::Gone { selector, .. } => format!(
            "the DKIM key {selector}._domainkey.{name} is gone from the DNS; `skeinctl domain check {name}` tells the record to \
             publish"
        ),
    }
}

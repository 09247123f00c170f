//! Keys: CNAMEs to the operator's zone and the keys there, or keys in the domain's own zone.

use skein_dkim::record::Comparison;

use super::Check;
use super::hosts::is_host;
use super::published::Kind;
use crate::dns::RecordType;
use crate::finding::Id;
use crate::records::{Purpose, Slot, delegated_name};

const KIND: Kind = Kind {
    missing: Id::DkimMissing,
    doubled: Id::DkimDoubledName,
};

impl Check<'_> {
    pub fn keys(&mut self) {
        for record in self.expected_of(Purpose::Dkim, RecordType::Cname) {
            self.published(record, &KIND, |found| {
                (!is_host(found, &record.value)).then_some(Id::DkimOtherTarget)
            });
        }
        for record in self.expected_of(Purpose::Dkim, RecordType::Txt) {
            let mut slots = self.domain.slots.iter();
            let slot = slots.find(|slot| {
                let name = match self.domain.is_delegated {
                    true => delegated_name(self.domain, self.operator, &slot.selector),
                    false => format!("{}._domainkey.{}", slot.selector, self.domain.name),
                };
                name == record.name
            });
            if let Some(slot) = slot {
                self.published(record, &KIND, |found| judge(slot, found));
            }
        }
    }
}

pub(crate) fn judge(slot: &Slot, found: &[String]) -> Option<Id> {
    let key = slot.key.as_ref()?;
    let [one] = found else {
        return Some(Id::DkimMultiple);
    };
    match key.compare(one) {
        Comparison::Revoked if slot.is_revoked => None,
        _ if slot.is_revoked => Some(Id::DkimNotRevoked),
        Comparison::Same => None,
        Comparison::Testing => Some(Id::DkimTesting),
        Comparison::Revoked => Some(Id::DkimRevoked),
        Comparison::Truncated { .. } => Some(Id::DkimTruncated),
        Comparison::Other | Comparison::Unreadable(_) => Some(Id::DkimMismatch),
    }
}

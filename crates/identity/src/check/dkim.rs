//! Keys: CNAMEs to the operator's zone and the keys there, or keys in the domain's own zone.

use skein_dkim::record::Comparison;

use super::Check;
use super::hosts::is_host;
use super::published::Kind;
use crate::dns::RecordType;
use crate::finding::Id;
use crate::records::{Purpose, Slot};

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
            let slot = self.domain.slots.iter().find(|slot| {
                let key = slot.key.as_ref();
                key.is_some_and(|key| key.text() == record.value)
            });
            if let Some(slot) = slot {
                self.published(record, &KIND, |found| judge(slot, found));
            }
        }
    }
}

fn judge(slot: &Slot, found: &[String]) -> Option<Id> {
    let key = slot.key.as_ref()?;
    let [one] = found else {
        return Some(Id::DkimMultiple);
    };
    match key.compare(one) {
        Comparison::Same => None,
        Comparison::Testing => Some(Id::DkimTesting),
        Comparison::Revoked => Some(Id::DkimRevoked),
        Comparison::Truncated { .. } => Some(Id::DkimTruncated),
        Comparison::Other | Comparison::Unreadable(_) => Some(Id::DkimMismatch),
    }
}

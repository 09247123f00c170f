//! What senders follow of suppression lists, and ask about them.

use skein_model::codec;
use skein_model::suppression::{
    Change, Entry, FeedPart, Key, StreamKind, Subject, Verdict, Written,
};

use super::BadMessage;
use crate::internal::{
    SuppressionChanges, SuppressionHash, SuppressionLookUp, SuppressionPage, SuppressionPart,
    SuppressionVerdict, suppression_part::Part,
};

/// Of one request; a sender has fewer recipients whose hashes it has found at a time.
pub const LOOK_UPS_MAX: usize = 1_000;
/// Hashes of one page, and changes of one part: 128 KiB and some more.
pub const FEED_PART_MAX: usize = 16_384;

/// A recipient that a sender asks about, and the mail that is for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookUp {
    pub recipient: Subject,
    pub tenant: String,
    pub stream: Option<String>,
    pub kind: StreamKind,
}

/// # Errors
/// It has no part that this version knows, or a longer one than is sent.
pub fn suppression_part(told: SuppressionPart) -> Result<FeedPart, BadMessage> {
    match told.part.ok_or(BadMessage::SuppressionPart)? {
        Part::Page(page) if page.hashes.len() <= FEED_PART_MAX => Ok(FeedPart::Page {
            since: page.since,
            hashes: page.hashes,
            is_first: page.is_first,
            is_last: page.is_last,
        }),
        Part::Changes(told) if told.changes.len() <= FEED_PART_MAX => {
            let changes = told.changes.into_iter();
            let change = |told: SuppressionHash| Change {
                hash: told.hash,
                is_added: told.is_added,
            };
            Ok(FeedPart::Changes {
                since: told.since,
                changes: changes.map(change).collect(),
            })
        }
        Part::Page(_) | Part::Changes(_) => Err(BadMessage::SuppressionPart),
    }
}

pub fn suppression_part_told(part: FeedPart) -> SuppressionPart {
    let part = match part {
        FeedPart::Page {
            since,
            hashes,
            is_first,
            is_last,
        } => Part::Page(SuppressionPage {
            since,
            hashes,
            is_first,
            is_last,
        }),
        FeedPart::Changes { since, changes } => {
            let changes = changes.into_iter();
            let told = |change: Change| SuppressionHash {
                hash: change.hash,
                is_added: change.is_added,
            };
            Part::Changes(SuppressionChanges {
                since,
                changes: changes.map(told).collect(),
            })
        }
    };
    SuppressionPart { part: Some(part) }
}

/// # Errors
/// The recipient is none that SMTP lets in.
pub fn suppression_look_up(told: SuppressionLookUp) -> Result<LookUp, BadMessage> {
    let recipient = match Written::parse(&told.recipient) {
        Ok(written) if matches!(written.subject, Subject::Address(_)) => written.subject,
        _ => return Err(BadMessage::Recipient(told.recipient)),
    };
    Ok(LookUp {
        recipient,
        tenant: told.tenant,
        stream: Some(told.stream).filter(|stream| !stream.is_empty()),
        kind: match told.is_transactional {
            true => StreamKind::Transactional,
            false => StreamKind::Bulk,
        },
    })
}

/// `recipient` is the address as the envelope has it.
pub fn suppression_look_up_told(
    recipient: &str,
    (tenant, stream, kind): (&str, Option<&str>, StreamKind),
) -> SuppressionLookUp {
    SuppressionLookUp {
        recipient: recipient.to_owned(),
        tenant: tenant.to_owned(),
        stream: stream.unwrap_or_default().to_owned(),
        is_transactional: kind == StreamKind::Transactional,
    }
}

/// # Errors
/// It is not encoded as an entry with its key.
pub fn suppression_verdict(told: &SuppressionVerdict) -> Result<Option<Verdict>, BadMessage> {
    let Some(held_back_by) = &told.held_back_by else {
        return Ok(None);
    };
    let (key, entry): (Key, Entry) = codec::decode(held_back_by)?;
    Ok(Some(Verdict { key, entry }))
}

pub fn suppression_verdict_told(verdict: Option<&Verdict>) -> SuppressionVerdict {
    let held_back_by = verdict.map(|Verdict { key, entry }| codec::encode(&(key, entry)).into());
    SuppressionVerdict { held_back_by }
}

#[cfg(test)]
mod tests {
    use skein_model::UnixMs;
    use skein_model::suppression::{Reason, Scope};

    use super::*;

    #[test]
    fn parts_are_read_as_they_are_told() {
        let change = |hash, is_added| Change { hash, is_added };
        for part in [
            FeedPart::Page {
                since: 7,
                hashes: vec![0, u64::MAX, 5],
                is_first: true,
                is_last: false,
            },
            FeedPart::Changes {
                since: 9,
                changes: vec![change(u64::MAX, true), change(3, false)],
            },
        ] {
            let told = suppression_part_told(part.clone());
            assert_eq!(suppression_part(told).ok(), Some(part));
        }
        let long = FeedPart::Page {
            since: 7,
            hashes: vec![1; FEED_PART_MAX + 1],
            is_first: true,
            is_last: true,
        };
        assert!(suppression_part(suppression_part_told(long)).is_err());
        assert!(suppression_part(SuppressionPart { part: None }).is_err());
    }

    #[test]
    fn look_ups_and_verdicts_are_read_as_they_are_told() {
        for (stream, kind) in [
            (None, StreamKind::Bulk),
            (Some("news"), StreamKind::Transactional),
        ] {
            let told = suppression_look_up_told("Ann@Example.com", ("acme", stream, kind));
            let expected = LookUp {
                recipient: Subject::Address("ann@example.com".into()),
                tenant: "acme".into(),
                stream: stream.map(str::to_owned),
                kind,
            };
            assert_eq!(suppression_look_up(told).ok(), Some(expected));
        }
        let told = suppression_look_up_told("ann", ("acme", None, StreamKind::Bulk));
        assert_eq!(
            suppression_look_up(told).ok().map(|asked| asked.recipient),
            None
        );
        let verdict = Verdict {
            key: Key {
                scope: Scope::Global,
                subject: Subject::Domain("example.com".into()),
            },
            entry: Entry {
                reason: Reason::Manual,
                source: "ann".into(),
                created: UnixMs(5),
                expires: None,
                note: String::new(),
            },
        };
        for verdict in [None, Some(verdict)] {
            let told = suppression_verdict_told(verdict.as_ref());
            assert_eq!(suppression_verdict(&told).ok(), Some(verdict));
        }
        let held_back_by = Some(vec![1, 2].into());
        assert!(suppression_verdict(&SuppressionVerdict { held_back_by }).is_err());
    }
}

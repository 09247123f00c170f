//! Which entries hold back which mail.

use super::entry::{Entry, Reason};
use super::key::{Key, Scope};
use super::subject::Subject;
use crate::time::UnixMs;

/// Three scopes, each for an address and its domain.
pub const KEYS_MAX: usize = 6;

/// What a stream of a tenant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// Mail that its recipient waits for: receipts, passwords.
    Transactional,
    Bulk,
}

impl StreamKind {
    /// An unsubscribe, and it alone, does not stop transactional mail.
    pub fn is_stopped_by(self, reason: Reason) -> bool {
        self == Self::Bulk || reason != Reason::Unsubscribe
    }
}

/// Why mail is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub key: Key,
    pub entry: Entry,
}

/// Under which keys entries count for mail of a tenant, of one of its streams if it is of any, to a recipient. None of the keys is
/// there twice.
pub fn lookup_keys(tenant: &str, stream: Option<&str>, recipient: &Subject) -> Vec<Key> {
    let stream = stream.map(|stream| Scope::Stream {
        tenant: tenant.to_owned(),
        stream: stream.to_owned(),
    });
    let own = Scope::Tenant(tenant.to_owned());
    let scopes = stream.into_iter().chain([own, Scope::Global]);
    let domain = match recipient {
        Subject::Address(_) => Some(Subject::Domain(recipient.domain().to_owned())),
        Subject::Domain(_) => None,
    };
    let subjects = [Some(recipient.clone()), domain];
    let keys = scopes.flat_map(|scope| {
        let subjects = subjects.iter().flatten();
        subjects.map(move |subject| Key {
            scope: scope.clone(),
            subject: subject.clone(),
        })
    });
    keys.collect()
}

/// The entry that holds mail back: the gravest, then the one of an address before the one of its domain, then the one for a stream
/// before those for its tenant and for everybody. No two are alike in all of these.
pub fn decide<'e>(
    kind: StreamKind,
    now: UnixMs,
    found: impl IntoIterator<Item = (&'e Key, &'e Entry)>,
) -> Option<Verdict> {
    let counting = found
        .into_iter()
        .filter(|(_, entry)| entry.counts_at(now) && kind.is_stopped_by(entry.reason));
    let gravest = counting.max_by_key(|(key, entry)| {
        let is_address = matches!(key.subject, Subject::Address(_));
        (entry.reason.gravity(), is_address, key.scope.kind())
    });
    gravest.map(|(key, entry)| Verdict {
        key: key.clone(),
        entry: entry.clone(),
    })
}

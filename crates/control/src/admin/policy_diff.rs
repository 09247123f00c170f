//! What becomes of one resource, for people.

use skein_model::meta::Kept;
use skein_policy::diff;
use skein_wire::v1::{KeyChange, PolicyChange, PolicyChangeKind};

/// The key that stands for where a resource is applied from.
const SOURCE: &str = "(source)";

/// What becomes of a resource, key by key.
pub fn changed(key: &str, before: Option<&Kept>, after: Option<&Kept>) -> PolicyChange {
    let change = match (before, after) {
        (None, Some(_)) => PolicyChangeKind::Added,
        (Some(_), None) => PolicyChangeKind::Removed,
        (before, after) if before == after => PolicyChangeKind::Unchanged,
        _ => PolicyChangeKind::Changed,
    };
    let text = |kept: Option<&Kept>| kept.map_or_else(String::new, |kept| kept.text.clone());
    let keys = diff(&text(before), &text(after)).into_iter();
    let keys = keys.filter(|one| !matches!(one.key.as_str(), "kind" | "name"));
    let mut keys: Vec<KeyChange> = keys
        .map(|one| KeyChange {
            key: one.key,
            before: one.before,
            after: one.after,
        })
        .collect();
    let source = |kept: Option<&Kept>| kept.and_then(|kept| kept.source.clone());
    if source(before) != source(after) {
        keys.push(KeyChange {
            key: SOURCE.to_owned(),
            before: source(before),
            after: source(after),
        });
    }
    PolicyChange {
        resource: key.to_owned(),
        change: change.into(),
        keys,
    }
}

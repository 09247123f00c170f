//! Why a node takes no part in its cluster any more, noted with its data so that it does not start with it again.

use std::fs;
use std::path::Path;

use skein_model::GroupId;
use skein_model::doctor::group_name;

const REMOVED: &str = "removed";
const DIFFERS: &str = "differs";

/// Why the cluster does without this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Expelled {
    #[error(
        "this node was removed from its cluster, or another has its place; it may join again as a new one with an empty \
         data directory"
    )]
    Removed,
    #[error(
        "this node's copy of {} is not what a majority has, so none of its data can be trusted; keep the directory for \
         a report, and start the node with an empty one: it takes part again as a new one", group_name(*.0)
    )]
    Differs(GroupId),
}

impl Expelled {
    /// Why this data may not be used again, if it may not.
    pub(crate) fn of(data_dir: &Path) -> Option<Self> {
        if data_dir.join(REMOVED).exists() {
            return Some(Self::Removed);
        }
        let group = fs::read_to_string(data_dir.join(DIFFERS)).ok()?;
        let group = group.trim().parse().unwrap_or_default();
        Some(Self::Differs(GroupId(group)))
    }

    pub(crate) fn note(self, data_dir: &Path) {
        let noted = match self {
            Self::Removed => fs::write(data_dir.join(REMOVED), ""),
            Self::Differs(group) => fs::write(data_dir.join(DIFFERS), group.to_string()),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "this cannot be noted; the cluster tells of it again");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_noted_is_read_again() {
        for out in [Expelled::Removed, Expelled::Differs(GroupId(3))] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(Expelled::of(dir.path()), None);
            out.note(dir.path());
            assert_eq!(Expelled::of(dir.path()), Some(out));
        }
    }
}

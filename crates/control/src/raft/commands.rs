//! Every command that is proposed is read first, as the group's state machine will read it.
//!
//! All roads to a proposal pass here: services of the leader, the admin API of any node, a restore, what leaders decide by
//! themselves. What is not refused here is committed, and must then be applied by every replica.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use skein_model::GroupId;
use skein_model::codec::CorruptRow;
use skein_model::proposal::Invalid;
use skein_store::{Machine, Proposed};

type Check = dyn Fn(&[u8]) -> Result<Proposed, Invalid> + Send + Sync;
type IsReadable = dyn Fn(&[u8]) -> Result<(), CorruptRow> + Send + Sync;

/// The commands of one group.
#[derive(Clone)]
pub struct Commands {
    check: Arc<Check>,
    is_readable: Arc<IsReadable>,
    /// Entries that operators had this replica pass over.
    skipped: Arc<BTreeSet<u64>>,
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commands")
    }
}

impl Commands {
    pub fn of<M: Machine>(group: GroupId, machine: M, skipped: BTreeSet<u64>) -> Self {
        Self {
            check: Arc::new(move |command: &[u8]| machine.check(group, command)),
            is_readable: Arc::new(move |command: &[u8]| machine.is_readable(command)),
            skipped: Arc::new(skipped),
        }
    }

    /// # Errors
    /// The command may not be proposed.
    pub fn check(&self, command: &[u8]) -> Result<(), Invalid> {
        (self.check)(command).map(|_| ())
    }

    /// # Errors
    /// The command may not be proposed, or not for another node.
    pub fn check_forwarded(&self, command: &[u8]) -> Result<(), Invalid> {
        match (self.check)(command)?.is_forwarded {
            true => Ok(()),
            false => Err(Invalid::Field {
                field: "command",
                reason: "only the leader itself proposes one of this kind".to_owned(),
            }),
        }
    }

    /// Whether an entry of the leader can be applied here, as far as it can be read.
    ///
    /// # Errors
    /// This version cannot read one of its commands.
    pub fn can_read(&self, index: u64, commands: &[Vec<u8>]) -> Result<(), CorruptRow> {
        if self.skipped.contains(&index) {
            return Ok(());
        }
        commands
            .iter()
            .try_for_each(|command| (self.is_readable)(command))
    }
}

//! openraft's types as we use them.

use serde::{Deserialize, Serialize};

use crate::snapshot::{Received, View};

/// Many commands in one Raft entry, because openraft 0.9 fsyncs once for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's clock in milliseconds since 1970; the state machine keeps it from going back.
    pub at: u64,
    /// Encoded commands of the group's state machine.
    pub commands: Vec<Vec<u8>>,
}

/// One encoded reply for each command; none for entries without commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReply {
    pub replies: Vec<Vec<u8>>,
}

/// Where the rows of a snapshot come from.
#[derive(Debug, Clone)]
pub enum SnapshotSource {
    /// This node's own rows.
    View(View),
    /// A leader's rows.
    Received(Received),
    /// None: openraft's chunked transfer, which asks for an empty place first, is not used.
    Nothing,
}

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Batch,
        R = BatchReply,
        NodeId = u64,
        Node = openraft::BasicNode,
        SnapshotData = SnapshotSource,
);

//! What processes say to each other: questions with answers, and the frames of work streams.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;

use skein_model::spool::{Accept, Refile, Report, TaskRow};
use skein_model::{Epoch, GroupId, MessageId, NodeId, SessionId, Slot, TaskId, meta};

use crate::raft::RaftMessage;
use crate::sim::Pid;

#[derive(Debug, Clone)]
pub enum Message {
    Raft {
        group: GroupId,
        from: NodeId,
        /// A call names the node that is meant.
        to: NodeId,
        message: RaftMessage,
    },
    Ask(u64, Question),
    Tell(u64, Answer),
    /// A hint that slots have changed.
    Changed(u64),
}

#[derive(Debug, Clone)]
pub enum Question {
    Hello,
    OpenSession {
        sender: String,
        order: u64,
    },
    Heartbeat(Heartbeat),
    CloseSession(SessionId),
    StoreBody(MessageId),
    ReadBody(MessageId),
    Accept(Rc<Accept>),
    Join(meta::Join),
    /// A client's message: recipients by domain.
    Submit(Vec<(String, String)>),
    /// A transaction up to its final dot.
    Mail(Rc<Mail>),
}

#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub session: SessionId,
    pub version: u64,
    pub released: Vec<(Slot, Epoch)>,
    pub unreachable: BTreeSet<GroupId>,
    pub retiring: bool,
    /// On the sender's clock; only the judge looks at it.
    pub sent_at: u64,
}

#[derive(Debug)]
pub struct Mail {
    pub task: TaskId,
    pub recipients: Vec<u32>,
    /// The judge's name for its final dot.
    pub dot: u64,
}

/// What a node says of a group.
#[derive(Debug, Clone)]
pub struct View {
    pub term: u64,
    pub leader: Option<NodeId>,
    pub voters: BTreeMap<NodeId, Pid>,
    pub learners: BTreeMap<NodeId, Pid>,
    pub bodies_complete: bool,
}

#[derive(Debug, Clone, Default)]
pub struct SlotsOf {
    pub version: u64,
    pub slots: Vec<(Slot, Epoch)>,
    pub leaving: Vec<(Slot, Epoch)>,
}

#[derive(Debug, Clone)]
pub enum Answer {
    Hello {
        node: NodeId,
        groups: BTreeMap<GroupId, View>,
    },
    Opened {
        session: SessionId,
        slots: SlotsOf,
    },
    Beat {
        alive: bool,
        slots: Option<SlotsOf>,
    },
    Done,
    Stored(NodeId),
    HasBody(bool),
    Joined {
        removed: bool,
    },
    /// Not done by this node.
    Unavailable,
    /// It may or may not be done.
    Unknown,
    /// Never.
    Refused,
    /// A host's replies to each recipient: 2, 4 or 5.
    Replies(Vec<u16>),
}

#[derive(Debug, Clone)]
pub enum Frame {
    Open {
        group: GroupId,
        session: SessionId,
        slots: Vec<(Slot, Epoch)>,
        window: usize,
        /// With the attempts before.
        held: Vec<(TaskId, u32)>,
    },
    Opened,
    Slots {
        slots: Vec<(Slot, Epoch)>,
        change: u64,
    },
    Report(Rc<Report>),
    /// And the number of the attempt that is not made.
    Refile(Rc<Refile>, u32),
    Returned(TaskId),
    Tasks {
        tasks: Vec<Task>,
        change: u64,
    },
    Recorded {
        /// And the number of the attempt.
        task: (TaskId, u32),
        result: Recorded,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Committed,
    Refused,
    NotKnown,
}

#[derive(Debug, Clone)]
pub struct Task {
    pub id: TaskId,
    pub epoch: Epoch,
    pub row: Rc<TaskRow>,
}

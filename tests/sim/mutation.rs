//! Faults put into the product on purpose: the simulation is worth something only if it finds each of them.

/// One way in which the product could be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A follower acknowledges entries before they are fsynced.
    AnswerBeforeFsync,
    /// A body counts as stored before it is fsynced.
    BodyBeforeFsync,
    /// Accept is proposed whoever has the body.
    AcceptWithoutMajorityOfBodies,
    /// The final dot goes out whether the lease holds or not.
    SkipLeaseCheck,
    /// The final dot goes out whether results can be reported or not.
    SkipStreamCheck,
    /// The lease is counted from the answer to a heartbeat.
    LeaseFromAnswer,
    /// A terminal result from an old epoch is refused.
    DropLateFacts,
    /// A deferral from an old epoch is taken.
    TakeLateActions,
    /// A spool group lets a session open slots that another has under a higher epoch.
    ForgetEpoch,
    /// A node with an empty disk comes back under its old id.
    ReuseNodeId,
    /// A new leader dispenses without waiting for those who may hold tasks.
    DispenseAtOnce,
    /// A learner votes when it has the log, whether or not it has the bodies.
    VoteWithoutBodies,
    /// A leader renews a session that it is about to end.
    RenewWhileEnding,
    /// A report whose stream broke is forgotten.
    ReportOnce,
    /// A sender does not tell a new leader which tasks it has.
    HeldNotTold,
    /// A slot is released while work on it can still be undone.
    ReleaseEarly,
    /// A sender goes on with the slots that it is to let go of.
    KeepLeavingSlots,
    /// A work stream goes on when its server leads no more, and again.
    StreamOutlivesLeadership,
    /// A leader whose clock is behind its group's time goes by its clock.
    OwnClock,
    /// A task goes out again before its sender hears that the report about it was refused.
    TaskBeforeRefusal,
}

impl Mutation {
    pub const ALL: [Self; 20] = [
        Self::AnswerBeforeFsync,
        Self::BodyBeforeFsync,
        Self::AcceptWithoutMajorityOfBodies,
        Self::SkipLeaseCheck,
        Self::SkipStreamCheck,
        Self::LeaseFromAnswer,
        Self::DropLateFacts,
        Self::TakeLateActions,
        Self::ForgetEpoch,
        Self::ReuseNodeId,
        Self::DispenseAtOnce,
        Self::VoteWithoutBodies,
        Self::RenewWhileEnding,
        Self::ReportOnce,
        Self::HeldNotTold,
        Self::ReleaseEarly,
        Self::KeepLeavingSlots,
        Self::StreamOutlivesLeadership,
        Self::OwnClock,
        Self::TaskBeforeRefusal,
    ];

    /// A seed that shows it, where few do. It is tried first; a change of the product may need another one.
    pub fn known_seed(self) -> Option<u64> {
        match self {
            Self::LeaseFromAnswer => Some(75),
            Self::RenewWhileEnding => Some(13),
            Self::SkipLeaseCheck | Self::OwnClock => Some(8),
            Self::HeldNotTold => Some(5),
            _ => None,
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mutation| format!("{mutation:?}") == name)
    }
}

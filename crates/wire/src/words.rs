//! The words for the values of the public API's enums: tables and JSON show them, and people write them.
//!
//! Nothing is decided by a word; programs decide by the enum.

use std::borrow::Cow;

use serde::Serializer;

use crate::v1;

/// An enum of the public API.
pub trait Words: Copy + TryFrom<i32> + 'static {
    /// In the order in which people read them.
    const ALL: &'static [Self];

    /// Empty for the value that says nothing.
    fn word(self) -> &'static str;

    /// The value that a word stands for.
    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.word() == word)
    }
}

/// The word of a field; `unknown (N)` for a value of a newer node.
pub fn word<E: Words>(number: i32) -> Cow<'static, str> {
    match E::try_from(number) {
        Ok(value) => value.word().into(),
        Err(_) => format!("unknown ({number})").into(),
    }
}

/// A field as JSON has it.
pub(crate) fn serialize<E: Words, S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&word::<E>(*number))
}

macro_rules! words {
    ($($kind:ident { $($value:ident => $word:literal,)+ })+) => {
        $(impl Words for v1::$kind {
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        })+

        #[cfg(test)]
        fn each(check: &mut impl tests::Check) {
            $(check.of::<v1::$kind>(stringify!($kind));)+
        }
    };
}

words! {
    DomainState {
        Unspecified => "",
        Unverified => "unverified",
        Waiting => "waiting",
        Signing => "signing",
    }
    DomainKeyState {
        Unspecified => "",
        Empty => "empty",
        Published => "published",
        Seen => "seen",
        Active => "active",
        Retiring => "retiring",
        Revoked => "revoked",
    }
    DomainFindingSeverity {
        Unspecified => "",
        Wait => "wait",
        Warning => "warning",
        Error => "error",
    }
    WarmupPhase {
        Unspecified => "",
        NotStarted => "not started",
        Running => "running",
        Paused => "paused",
        Stopped => "stopped",
        Finished => "finished",
    }
    WarmupEvent {
        Unspecified => "",
        Started => "started",
        Replanned => "replanned",
        Paused => "paused",
        Resumed => "resumed",
        Skipped => "skipped",
        Stopped => "stopped",
        Advanced => "advanced",
        SteppedBack => "stepped back",
        Rewarmed => "rewarmed",
        Finished => "finished",
    }
    AutomationEventKind {
        Unspecified => "",
        Began => "began",
        Moved => "moved",
        Climbs => "climbs",
        Ended => "ended",
        Lifted => "lifted",
        GaveWay => "gave way",
    }
    SourceIpState {
        Unspecified => "",
        Active => "active",
        Suspended => "suspended",
        Unplaced => "unplaced",
        Leaving => "leaving",
    }
    IpCheck {
        Unspecified => "",
        Address => "address",
        Ptr => "ptr",
        Forward => "forward",
        Ehlo => "ehlo",
        Dnsbl => "dnsbl",
    }
    ReasonKind {
        Unspecified => "",
        Retry => "retry",
        Away => "away",
        Tls => "tls",
        Suspended => "suspended",
        GivenUp => "given up",
        Rule => "rule",
        Limit => "limit",
        Shared => "shared",
        Blocked => "blocked",
        Sender => "sender",
        Slot => "slot",
        Ip => "ip",
        Warmup => "warm-up",
        None => "none",
    }
    TlsPolicy {
        Unspecified => "",
        Opportunistic => "opportunistic",
        Require => "require",
        Encrypt => "encrypt",
        Disable => "disable",
    }
    LimitScope {
        Unspecified => "",
        IpSite => "ip_site",
        Site => "site",
        Ip => "ip",
        Pool => "pool",
        Tenant => "tenant",
    }
    PolicyChangeKind {
        Unspecified => "",
        Added => "added",
        Changed => "changed",
        Removed => "removed",
        Unchanged => "unchanged",
    }
    ResourceKind {
        Unspecified => "",
        Credential => "credential",
        Inbound => "inbound",
        Ip => "ip",
        Pool => "pool",
        Provider => "provider",
        Route => "route",
        Tenant => "tenant",
        Warmup => "warmup",
    }
    NodeState {
        Unspecified => "",
        Up => "up",
        Stopping => "stopping",
        NoAnswer => "no answer",
        Leaving => "leaving",
    }
    GroupRole {
        Unspecified => "",
        Leader => "leader",
        Voter => "voter",
        Learner => "learner",
        Absent => "absent",
    }
    FindingLevel {
        Unspecified => "",
        Note => "note",
        Problem => "problem",
    }
    SenderState {
        Unspecified => "",
        Active => "active",
        Drained => "drained",
        Stopping => "stopping",
        Unfit => "unfit",
        Absent => "absent",
        Contested => "contested",
    }
    NodeRole {
        Unspecified => "",
        All => "all",
        Control => "control",
        Sender => "sender",
    }
    RaftState {
        Unspecified => "",
        Leader => "leader",
        Follower => "follower",
        Candidate => "candidate",
        Learner => "learner",
        Stopped => "stopped",
    }
    Priority {
        Unspecified => "",
        Transactional => "transactional",
        Bulk => "bulk",
    }
    QueueState {
        Unspecified => "",
        Due => "due",
        Retry => "retry",
        Suspended => "suspended",
        Bounced => "bounced",
        Rule => "rule",
        Limit => "limit",
        Blocked => "blocked",
        Unplaced => "unplaced",
        NoSender => "no sender",
        Moving => "moving",
    }
    HistoryEventKind {
        Unspecified => "",
        Accepted => "accepted",
        Delivered => "delivered",
        Deferred => "deferred",
        Bounced => "bounced",
        Expired => "expired",
        Deleted => "deleted",
        OutOfBandBounce => "out_of_band_bounce",
        Complained => "complained",
    }
    BounceClass {
        Unspecified => "",
        InvalidRecipient => "invalid_recipient",
        InvalidDomain => "invalid_domain",
        InactiveMailbox => "inactive_mailbox",
        Moved => "moved",
        MailboxFull => "mailbox_full",
        Greylisted => "greylisted",
        RateLimited => "rate_limited",
        Busy => "busy",
        Network => "network",
        Dns => "dns",
        BlockIp => "block_ip",
        BlockDomain => "block_domain",
        SpamContent => "spam_content",
        Attachment => "attachment",
        Virus => "virus",
        Auth => "auth",
        Policy => "policy",
        Relay => "relay",
        Routing => "routing",
        Loop => "loop",
        TooBig => "too_big",
        Protocol => "protocol",
        Expired => "expired",
        Other => "other",
        AutoReply => "auto_reply",
        Challenge => "challenge",
        UnsubscribeRequest => "unsubscribe_request",
        Delayed => "delayed",
        Complaint => "complaint",
    }
    SuppressionScope {
        Unspecified => "",
        Global => "global",
        Tenant => "tenant",
        Stream => "stream",
    }
    SuppressionReason {
        Unspecified => "",
        HardBounce => "hard_bounce",
        SoftBounce => "soft_bounce",
        Complaint => "complaint",
        Unsubscribe => "unsubscribe",
        Manual => "manual",
    }
    StreamKind {
        Unspecified => "",
        Transactional => "transactional",
        Bulk => "bulk",
    }
    SuppressionAdded {
        Unspecified => "",
        Added => "added",
        Changed => "changed",
        WasThere => "was there",
        Full => "full",
    }
    SuppressionRemoved {
        Unspecified => "",
        Removed => "removed",
        WasNotThere => "was not there",
        Complaint => "complaint",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    pub trait Check {
        fn of<E: Words>(&mut self, name: &str);
    }

    /// That each word stands for one value, and each value has one.
    struct Distinct(u32);

    impl Check for Distinct {
        fn of<E: Words>(&mut self, name: &str) {
            let words: BTreeSet<&str> = E::ALL.iter().map(|one| one.word()).collect();
            assert_eq!(words.len(), E::ALL.len(), "{name}");
            assert_eq!(word::<E>(0), "", "{name}: the first value says nothing");
            for number in 0.. {
                let Ok(value) = E::try_from(number) else {
                    assert_eq!(number as usize, E::ALL.len(), "{name}: all are listed");
                    break;
                };
                assert!(E::of(value.word()).is_some(), "{name} {number}");
                assert_eq!(word::<E>(number), value.word());
            }
            assert_eq!(word::<E>(4711), "unknown (4711)");
            self.0 += 1;
        }
    }

    #[test]
    fn every_value_has_a_word_of_its_own() {
        let mut checked = Distinct(0);
        each(&mut checked);
        assert!(checked.0 > 0);
    }

    #[test]
    fn json_has_words_where_the_wire_has_numbers() {
        let sender = v1::SenderNode {
            name: "s1".into(),
            state: v1::SenderState::Drained.into(),
            ..v1::SenderNode::default()
        };
        let shown = serde_json::to_value(&sender).map(|shown| shown["state"].clone());
        assert_eq!(shown.ok(), Some("drained".into()));
        let newer = v1::SenderNode {
            state: 99,
            ..sender
        };
        let shown = serde_json::to_value(&newer).map(|shown| shown["state"].clone());
        assert_eq!(shown.ok(), Some("unknown (99)".into()));
    }
}

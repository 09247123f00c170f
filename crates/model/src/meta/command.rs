//! What may be asked of the meta group, and what it answers.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::audit::AuditCommand;
use super::domains;
use super::import::Import;
use super::ip_checks::IpCheck;
use super::ips::Addresses;
use super::limits::{SessionAnswers, SessionReports};
use super::members::{ClusterRow, Join};
use super::policy_change::PolicyChange;
use super::site_spread::Spread;
use super::token_keys::PutTokenKey;
use super::{sts, suppressions, tls_reports};
use crate::automation;
use crate::id::{Epoch, NodeId, SessionId, Slot};
use crate::throttle::LimitId;
use crate::time::LimitMs;
use crate::warmup;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    #[n(0)]
    /// A sender registers. A session that the same sender held before ends, since one process holds one.
    OpenSession {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        sender: String,
        /// Grows with each attempt of a sender to register: an earlier one that arrives late must not end the session
        /// that a later one opened.
        #[n(2)]
        order: u64,
    },
    #[n(1)]
    CloseSession(#[n(0)] SessionId),
    /// A session has stopped working on slots that were to move.
    #[n(2)]
    Release {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        slots: Vec<(Slot, Epoch)>,
    },
    /// Whether a session reaches what it needs to own slots.
    #[n(3)]
    SetFit {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        fit: bool,
    },
    /// The sender is about to stop: its slots move, and the session lasts until its last results are in.
    #[n(4)]
    Retire(#[n(0)] SessionId),
    /// An operator takes a sender out of service, or back. Holds for all later sessions of that name.
    #[n(5)]
    SetDrained {
        #[n(0)]
        sender: String,
        #[n(1)]
        drained: bool,
    },
    /// An operator moves a slot to another session.
    #[n(6)]
    MoveSlot {
        #[n(0)]
        slot: Slot,
        #[n(1)]
        to: SessionId,
    },
    /// The cluster is made. Counts once.
    #[n(7)]
    Found {
        #[n(0)]
        cluster: ClusterRow,
        #[n(1)]
        nodes: Vec<(NodeId, String)>,
    },
    /// A control node says where it is.
    #[n(8)]
    Join(#[n(0)] Join),
    /// An operator lets a node join that comes from this address.
    #[n(9)]
    Invite(#[n(0)] String),
    #[n(10)]
    RemoveNode(#[n(0)] NodeId),
    /// An operator gives a tenant its share.
    #[n(11)]
    SetWeight {
        #[n(0)]
        tenant: String,
        #[n(1)]
        weight: u32,
    },
    /// Spreads a site over so many slots; none takes an operator's word back.
    #[n(12)]
    SetSpread {
        #[n(0)]
        site: String,
        #[n(1)]
        spread: Option<Spread>,
    },
    /// An operator does not expect a node from this address any more.
    #[n(13)]
    Withdraw(#[n(0)] String),
    /// An operator changes the policy: all of this or nothing.
    #[n(14)]
    SetPolicy {
        /// The version that the change was made for; none changes any.
        #[n(0)]
        base: Option<u64>,
        /// Resources by `kind/name`.
        #[n(1)]
        put: Vec<(String, String)>,
        #[n(2)]
        delete: Vec<String>,
    },
    /// An operator holds mail back or lets it go, or time went on.
    #[n(15)]
    Automation(#[n(0)] Box<automation::Command>),
    /// Takes over what a backup holds. May be repeated.
    #[n(16)]
    Import(#[n(0)] Import),
    /// A session says what its node has.
    #[n(17)]
    SetAddresses {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        addresses: Addresses,
    },
    /// Where source IPs are to go, as the leader decided ([`place`](super::place)).
    #[n(18)]
    MoveIps(#[n(0)] Vec<(String, SessionId)>),
    /// A session has cut every connection of source IPs that were to leave.
    #[n(19)]
    ReleaseIps {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        ips: Vec<(String, Epoch)>,
    },
    /// The leader writes down the rules of its policy that replies are counted by.
    #[n(28)]
    SetRules(#[n(0)] automation::Rules),
    /// A session tells which replies matched rules. A batch that is told again counts once.
    #[n(29)]
    TellReplies {
        #[n(0)]
        session: SessionId,
        /// Grows with each batch of a session.
        #[n(1)]
        batch: u64,
        #[n(2)]
        told: Vec<automation::MatchCount>,
    },
    /// A session says how it found the source IPs that it has; instead of what it said before.
    #[n(25)]
    SetIpChecks {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        checks: BTreeMap<String, IpCheck>,
    },
    /// Sessions say what they use and want of limits that span them.
    #[n(20)]
    ReportLimits {
        /// The time of limits, on the leader's [`LimitClock`](crate::throttle::LimitClock).
        #[n(0)]
        at: LimitMs,
        #[n(1)]
        told: Vec<SessionReports>,
    },
    /// Time went on for limits that no session reports of.
    #[n(21)]
    TendLimits {
        #[n(0)]
        at: LimitMs,
        #[n(1)]
        limits: Vec<LimitId>,
    },
    /// Orders of operators and of the leader about warm-ups, each by itself.
    #[n(30)]
    Warmup(#[n(0)] Vec<warmup::Command>),
    /// A session asks for attempts from IPs that are warming up. A batch that is told again has the same answer.
    #[n(31)]
    GrantWarmup {
        #[n(0)]
        session: SessionId,
        /// Grows with each batch of a session.
        #[n(1)]
        batch: u64,
        #[n(2)]
        asks: Vec<warmup::Ask>,
    },
    /// A node that only lends its source IPs registers: it gets none of the slots, whatever becomes of the others. A session
    /// that the same name had before ends.
    #[n(33)]
    OpenEgress {
        #[n(0)]
        session: SessionId,
        #[n(1)]
        node: String,
        /// As for a sender.
        #[n(2)]
        order: u64,
    },
    /// An operator changes the policy, and versions are kept from then on. Proposed when every member knows it.
    #[n(40)]
    ChangePolicy(#[n(0)] Box<PolicyChange>),
    /// Somebody manages the cluster, or tries to.
    #[n(41)]
    Audit(#[n(0)] Box<AuditCommand>),
    /// A sink has all events of domains and of the audit log before this one. They are written down from the first time on.
    #[n(42)]
    TakeEvents(#[n(0)] u64),
    /// Accounts have logged in from these networks.
    #[n(43)]
    KnownClients(#[n(0)] Vec<(String, Vec<String>)>),
    /// A key that attribution tokens are signed with.
    #[n(44)]
    PutTokenKey(#[n(0)] PutTokenKey),
    /// About a domain that mail is sent for.
    #[n(50)]
    Domain(#[n(0)] Box<domains::Command>),
    /// About the MTA-STS policy of a domain that mail goes to.
    #[n(60)]
    Sts(#[n(0)] Box<sts::Command>),
    /// About the reports on TLS to such domains.
    #[n(61)]
    TlsReport(#[n(0)] Box<tls_reports::Command>),
    /// About addresses and domains that are not mailed.
    #[n(70)]
    Suppression(#[n(0)] Box<suppressions::Command>),
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    #[n(0)]
    Done,
    #[n(1)]
    Refused(#[n(0)] Refusal),
    /// To [`Command::ReportLimits`]: one for each session, in order.
    #[n(20)]
    Limits(#[n(0)] Vec<SessionAnswers>),
    /// One for each order about a warm-up.
    #[n(30)]
    Warmup(#[n(0)] Vec<warmup::Response>),
    /// One for each ask; none to a batch that is not the session's last.
    #[n(31)]
    Granted(#[n(0)] Vec<warmup::Granted>),
    #[n(50)]
    Domain(#[n(0)] domains::Response),
    #[n(70)]
    Suppression(#[n(0)] suppressions::Response),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum Refusal {
    #[n(0)]
    #[error("no sender of this name has a session")]
    NoSession,
    #[n(1)]
    #[error("the cluster is not made yet")]
    NotFounded,
    #[n(2)]
    #[error(
        "this node was removed from the cluster; it may join as a new one with an empty data directory"
    )]
    Removed,
    #[n(3)]
    #[error("nobody expects a node at this address: it is none that the cluster was made with")]
    NotInvited,
    #[n(4)]
    #[error(
        "the cluster has another number of spool groups: set cluster.spool_groups to it, or leave the key out and \
         restart this node while a member runs"
    )]
    OtherGroups,
    #[n(5)]
    #[error("no such node is a member")]
    NoNode,
    #[n(6)]
    #[error("the last node cannot be removed")]
    LastNode,
    #[n(7)]
    #[error(
        "a weight is from 1 to 100, and a tenant's name has up to 64 letters, digits, dots, - and _"
    )]
    BadWeight,
    #[n(8)]
    #[error("a spread is from 1 to 64, and a site's name has up to 255 bytes")]
    BadSpread,
    #[n(9)]
    #[error("there are as many of these as there may be; set one back first")]
    TooMany,
    #[n(10)]
    #[error("a sender of this name has registered since")]
    NotLatest,
    #[n(11)]
    #[error("a control node at this address is a member already")]
    IsMember,
    #[n(12)]
    #[error(
        "a cluster has at most five control nodes, with those that were invited; remove one first"
    )]
    Full,
    #[n(13)]
    #[error("somebody else has changed the policy meanwhile; look at it again")]
    PolicyChanged,
    #[n(14)]
    #[error("a resource has at most 64 KiB of text, and all of them together have at most 2 MiB")]
    PolicyTooLarge,
    #[n(15)]
    #[error("{0}")]
    Automation(#[n(0)] automation::Refusal),
}

//! Which commands every member of a cluster reads. A node stops at a command that it does not know, so a new one is proposed only
//! when all members read it. Pure.
//!
//! A command that is new gets a [`Feature`], which says since which [`WireVersion`] nodes read it; [`WireVersion::CURRENT`] grows with
//! it. Control nodes report theirs, and [`all_know`] decides.

/// What a build reads of Raft logs: the number grows by one with each build that reads a command which the one before does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireVersion(pub u32);

impl WireVersion {
    /// Of builds that report none.
    pub const OLDEST: Self = Self(0);
    pub const CURRENT: Self = Self(5);
}

/// Commands that not every build reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Sessions of nodes that only lend their source IPs.
    EgressSessions,
    /// Changes of the policy that keep the version before.
    PolicyHistory,
    /// Who has changed what.
    Audit,
    /// Domains that mail is sent for, and their keys.
    Domains,
    /// Bodies whose last octets go out first.
    SignedMessages,
    /// Messages whose senders ask for delivery without TLS rather than none.
    OptionalTls,
    /// MTA-STS policies of domains that mail goes to.
    StsPolicies,
    /// How TLS with their hosts goes.
    TlsReports,
    /// Limits of mail that comes in.
    IntakeLimits,
    /// Resources of the policy for domains that take mail of strangers.
    Inbound,
    /// What happens to domains, and who has changed what, as events.
    MetaEvents,
    /// How many recipients and octets are held of each tenant.
    HeldOfTenants,
    /// Resources of the policy that name files with secrets.
    SecretFiles,
    /// From where accounts have logged in.
    KnownClients,
    /// What replies are about.
    BounceClasses,
    /// Mail whose recipients each have a return path of their own, and what comes back of it.
    Attribution,
    /// Addresses and domains that are not mailed.
    Suppressions,
}

impl Feature {
    pub const ALL: [Self; 17] = [
        Self::EgressSessions,
        Self::PolicyHistory,
        Self::Audit,
        Self::Domains,
        Self::SignedMessages,
        Self::StsPolicies,
        Self::TlsReports,
        Self::OptionalTls,
        Self::IntakeLimits,
        Self::Inbound,
        Self::MetaEvents,
        Self::HeldOfTenants,
        Self::SecretFiles,
        Self::KnownClients,
        Self::BounceClasses,
        Self::Attribution,
        Self::Suppressions,
    ];

    /// Builds read it from this version on.
    pub fn since(self) -> WireVersion {
        match self {
            Self::EgressSessions => WireVersion(1),
            Self::PolicyHistory | Self::Audit | Self::Domains | Self::SignedMessages => {
                WireVersion(2)
            }
            Self::OptionalTls
            | Self::StsPolicies
            | Self::TlsReports
            | Self::IntakeLimits
            | Self::Inbound => WireVersion(3),
            Self::MetaEvents | Self::HeldOfTenants | Self::SecretFiles | Self::KnownClients => {
                WireVersion(4)
            }
            Self::BounceClasses | Self::Attribution | Self::Suppressions => WireVersion(5),
        }
    }

    /// What nodes of an older version do not know, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::EgressSessions => "egress nodes",
            Self::PolicyHistory => "versions of the policy",
            Self::Audit => "the audit log",
            Self::Domains => "domains",
            Self::SignedMessages => "messages with DKIM signatures",
            Self::StsPolicies => "MTA-STS policies",
            Self::TlsReports => "reports on TLS",
            Self::OptionalTls => "messages with TLS-Required: No",
            Self::IntakeLimits => "limits of mail that comes in",
            Self::MetaEvents => "events of domains and of the audit log",
            Self::Inbound => "resources of kind inbound",
            Self::HeldOfTenants => "quotas of recipients and octets",
            Self::SecretFiles => "files with signing secrets",
            Self::KnownClients => "networks that accounts log in from",
            Self::BounceClasses => "classes of bounces",
            Self::Attribution => "mail that is attributed",
            Self::Suppressions => "suppression lists",
        }
    }
}

/// A member of the meta group, as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub address: String,
    /// None: it did not answer.
    pub version: Option<WireVersion>,
}

/// Whether the members read the commands of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge<'m> {
    All,
    /// All that answered; this one did not.
    Unheard(&'m str),
    /// This one does not.
    Older(&'m str),
}

/// The version that all members read; none if one did not answer.
pub fn minimum(members: &[Member]) -> Option<WireVersion> {
    let versions = members.iter().map(|member| member.version);
    versions.min().unwrap_or(Some(WireVersion::CURRENT))
}

pub fn all_know(feature: Feature, members: &[Member]) -> Knowledge<'_> {
    let is_older = |member: &&Member| {
        let version = member.version;
        version.is_some_and(|version| version < feature.since())
    };
    if let Some(older) = members.iter().find(is_older) {
        return Knowledge::Older(&older.address);
    }
    let unheard = members.iter().find(|member| member.version.is_none());
    unheard.map_or(Knowledge::All, |member| Knowledge::Unheard(&member.address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(versions: &[Option<u32>]) -> Vec<Member> {
        let members = versions.iter().enumerate();
        members
            .map(|(nth, version)| Member {
                address: format!("node-{nth}"),
                version: version.map(WireVersion),
            })
            .collect()
    }

    #[test]
    fn a_feature_is_known_when_every_member_reads_it() {
        let feature = Feature::EgressSessions;
        let since = feature.since().0;
        let (before, then, later) = (Some(since - 1), Some(since), Some(since + 1));
        for (versions, expected, least) in [
            (&[then, then, then][..], Knowledge::All, then),
            (&[then, later, then], Knowledge::All, then),
            (&[later, later], Knowledge::All, later),
            (&[then, before, then], Knowledge::Older("node-1"), before),
            (&[before, before], Knowledge::Older("node-0"), before),
            (&[then, None, then], Knowledge::Unheard("node-1"), None),
            // An older member decides, whoever else is silent.
            (&[None, then, before], Knowledge::Older("node-2"), None),
            (&[None, None], Knowledge::Unheard("node-0"), None),
            (&[then], Knowledge::All, then),
            // A node that is alone and not asked.
            (&[], Knowledge::All, Some(WireVersion::CURRENT.0)),
        ] {
            let members = members(versions);
            assert_eq!(all_know(feature, &members), expected, "{versions:?}");
            assert_eq!(minimum(&members), least.map(WireVersion), "{versions:?}");
        }
    }

    #[test]
    fn this_build_reads_all_features_and_no_feature_is_of_a_later_one() {
        let latest = Feature::ALL.iter().map(|feature| feature.since()).max();
        assert_eq!(latest, Some(WireVersion::CURRENT));
    }
}

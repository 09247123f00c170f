//! Roles of nodes and operators in the cluster.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Where role URIs begin; a certificate that has one is taken at its word.
const PREFIX: &str = "skein://role/";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A control node: it replicates, proposes and decides.
    Control,
    /// A sender: it hands mail in, opens sessions, takes tasks, and connects out through other nodes.
    Sender,
    /// A node through whose source IPs others connect out.
    Egress,
    /// Whoever may do everything: policy, credentials, members, backups.
    Admin,
    /// Whoever looks after mail and nodes: queues, suspensions, warm-ups, slots.
    Operator,
    /// Whoever only looks, and sees no secrets.
    Viewer,
    /// A tenant, which sees its own mail. No certificate says so: a token names the tenant.
    Tenant,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role; there are control, sender, egress, admin, operator and viewer")]
pub struct BadRole(String);

impl Role {
    /// Those that a certificate can name.
    pub const ALL: [Self; 6] = [
        Self::Control,
        Self::Sender,
        Self::Egress,
        Self::Admin,
        Self::Operator,
        Self::Viewer,
    ];
    /// What a node may be: none of it manages the cluster.
    pub const OF_NODES: [Self; 3] = [Self::Control, Self::Sender, Self::Egress];

    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Sender => "sender",
            Self::Egress => "egress",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Tenant => "tenant",
        }
    }

    /// How a certificate says so, among its subject alternative names.
    pub fn uri(self) -> String {
        format!("{PREFIX}{}", self.name())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, BadRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| BadRole(text.to_owned()))
    }
}

/// What a certificate without any role URI may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RoleRule {
    /// Nothing.
    #[default]
    Required,
    /// Everything, as before there were roles. Certificates that name roles are held to them nevertheless.
    Any,
}

/// The roles that these URIs name; none if not one of them is about roles. A role that this version does not know counts as
/// named, and lets its holder do nothing.
pub(super) fn named<'u>(uris: impl Iterator<Item = &'u str>) -> Option<BTreeSet<Role>> {
    let mut names = uris.filter_map(|uri| uri.strip_prefix(PREFIX)).peekable();
    names.peek()?;
    Some(names.filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_what_uris_name_and_unknown_ones_are_nothing() {
        for (uris, expected) in [
            (vec![], None),
            (vec!["https://example.com", "skein://other/control"], None),
            (vec!["skein://role/control"], Some(vec![Role::Control])),
            (
                vec!["skein://role/operator", "x:y", "skein://role/sender"],
                Some(vec![Role::Sender, Role::Operator]),
            ),
            (vec!["skein://role/conductor"], Some(vec![])),
            (vec!["skein://role/tenant"], Some(vec![])),
            (vec!["skein://role/Control"], Some(vec![])),
            (vec!["skein://role/"], Some(vec![])),
        ] {
            let expected = expected.map(BTreeSet::from_iter);
            assert_eq!(named(uris.iter().copied()), expected, "{uris:?}");
        }
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(
                named([role.uri().as_str()].into_iter()),
                Some(BTreeSet::from([role]))
            );
        }
    }
}

//! Whether a data directory fits the configuration that it is started with: as a node that is alone, or as one of a cluster.
//!
//! A node that was alone has no address in its groups; started with one, it is the first member of a cluster that others
//! join, and its groups are as many as they were. A member whose others are gone may go on alone.

use std::collections::BTreeMap;

use skein_model::NodeId;

use crate::config::Config;

/// What the data directory was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Members of the meta group, with their addresses; none in a new directory.
    pub members: BTreeMap<NodeId, String>,
    /// Spool groups that have been begun. They count for nothing while there are no members: the node has waited for others
    /// in vain.
    pub spool_groups: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error(
        "this data directory is that of a member of a cluster with {others}: set cluster.listen and cluster.peers as they \
         were"
    )]
    IsMember { others: String },
    #[error(
        "cluster.spool_groups is {given}, and this data directory was made with {made}; set it to that"
    )]
    OtherGroups { given: u16, made: u16 },
}

impl Standing {
    /// How many spool groups the node has.
    ///
    /// # Errors
    /// The configuration makes something of the node that would look alive and move nothing.
    pub fn check(&self, node: NodeId, config: &Config) -> Result<u16, Misfit> {
        let others = self.members.iter().filter(|(id, _)| **id != node);
        let others: Vec<&str> = others.map(|(_, address)| address.as_str()).collect();
        if config.address.is_empty() && !others.is_empty() {
            let others = others.join(", ");
            return Err(Misfit::IsMember { others });
        }
        let (given, made) = (config.spool_groups, self.spool_groups);
        match made {
            _ if self.members.is_empty() => Ok(given),
            _ if given == made || config.spool_groups_by_default => Ok(made),
            _ => Err(Misfit::OtherGroups { given, made }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const NODE: NodeId = NodeId(1);

    fn config(address: &str, spool_groups: u16) -> Config {
        Config {
            data_dir: "data".into(),
            version: String::new(),
            role: crate::NodeRole::All,
            address: address.into(),
            founders: Vec::new(),
            peers: Vec::new(),
            joins_uninvited: false,
            spool_groups,
            spool_groups_by_default: false,
            connect: Arc::new(|_| unreachable!("nobody is called")),
            store: crate::StoreOptions::default(),
            pull_bytes_per_second: 1,
            find_mx: Arc::new(|_| unreachable!("nobody asks")),
            domains: crate::config::DomainSettings::of_nobody(),
            tls_policies: Config::tls_of_nobody().0,
            tls_reports: Config::tls_of_nobody().1,
        }
    }

    #[test]
    fn a_directory_goes_on_as_what_it_was() {
        let alone = &[(1, "")][..];
        let (one, three) = (&[(1, "a:1")][..], &[(1, "a:1"), (2, "b:1"), (3, "c:1")][..]);
        for (members, made, address, given, expected) in [
            (&[][..], 0, "", 1, None),
            (&[][..], 0, "a:1", 4, None),
            (&[][..], 4, "a:1", 1, None),
            (alone, 1, "", 1, None),
            (alone, 1, "", 4, Some("made with 1")),
            (alone, 4, "", 1, Some("made with 4")),
            (alone, 1, "a:1", 4, Some("made with 1")),
            (alone, 2, "a:1", 2, None),
            (one, 4, "a:1", 4, None),
            (one, 4, "b:2", 4, None),
            (one, 4, "", 4, None),
            (one, 4, "", 1, Some("made with 4")),
            (three, 4, "a:1", 4, None),
            (three, 4, "a:1", 2, Some("made with 4")),
            (three, 4, "", 4, Some("b:1, c:1")),
        ] {
            let members = members
                .iter()
                .map(|(id, at)| (NodeId(*id), (*at).to_owned()));
            let standing = Standing {
                members: members.collect(),
                spool_groups: made,
            };
            let mut config = config(address, given);
            let checked = standing.check(NODE, &config);
            let has = if standing.members.is_empty() {
                given
            } else {
                made
            };
            assert!(checked.as_ref().is_err() || checked.as_ref() == Ok(&has));
            let text = checked.err().map(|misfit| misfit.to_string());
            assert_eq!(
                text.is_some(),
                expected.is_some(),
                "{standing:?} {address:?} {given}: {text:?}"
            );
            let text = text.unwrap_or_default();
            assert!(text.contains(expected.unwrap_or_default()), "{text}");
            // A number by default contradicts no directory.
            config.spool_groups_by_default = true;
            let is_member = matches!(expected, Some(others) if others.contains(':'));
            let by_default = standing.check(NODE, &config);
            assert_eq!(by_default.ok(), (!is_member).then_some(has));
        }
    }
}

//! What another node says over Raft's calls is looked at before openraft, which takes its peers at their word, hears of it.
//!
//! A leader's word cannot be told from anybody's who has its certificate. But no member of a group ever says what is refused
//! here, and openraft would be stopped by it, or could elect no leader for good.

use openraft::raft::AppendEntriesRequest;
use openraft::{Entry, EntryPayload, LogId, Membership, Vote};
use skein_store::TypeConfig;

use super::commands::Commands;

/// A term is one election, which takes two seconds: no group has so many within a node's absence, and terms that grow by
/// less than this at a time never come to their end.
const TERMS_AHEAD: u64 = 1 << 32;

/// Entries come one by one: no log has so many.
pub const INDEX_MAX: u64 = 1 << 60;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    #[error("vote: this node is the only member of the group, and nobody else can lead it")]
    Alone,
    #[error("vote: it is this node's own")]
    Own,
    #[error("vote: term {0} is far beyond every election")]
    Term(u64),
    #[error("{0}: it contradicts what this node has applied")]
    Applied(&'static str),
    #[error("entries: they do not follow one another")]
    Order,
    #[error("entries: the members of entry {0} could elect nobody")]
    Members(u64),
    #[error("entries: this version cannot read entry {index}: {reason}")]
    Unreadable { index: u64, reason: String },
}

/// What this node knows of its group.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub node: u64,
    pub term: u64,
    /// It has the whole group to itself.
    pub is_alone: bool,
    pub applied: Option<LogId<u64>>,
}

impl Known {
    /// Whether another node may say this.
    pub fn check_vote(&self, vote: &Vote<u64>) -> Result<(), Implausible> {
        let leader = vote.leader_id();
        if self.is_alone {
            return Err(Implausible::Alone);
        }
        if leader.node_id == self.node {
            return Err(Implausible::Own);
        }
        match leader.term <= self.term.saturating_add(TERMS_AHEAD) {
            true => Ok(()),
            false => Err(Implausible::Term(leader.term)),
        }
    }

    pub fn check_append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
        commands: &Commands,
    ) -> Result<(), Implausible> {
        self.check_vote(&request.vote)?;
        let term = request.vote.leader_id().term;
        let mut before = request.prev_log_id;
        self.check_id("previous", before, term)?;
        self.check_id("committed", request.leader_commit, term)?;
        for entry in &request.entries {
            let next = before.map_or(Some(0), |id| id.index.checked_add(1));
            let is_in_order = before.is_none_or(|id| id.leader_id <= entry.log_id.leader_id);
            if next != Some(entry.log_id.index) || !is_in_order {
                return Err(Implausible::Order);
            }
            self.check_id("entries", Some(entry.log_id), term)?;
            check_payload(entry, commands)?;
            before = Some(entry.log_id);
        }
        Ok(())
    }

    fn check_id(
        &self,
        field: &'static str,
        id: Option<LogId<u64>>,
        term: u64,
    ) -> Result<(), Implausible> {
        let Some(id) = id else { return Ok(()) };
        if id.leader_id.term > term || id.index > INDEX_MAX {
            return Err(Implausible::Order);
        }
        // Of what is applied only the last id is known; ids before it are lower.
        let contradicts = self.applied.is_some_and(|applied| {
            (id.index == applied.index && id != applied)
                || (id.index < applied.index && id > applied)
        });
        match contradicts {
            true => Err(Implausible::Applied(field)),
            false => Ok(()),
        }
    }
}

fn check_payload(entry: &Entry<TypeConfig>, commands: &Commands) -> Result<(), Implausible> {
    let index = entry.log_id.index;
    match &entry.payload {
        EntryPayload::Blank => Ok(()),
        EntryPayload::Normal(batch) => {
            commands
                .can_read(index, &batch.commands)
                .map_err(|error| Implausible::Unreadable {
                    index,
                    reason: format!("{error}: {}", error.source),
                })
        }
        EntryPayload::Membership(members) => match can_elect(members) {
            true => Ok(()),
            false => Err(Implausible::Members(index)),
        },
    }
}

/// Whether each of a membership's configurations has voters, and all of them have addresses.
pub fn can_elect(members: &Membership<u64, openraft::BasicNode>) -> bool {
    let configs = members.get_joint_config();
    let is_whole = |voters: &std::collections::BTreeSet<u64>| {
        !voters.is_empty() && voters.iter().all(|id| members.get_node(id).is_some())
    };
    !configs.is_empty() && configs.iter().all(is_whole)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{BasicNode, CommittedLeaderId};
    use skein_model::{GroupId, codec, meta};
    use skein_store::{Batch, MetaMachine};

    use super::*;

    const KNOWN: Known = Known {
        node: 1,
        term: 5,
        is_alone: false,
        applied: Some(LogId {
            leader_id: CommittedLeaderId {
                term: 4,
                node_id: 2,
            },
            index: 10,
        }),
    };

    fn id(term: u64, index: u64) -> LogId<u64> {
        LogId::new(CommittedLeaderId::new(term, 2), index)
    }

    fn entry(term: u64, index: u64, payload: EntryPayload<TypeConfig>) -> Entry<TypeConfig> {
        Entry {
            log_id: id(term, index),
            payload,
        }
    }

    fn batch(command: Vec<u8>) -> EntryPayload<TypeConfig> {
        EntryPayload::Normal(Batch {
            at: 1,
            commands: vec![command],
        })
    }

    fn append(
        previous: Option<LogId<u64>>,
        entries: Vec<Entry<TypeConfig>>,
    ) -> AppendEntriesRequest<TypeConfig> {
        AppendEntriesRequest {
            vote: Vote::new_committed(5, 2),
            prev_log_id: previous,
            entries,
            leader_commit: None,
        }
    }

    fn check(request: &AppendEntriesRequest<TypeConfig>) -> Result<(), Implausible> {
        let commands = Commands::of(GroupId::META, MetaMachine, [13].into());
        KNOWN.check_append(request, &commands)
    }

    #[test]
    fn what_a_leader_sends_is_taken() {
        let tick = codec::encode(&meta::Command::Withdraw("x".into()));
        let members = Membership::new(
            vec![BTreeSet::from([2])],
            BTreeMap::from([(2, BasicNode::new("a:1"))]),
        );
        for request in [
            append(Some(id(4, 10)), vec![]),
            append(None, vec![entry(3, 0, EntryPayload::Blank)]),
            append(Some(id(3, 8)), vec![entry(4, 9, EntryPayload::Blank)]),
            append(
                Some(id(4, 10)),
                vec![
                    entry(5, 11, batch(tick)),
                    entry(5, 12, EntryPayload::Membership(members)),
                    // Operators named it.
                    entry(5, 13, batch(vec![0xff])),
                ],
            ),
        ] {
            assert_eq!(check(&request), Ok(()), "{request:?}");
        }
    }

    #[test]
    fn what_no_leader_sends_is_refused() {
        let blank = EntryPayload::Blank;
        let nobody = Membership::new(vec![], BTreeMap::<u64, BasicNode>::new());
        for (request, expected) in [
            (
                append(Some(id(5, 10)), vec![]),
                Implausible::Applied("previous"),
            ),
            (
                append(Some(id(5, 9)), vec![]),
                Implausible::Applied("previous"),
            ),
            (
                append(Some(id(3, 9)), vec![entry(5, 10, blank.clone())]),
                Implausible::Applied("entries"),
            ),
            (append(Some(id(6, 11)), vec![]), Implausible::Order),
            (
                append(Some(id(4, 10)), vec![entry(5, 12, blank.clone())]),
                Implausible::Order,
            ),
            (
                append(Some(id(5, 11)), vec![entry(4, 12, blank.clone())]),
                Implausible::Order,
            ),
            (
                append(Some(id(5, u64::MAX)), vec![entry(5, 0, blank)]),
                Implausible::Order,
            ),
            (
                append(
                    Some(id(4, 10)),
                    vec![entry(5, 11, EntryPayload::Membership(nobody))],
                ),
                Implausible::Members(11),
            ),
        ] {
            assert_eq!(check(&request), Err(expected), "{request:?}");
        }
        let unreadable = append(Some(id(4, 10)), vec![entry(5, 11, batch(vec![0xff]))]);
        let refused = check(&unreadable).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|text| text.contains("cannot read entry 11")));
    }

    #[test]
    fn votes_of_nobody_are_refused() {
        let alone = Known {
            is_alone: true,
            ..KNOWN
        };
        for (known, vote, expected) in [
            (KNOWN, Vote::new(6, 2), Ok(())),
            (KNOWN, Vote::new(5 + TERMS_AHEAD, 2), Ok(())),
            (
                KNOWN,
                Vote::new(6 + TERMS_AHEAD, 2),
                Err(Implausible::Term(6 + TERMS_AHEAD)),
            ),
            (
                KNOWN,
                Vote::new(u64::MAX, 2),
                Err(Implausible::Term(u64::MAX)),
            ),
            (KNOWN, Vote::new_committed(6, 1), Err(Implausible::Own)),
            (alone, Vote::new(6, 2), Err(Implausible::Alone)),
        ] {
            assert_eq!(known.check_vote(&vote), expected, "{vote}");
        }
    }
}

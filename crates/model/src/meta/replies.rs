//! Replies of hosts that sessions tell of, on their way to automation.

use super::command::Refusal;
use super::state::{session, sessions};
use crate::automation::{self, Command, MatchCount, Response};
use crate::id::SessionId;
use crate::rows::Rows;
use crate::time::UnixMs;

pub(super) fn automate<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    command: &Command,
) -> Result<(), Refusal> {
    match automation::commit(rows, now, command) {
        Response::Done => Ok(()),
        Response::Refused(refusal) => Err(Refusal::Automation(refusal)),
    }
}

/// Counts a batch that was not counted before.
pub(super) fn tell<R: Rows>(
    rows: &mut R,
    now: UnixMs,
    id: SessionId,
    batch: u64,
    told: &[MatchCount],
) -> Result<(), Refusal> {
    session(rows, id).ok_or(Refusal::NoSession)?;
    if !automation::is_new_batch(rows, id.0, batch) {
        return Ok(());
    }
    automate(rows, now, &Command::MatchCount(told.to_vec()))
}

/// Batches of sessions that have ended come no more.
pub(super) fn forget<R: Rows>(rows: &mut R) {
    let live = sessions(rows);
    automation::keep_batches(rows, |id| live.contains_key(&SessionId(id)));
}

#[cfg(test)]
mod tests {
    use super::super::{Command as Meta, Response as Answer, apply};
    use super::*;
    use crate::automation::{Action, Match, Rule, Rules, ScopeKind, active_actions};
    use crate::rows::MemoryRows;
    use crate::time::DurationMs;

    const SESSION: SessionId = SessionId(7);

    fn tell(batch: u64) -> Meta {
        let matched = Match {
            provider: "yahoo".to_owned(),
            rule: 0,
            ip: [192, 0, 2, 1].into(),
            site: "yahoo".to_owned(),
            tenant: "shop".to_owned(),
            pool: "main".to_owned(),
            reply: "421 4.7.0 [TSS04] deferred".to_owned(),
        };
        let told = vec![MatchCount { matched, count: 1 }];
        Meta::TellReplies {
            session: SESSION,
            batch,
            told,
        }
    }

    #[test]
    fn what_sessions_tell_is_counted_by_the_rules_of_the_group_and_once() {
        let mut rows = MemoryRows::default();
        let mut say = |command: &Meta| apply(&mut rows, UnixMs(1_000_000), command);
        let rule = Rule {
            threshold: 2,
            window: DurationMs::from_secs(3600),
            action: Action::Suspend,
            scope: ScopeKind::IpSite,
            lasts: DurationMs::from_secs(600),
        };
        let rules = Rules::from([("yahoo".to_owned(), vec![rule])]);
        assert_eq!(say(&Meta::SetRules(rules)), Answer::Done);
        assert_eq!(say(&tell(1)), Answer::Refused(Refusal::NoSession));
        let open = Meta::OpenSession {
            session: SESSION,
            sender: "s1".to_owned(),
            order: 1,
        };
        assert_eq!(say(&open), Answer::Done);
        for _ in 0..3 {
            assert_eq!(say(&tell(1)), Answer::Done);
        }
        assert!(
            active_actions(&rows).is_empty(),
            "one match, told three times"
        );
        assert_eq!(apply(&mut rows, UnixMs(1_000_001), &tell(2)), Answer::Done);
        assert_eq!(active_actions(&rows).iter().count(), 1);
        assert_eq!(automation::actions_version(&rows), 1);
    }
}

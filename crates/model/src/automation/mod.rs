//! What the cluster does by itself when providers complain, and what operators hold back by hand.
//!
//! Senders match replies against the rules of a provider and tell what matched; the meta group counts for the whole
//! cluster. A rule whose threshold is reached is in force for one scope, such as an IP at a site. When it ends, the limit
//! climbs back in steps. Rows change by [`apply()`] only, at the group's time, which never goes back; what is in force at
//! any time follows from the rows.
//!
//! | key | value |
//! |---|---|
//! | `X` [`RuleAt`] | [`ActiveAction`]: the rule is in force there, or its limit climbs back |
//! | `Y` [`RuleAt`] | `CountRow`: matches that have not reached the threshold |
//! | `V` time, [`RuleAt`] | nothing: the order in which counts were last added to |
//! | `U` | the number of counts |
//! | `H` [`Selector`] | `Hold`: what an operator suspended |
//! | `@R` | [`Rules`]: those that count |
//! | `@V` | how often what is in force has changed |
//! | `@E` number | [`Logged`]: the latest [`EVENTS_MAX`] |
//! | `@N`, `@C` | the number of the next event, and of the first that no sink has taken |
//! | `@B` session | the last batch of matches that it told |

mod active_action;
mod apply;
mod command;
mod commit;
mod count;
mod effect;
mod restore;
mod rule;
mod store;
mod suspension;

pub use active_action::{ActiveAction, IN_ONE_GO_MAX, Phase, STEPS};
pub use apply::{Rules, apply};
pub use command::{
    Command, Event, MATCH_COUNTS_MAX, Match, MatchCount, Outcome, Refusal, Response, Subject, What,
};
pub use commit::{
    EVENTS_MAX, Logged, actions_version, commit, events, latest_events, rules, set_rules, taken,
};
pub(crate) use commit::{is_new_batch, keep_batches};
pub use effect::{ActiveActions, Effect, Limits, Path, active_actions};
pub(crate) use restore::{read_force, read_suspension, restore};
pub use rule::{
    Action, BadRule, LASTS_MAX, LASTS_MIN, Rate, Rule, RuleAt, Scope, ScopeKind, THRESHOLD_MAX,
};
pub use suspension::{Selector, Suspension, Suspensions, TaskFacts, held_by_rules, suspensions};

use crate::rows::ReadRows;
use crate::time::UnixMs;

/// Something that is in force, or climbs back from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    pub subject: Subject,
    pub phase: Phase,
    /// The reply that made it, or the operator's reason.
    pub why: String,
    pub who: Option<String>,
    pub from: UnixMs,
    /// When it ends; the climb back comes after that.
    pub until: UnixMs,
}

/// Everything that is in force at a time: what rules did, then what operators did.
pub fn in_force(rows: &(impl ReadRows + ?Sized), now: UnixMs) -> Vec<InForce> {
    let by_rules = active_action::all(rows)
        .into_iter()
        .map(|(at, force)| InForce {
            phase: force.phase(now),
            subject: Subject::Rule {
                action: force.action,
                at,
            },
            why: force.why,
            who: None,
            from: force.from,
            until: force.until,
        });
    let by_hand = suspension::all(rows).into_iter().map(|one| InForce {
        phase: match one.is_in_force(now) {
            true => Phase::InForce,
            false => Phase::Over,
        },
        subject: one.subject(),
        why: one.why,
        who: Some(one.who),
        from: one.from,
        until: one.until,
    });
    let all = by_rules.chain(by_hand);
    all.filter(|one| one.phase != Phase::Over).collect()
}

/// When a [`Command::Tick`] is due: the next moment at which something changes by itself.
pub fn next_due(rows: &(impl ReadRows + ?Sized)) -> Option<UnixMs> {
    let active_actions = active_action::all(rows);
    let by_rules = active_actions.values().map(ActiveAction::next_change);
    let by_hand = suspension::all(rows).into_iter().map(|one| one.until);
    by_rules.chain(by_hand).min()
}

#[cfg(test)]
mod bound_tests;
#[cfg(test)]
mod climb_tests;
#[cfg(test)]
mod hold_tests;
#[cfg(test)]
mod tests;

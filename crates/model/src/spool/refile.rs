//! Filing a task under another site than at intake, where its site may not have been known.

use super::apply::{Effect, file, queue_of};
use super::command::{Refile, Refusal};
use super::state::State;
use crate::rows::Rows;

/// A task moves this often: once when its domain resolves, and when the policy changes. Senders that do not agree on the
/// site of a domain would pass it on for ever.
pub const MOVES_MAX: u32 = 3;

/// Moves a task to another queue, where it is due when it was. Only the session that holds the slot may do it.
pub(super) fn refile<R: Rows>(
    state: &mut State<'_, R>,
    refile: &Refile,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    let Some(mut task) = state.task(refile.task) else {
        // Done with meanwhile.
        return Ok(());
    };
    if task.moves > refile.moves {
        // Repeated.
        return Ok(());
    }
    let may_act = state
        .slot(task.slot)
        .is_some_and(|slot| slot.session == refile.session && slot.epoch == refile.epoch);
    if !may_act {
        return Err(Refusal::StaleEpoch);
    }
    if task.moves >= MOVES_MAX {
        return Err(Refusal::MovedEnough);
    }
    let message = state
        .message(refile.task.message)
        .expect("a task's message outlives it");
    let before = queue_of(&message, &task).id;
    state.delete_due(before, task.due, refile.task);
    state.queue_loses(before);
    task.site = refile.site.clone();
    task.slot = refile.slot;
    task.moves += 1;
    let queue = file(state, &message, refile.task, &task);
    effects.push(Effect::Moved {
        queue,
        due: task.due,
        task: refile.task,
    });
    Ok(())
}

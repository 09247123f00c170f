//! Moving tasks to other queues: to that of another site, where it was not known at intake, or of another pool.

use super::apply::{Effect, file, queue_of};
use super::command::{Refile, Refusal};
use super::rows::TaskRow;
use super::state::State;
use crate::id::{QueueId, TaskId};
use crate::rows::Rows;
use crate::time::UnixMs;

/// A task moves this often: once when its domain resolves, and when the policy changes. Senders that do not agree on the
/// site of a domain would pass it on for ever.
pub const MOVES_MAX: u32 = 3;

/// Moves a task to another queue, where it is due when it was. Only the session that holds the slot may do it.
pub(super) fn refile<R: Rows>(
    state: &mut State<'_, R>,
    refile: &Refile,
    effects: &mut Vec<Effect>,
) -> Result<(), Refusal> {
    let Some(task) = state.task(refile.task) else {
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
    let moved = TaskRow {
        site: refile.site.clone(),
        slot: refile.slot,
        moves: task.moves + 1,
        ..task.clone()
    };
    change_queue(state, refile.task, &task, &moved, effects);
    Ok(())
}

/// One command moves at most this many tasks, so that an apply stays short; the rest needs another command.
const POOL_MAX: usize = 1_000;

/// Has the tasks of a queue go through another pool, due when they were. Says how many moved.
pub(super) fn change_pool<R: Rows>(
    state: &mut State<'_, R>,
    queue: QueueId,
    pool: &str,
    effects: &mut Vec<Effect>,
) -> u64 {
    let waiting = state.due_before(queue, UnixMs(u64::MAX), POOL_MAX, UnixMs(0));
    let mut moved = 0;
    for (_, id) in waiting {
        let (Some(task), Some(message)) = (state.task(id), state.message(id.message)) else {
            continue;
        };
        if task.pool(&message.envelope) == pool {
            continue;
        }
        let to = (message.envelope.pool != pool).then(|| pool.to_owned());
        let after = TaskRow {
            pool: to,
            ..task.clone()
        };
        change_queue(state, id, &task, &after, effects);
        moved += 1;
    }
    moved
}

/// A task goes from the queue of one row to that of another.
fn change_queue<R: Rows>(
    state: &mut State<'_, R>,
    id: TaskId,
    before: &TaskRow,
    after: &TaskRow,
    effects: &mut Vec<Effect>,
) {
    let message = state
        .message(id.message)
        .expect("a task's message outlives it");
    let left = queue_of(&message, before).id;
    state.delete_due(left, id, before);
    state.queue_loses(left);
    let queue = file(state, &message, id, after);
    effects.push(Effect::Moved {
        queue,
        due: after.due,
        task: id,
    });
    effects.extend(after.awaits_host.then_some(Effect::Awaits {
        queue,
        task: id,
        away: None,
    }));
}

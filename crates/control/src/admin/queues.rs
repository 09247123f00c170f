//! Queues over all spool groups: one queue may have tasks in each of them.

use std::collections::BTreeMap;

use skein_model::automation::Selector;
use skein_model::spool::{
    Command, FlushScope, QueueRow, Response as SpoolResponse, TaskRow, query,
};
use skein_model::{QueueId, UnixMs};
use skein_policy::DEFAULT_POOL;
use skein_store::Reader;
use skein_wire::v1::{GetQueueRequest, MoveQueuesRequest, MoveQueuesResponse, QueueDetail};
use tonic::Status;

use super::selection::{Met, read_selector, suggestion};
use super::{AdminService, PAGE_MAX, page, summary};
use crate::access;

/// Later than any task is due.
pub(super) const END: UnixMs = UnixMs(u64::MAX);

impl AdminService {
    pub(super) fn readers(&self) -> impl Iterator<Item = &Reader> {
        self.spools.values().map(|spool| &spool.reader)
    }

    pub(super) fn count_queues(&self) -> u64 {
        let mut count = 0;
        self.each_queue(|_, _| count += 1);
        count
    }

    /// Visits all queues, each with the tasks of all groups.
    pub(super) fn each_queue(&self, mut visit: impl FnMut(QueueId, QueueRow)) {
        self.each_queue_while(|id, row| {
            visit(id, row);
            true
        });
    }

    /// Visits queues in order of id until `visit` returns false.
    pub(super) fn each_queue_while(&self, visit: impl FnMut(QueueId, QueueRow) -> bool) {
        self.each_queue_after(None, visit);
    }

    /// Visits the queues after one in order of id until `visit` returns false. Says whether it never did.
    pub(super) fn each_queue_after(
        &self,
        mut after: Option<QueueId>,
        mut visit: impl FnMut(QueueId, QueueRow) -> bool,
    ) -> bool {
        loop {
            let (queues, last) = self.queues_after(after);
            for (id, row) in queues {
                if !visit(id, row) {
                    return false;
                }
            }
            if last.is_none() {
                return true;
            }
            after = last;
        }
    }

    /// Queues in order of id with the tasks of all groups, and the last id if there may be more.
    fn queues_after(
        &self,
        after: Option<QueueId>,
    ) -> (BTreeMap<QueueId, QueueRow>, Option<QueueId>) {
        let mut merged: BTreeMap<QueueId, QueueRow> = BTreeMap::new();
        let mut last: Option<QueueId> = None;
        for rows in self.readers() {
            let found = query::queues(rows, after, PAGE_MAX);
            if found.len() == PAGE_MAX {
                // Beyond the end of the shortest page, groups may have queues that were not read.
                let end = found.last().map(|(id, _)| *id);
                last = last.into_iter().chain(end).min();
            }
            for (id, row) in found {
                merge(&mut merged, id, row);
            }
        }
        if let Some(last) = last {
            merged.retain(|id, _| *id <= last);
        }
        (merged, last)
    }

    /// The task of a queue that is due first.
    pub(super) fn head(&self, id: QueueId) -> Option<(UnixMs, TaskRow)> {
        let heads = self.readers().filter_map(|rows| {
            let (due, task) = query::due(rows, id, UnixMs(0), END, 1).first().copied()?;
            Some((due, query::task(rows, task)?))
        });
        heads.min_by_key(|(due, _)| *due)
    }

    pub(super) async fn queue_detail(
        &self,
        request: &GetQueueRequest,
    ) -> Result<QueueDetail, Status> {
        let mut found = self.named_queues(&request.queue)?;
        if let Some(only) = access::only_tenant() {
            found.retain(|(_, row)| row.tenant == *only);
            if found.is_empty() {
                return Err(no_queue(&request.queue));
            }
        }
        let states = self.states().await?;
        let limit = page(request.limit, 20);
        let mut due = Vec::new();
        for rows in self.readers() {
            for (id, _) in &found {
                let next = query::due(rows, *id, UnixMs(0), END, limit).into_iter();
                due.extend(next.map(|(at, task)| (at, task, rows)));
                due.sort_unstable_by_key(|(at, task, _)| (*at, *task));
                due.truncate(limit);
            }
        }
        let tasks = due
            .into_iter()
            .filter_map(|(_, task, rows)| Some(summary(task, &query::task(rows, task)?)));
        Ok(QueueDetail {
            tasks: tasks.collect(),
            queues: found
                .iter()
                .map(|(id, row)| self.queue(*id, row, &states))
                .collect(),
        })
    }

    /// Makes waiting tasks due now; says how many.
    pub(super) async fn flush(&self, name: &str) -> Result<u64, Status> {
        let queues = self.find_queues(name);
        if queues.is_empty() && !name.is_empty() {
            return Err(no_queue(name));
        }
        let mut tasks = 0;
        for id in queues.into_keys() {
            let command = Command::Flush(FlushScope::Queue(id));
            tasks += self.repeat(id, &command).await?;
        }
        Ok(tasks)
    }

    /// Has waiting mail go through another pool; says how many tasks do from now on.
    pub(super) async fn move_queues(
        &self,
        request: MoveQueuesRequest,
    ) -> Result<MoveQueuesResponse, Status> {
        let selector = read_selector(request.selector)?;
        let pool = request.pool;
        self.check_pool(&pool)?;
        let (_, notes) = self.meet(&selector, request.force)?;
        let moves = |row: &QueueRow| row.pool != pool && selector.covers(&row.facts());
        if request.dry_run {
            let met = self.met(moves);
            return Ok(MoveQueuesResponse {
                tasks: met.tasks,
                queues: met.queues,
                has_more: met.has_more,
                notes,
            });
        }
        let mut answer = MoveQueuesResponse {
            notes,
            ..MoveQueuesResponse::default()
        };
        let queues = self.covered(&selector).into_iter();
        for (queue, _) in queues.filter(|(_, row)| moves(row)) {
            let pool = pool.clone();
            let command = Command::MoveTasks { queue, pool };
            answer.tasks += self.repeat(queue, &command).await?;
            answer.queues += 1;
        }
        Ok(answer)
    }

    fn check_pool(&self, pool: &str) -> Result<(), Status> {
        let policy = self.read_policy()?;
        if pool == DEFAULT_POOL || policy.pool(pool).is_some() {
            return Ok(());
        }
        let pools: Vec<String> = policy.pools().map(|pool| pool.name.to_string()).collect();
        Err(Status::not_found(format!(
            "pool: there is no {pool:?}{}; see `skeinctl policy get pool`",
            suggestion(pool, &pools)
        )))
    }

    /// Makes all tasks of this mail due now; says how many there are.
    pub(super) async fn flush_covered(&self, selector: &Selector) -> Result<Met, Status> {
        let mut met = Met::default();
        for (id, row) in self.covered(selector) {
            met.tasks += row.tasks;
            met.queues += 1;
            self.repeat(id, &Command::Flush(FlushScope::Queue(id)))
                .await?;
        }
        Ok(met)
    }

    /// Repeats a command that does a bounded part of its work each time, in every group that has the queue.
    async fn repeat(&self, queue: QueueId, command: &Command) -> Result<u64, Status> {
        let mut tasks = 0;
        for (group, spool) in self.spools.iter() {
            if query::queue(&spool.reader, queue).is_none() {
                continue;
            }
            while let SpoolResponse::Count(moved @ 1..) = self.commit(*group, command).await? {
                tasks += moved;
            }
        }
        Ok(tasks)
    }

    /// Of this mail.
    fn covered(&self, selector: &Selector) -> Vec<(QueueId, QueueRow)> {
        let mut covered = Vec::new();
        self.each_queue(|id, row| {
            if selector.covers(&row.facts()) {
                covered.push((id, row));
            }
        });
        covered
    }

    /// By id, by domain, or all when `name` is empty: at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// There is none.
    pub(super) fn named_queues(&self, name: &str) -> Result<Vec<(QueueId, QueueRow)>, Status> {
        let found = self.find_queues(name).into_iter().take(PAGE_MAX);
        let found: Vec<_> = found.collect();
        match found.is_empty() {
            true => Err(no_queue(name)),
            false => Ok(found),
        }
    }

    /// By id, by domain, or all when `name` is empty.
    fn find_queues(&self, name: &str) -> BTreeMap<QueueId, QueueRow> {
        let mut found = BTreeMap::new();
        if let Some(id) = queue_id(name) {
            for row in self.readers().filter_map(|rows| query::queue(rows, id)) {
                merge(&mut found, id, row);
            }
        }
        if found.is_empty() {
            self.each_queue(|id, row| {
                if name.is_empty() || row.domain.as_str() == name {
                    found.insert(id, row);
                }
            });
        }
        found
    }
}

/// Adds the tasks that one group has of a queue.
fn merge(queues: &mut BTreeMap<QueueId, QueueRow>, id: QueueId, row: QueueRow) {
    queues
        .entry(id)
        .and_modify(|known| known.tasks += row.tasks)
        .or_insert(row);
}

pub(super) fn queue_id(text: &str) -> Option<QueueId> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(QueueId))?
}

fn no_queue(name: &str) -> Status {
    Status::not_found(format!(
        "no queue {name:?} has open tasks; list them with `skeinctl queue list`"
    ))
}

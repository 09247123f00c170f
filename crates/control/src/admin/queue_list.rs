//! Lists of queues: in pages by id, or the first of all in an order.

use skein_model::spool::{QueueRow, TaskRow, query};
use skein_model::{QueueId, UnixMs};
use skein_wire::v1::{
    ListQueuesRequest, ListQueuesResponse, Priority, Queue, QueueOrder, QueueState,
};
use tonic::Status;

use super::queue_states::{QueueConditions, QueueStatus};
use super::queues::{END, queue_id};
use super::selection::{QUEUES_LOOKED_AT_MAX, read_selector};
use super::{AdminService, page};
use crate::access;

/// Queues whose next tasks are read for one answer: a second or two. There may be many more, and each is a seek in every
/// group.
const HEADS_MAX: usize = 50_000;
/// Tasks of a queue that the oldest is looked for among.
const AGES_MAX: usize = 32;

/// What is listed.
struct Wanted<'a> {
    covers: Box<dyn Fn(&QueueRow) -> bool + Send + Sync + 'a>,
    /// Unspecified for all.
    state: QueueState,
}

impl Wanted<'_> {
    fn names_state(&self) -> bool {
        self.state != QueueState::Unspecified
    }
}

impl AdminService {
    pub(super) async fn list_of_queues(
        &self,
        mut request: ListQueuesRequest,
    ) -> Result<ListQueuesResponse, Status> {
        let order = QueueOrder::try_from(request.order)
            .map_err(|_| Status::invalid_argument("order: there is no such order"))?;
        let domain = std::mem::take(&mut request.domain);
        let selector = match request.selector.take() {
            None => None,
            given => Some(read_selector(given)?),
        };
        let state = QueueState::try_from(request.state).map_err(|_| {
            let number = request.state;
            Status::invalid_argument(format!("state: this node knows no state {number}"))
        })?;
        let only = access::only_tenant();
        let wanted = Wanted {
            covers: Box::new(move |row: &QueueRow| {
                if only.as_ref().is_some_and(|only| row.tenant != **only) {
                    return false;
                }
                let is_covered = selector.as_ref().is_none_or(|one| one.covers(&row.facts()));
                is_covered && (domain.is_empty() || row.domain.as_str() == domain)
            }),
            state,
        };
        let states = self.states().await?;
        let limit = page(request.limit, 100);
        match order {
            QueueOrder::Unspecified => {
                self.page_of_queues(&wanted, &states, limit, &request.page_token)
            }
            _ if !request.page_token.is_empty() => Err(Status::invalid_argument(
                "page_token: there are pages by id only, and not in an order",
            )),
            order => self.first_queues(&wanted, &states, limit, order),
        }
    }

    fn page_of_queues(
        &self,
        wanted: &Wanted<'_>,
        states: &QueueConditions,
        limit: usize,
        token: &str,
    ) -> Result<ListQueuesResponse, Status> {
        let after = match token {
            "" => None,
            token => Some(
                queue_id(token)
                    .ok_or_else(|| Status::invalid_argument("page_token: not one of ours"))?,
            ),
        };
        let (mut queues, mut looked_at, mut last) = (Vec::new(), 0, None);
        let is_whole = self.each_queue_after(after, |id, row| {
            looked_at += 1;
            last = Some(id);
            if (wanted.covers)(&row) {
                let queue = self.queue(id, &row, states);
                if !wanted.names_state() || wanted.state == queue.state() {
                    queues.push(queue);
                }
            }
            queues.len() < limit && looked_at < HEADS_MAX
        });
        let last = last.filter(|_| !is_whole);
        Ok(ListQueuesResponse {
            queues,
            next_page_token: last.map(|id| id.to_string()).unwrap_or_default(),
            ..ListQueuesResponse::default()
        })
    }

    fn first_queues(
        &self,
        wanted: &Wanted<'_>,
        states: &QueueConditions,
        limit: usize,
        order: QueueOrder,
    ) -> Result<ListQueuesResponse, Status> {
        let reads_heads = matches!(order, QueueOrder::Oldest | QueueOrder::Next);
        let looked_at_max = match reads_heads || wanted.names_state() {
            true => HEADS_MAX,
            false => QUEUES_LOOKED_AT_MAX,
        };
        let mut first = First::new(limit);
        let (mut looked_at, mut queues, mut tasks) = (0, 0, 0);
        let is_whole = self.each_queue_after(None, |id, row| {
            if !(wanted.covers)(&row) {
                return true;
            }
            looked_at += 1;
            if looked_at > looked_at_max {
                return false;
            }
            if wanted.names_state() {
                let head = self.head(id);
                if states.of(&row, head.as_ref()).kind != wanted.state {
                    return true;
                }
            }
            queues += 1;
            tasks += row.tasks;
            first.push((self.sort_key(order, id, &row), id, row));
            true
        });
        if !is_whole {
            return Err(Status::resource_exhausted(format!(
                "there are more than {looked_at_max} such queues, too many to put in this order; name the mail, sort by \
                 tasks or name, or list all in pages"
            )));
        }
        let found = first.into_sorted().into_iter();
        Ok(ListQueuesResponse {
            queues: found
                .map(|(_, id, row)| self.queue(id, &row, states))
                .collect(),
            next_page_token: String::new(),
            all_queues: queues,
            all_tasks: tasks,
        })
    }

    /// By which a queue is sorted in an order: the least comes first.
    fn sort_key(&self, order: QueueOrder, id: QueueId, row: &QueueRow) -> (u64, String) {
        let number = match order {
            QueueOrder::Tasks => u64::MAX - row.tasks,
            QueueOrder::Oldest => self.oldest(id).map_or(u64::MAX, |at| at.0),
            QueueOrder::Next => self.head(id).map_or(u64::MAX, |(due, _)| due.0),
            QueueOrder::Name | QueueOrder::Unspecified => 0,
        };
        let campaign = row.campaign.as_deref().unwrap_or_default();
        let name = [row.domain.as_str(), &row.tenant, &row.pool, campaign].join("\0");
        (number, name)
    }

    /// When the oldest of a queue's next tasks was accepted.
    fn oldest(&self, id: QueueId) -> Option<UnixMs> {
        let created = self.readers().flat_map(|rows| {
            let next = query::due(rows, id, UnixMs(0), END, AGES_MAX).into_iter();
            next.filter_map(|(_, task)| Some(query::task(rows, task)?.created))
        });
        created.min()
    }

    pub(super) fn queue(&self, id: QueueId, row: &QueueRow, states: &QueueConditions) -> Queue {
        let head: Option<(UnixMs, TaskRow)> = self.head(id);
        let QueueStatus {
            kind,
            reason,
            until,
        } = states.of(row, head.as_ref());
        Queue {
            id: id.to_string(),
            domain: row.domain.to_string(),
            site: row.site().to_owned(),
            tenant: row.tenant.clone(),
            pool: row.pool.clone(),
            campaign: row.campaign.clone().unwrap_or_default(),
            slot: row.slot.0.into(),
            tasks: row.tasks,
            priority: Priority::from(row.priority).into(),
            next_due_at_ms: head.map_or(0, |(due, _)| due.0),
            state: kind.into(),
            reason,
            state_until_ms: until.map_or(0, |until| until.0),
            oldest_at_ms: self.oldest(id).map_or(0, |at| at.0),
        }
    }
}

/// The least of many, of which never more than twice as many are kept as are wanted.
struct First<T> {
    limit: usize,
    kept: Vec<((u64, String), QueueId, T)>,
}

impl<T> First<T> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
        }
    }

    fn push(&mut self, one: ((u64, String), QueueId, T)) {
        self.kept.push(one);
        if self.kept.len() >= 2 * self.limit.max(1) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept
            .sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        self.kept.truncate(self.limit);
    }

    fn into_sorted(mut self) -> Vec<((u64, String), QueueId, T)> {
        self.cut();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_are_those_of_a_whole_sort() {
        for (limit, count) in [(1, 10), (3, 2), (7, 100), (100, 1000)] {
            let mut first = First::new(limit);
            let numbers: Vec<u64> = (0..count).map(|n| n * 7919 % 101).collect();
            for (n, number) in numbers.iter().enumerate() {
                first.push(((*number, String::new()), QueueId(n as u64), ()));
                assert!(first.kept.len() < 2 * limit, "no more is kept");
            }
            let mut whole: Vec<(u64, u64)> = (0..count).map(|n| (numbers[n as usize], n)).collect();
            whole.sort_unstable();
            whole.truncate(limit);
            let found = first.into_sorted().into_iter();
            let found: Vec<(u64, u64)> =
                found.map(|((number, _), id, ())| (number, id.0)).collect();
            assert_eq!(found, whole);
        }
    }
}

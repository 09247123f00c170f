//! Queues: lists, and what is done to the mail that waits in them.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use skein_policy::nearest;
use skein_wire::v1::{
    FlushQueuesRequest, GetQueueRequest, ListQueuesRequest, MailSelector, MoveQueuesRequest,
    Priority, Queue, QueueOrder, QueueState,
};
use skein_wire::words::Words;

use crate::admin::Admin;
use crate::show;
use crate::suspend::{self, Care, Selector, WHICH, counted, print_notes};

/// What the server gives at once.
const PAGE_MAX: u32 = 1000;
/// Queues that are put in an order here: about 300 bytes each.
const SORTED_MAX: usize = 1_000_000;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Queues with open tasks, those with the most first.
    List(List),
    /// One queue, or all of a domain, and the next tasks.
    Show {
        /// The queue's id, or a domain.
        queue: String,
        /// At most so many tasks.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Make waiting tasks due now.
    Flush {
        /// The queue's id, or a domain.
        #[arg(
            required_unless_present = "all",
            default_value = "",
            hide_default_value = true
        )]
        queue: String,
        /// Every queue.
        #[arg(long, conflicts_with = "queue")]
        all: bool,
    },
    /// Give mail up: it goes back to who sent it, as failed, and so does what comes meanwhile.
    Bounce {
        #[command(flatten)]
        mail: Selector,
        /// Such as 90m or 2days; at most 30 days.
        #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = crate::duration::parse)]
        lasts: Duration,
        /// Is told to who sent it.
        #[arg(long, default_value = "", hide_default_value = true)]
        why: String,
        #[command(flatten)]
        care: Care,
    },
    /// Have waiting mail go through another pool.
    Move {
        /// The pool that it is to go through.
        #[arg(long, value_name = "POOL")]
        to: String,
        #[command(flatten)]
        mail: Selector,
        #[command(flatten)]
        care: Care,
    },
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    mail: Selector,
    /// Only queues in this state, as the list shows it: due, retry, suspended, bounced, rule, limit, blocked, unplaced,
    /// "no sender" or moving.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        help_heading = WHICH
    )]
    state: String,
    /// What comes first: the most tasks, the oldest mail, what is due next, or the name.
    #[arg(long, value_enum, default_value_t = Sort::Tasks)]
    sort: Sort,
    /// At most this many; 0 for all.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Tasks,
    Oldest,
    Next,
    Name,
}

impl Sort {
    fn order(self) -> QueueOrder {
        match self {
            Self::Tasks => QueueOrder::Tasks,
            Self::Oldest => QueueOrder::Oldest,
            Self::Next => QueueOrder::Next,
            Self::Name => QueueOrder::Name,
        }
    }

    /// The same as the server's order.
    fn sort(self, queues: &mut [Queue]) {
        let or_last = |at_ms: u64| match at_ms {
            0 => u64::MAX,
            at_ms => at_ms,
        };
        queues.sort_by_cached_key(|queue| {
            let number = match self {
                Self::Tasks => u64::MAX - queue.tasks,
                Self::Oldest => or_last(queue.oldest_at_ms),
                Self::Next => or_last(queue.next_due_at_ms),
                Self::Name => 0,
            };
            let Queue {
                domain,
                tenant,
                pool,
                campaign,
                id,
                ..
            } = queue.clone();
            (number, domain, tenant, pool, campaign, id)
        });
    }
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List(wanted) => list(admin, wanted, json).await,
        Command::Show { queue, limit } => show_one(admin, queue, limit, json).await,
        Command::Flush { queue, .. } => flush(admin, queue, json).await,
        Command::Bounce {
            mail,
            lasts,
            why,
            care,
        } => suspend::bounce(admin, mail, lasts, why, care, json).await,
        Command::Move { to, mail, care } => move_to(admin, mail, to, care, json).await,
    }
}

/// Some queues, and of how many they are the first.
struct Found {
    queues: Vec<Queue>,
    all_queues: u64,
    all_tasks: u64,
}

async fn list(mut admin: Admin, wanted: List, json: bool) -> anyhow::Result<()> {
    let List {
        mail,
        state,
        sort,
        limit,
    } = wanted;
    let state = named_state(&state)?;
    let selector = mail.given();
    let found = match u32::try_from(limit) {
        Ok(limit @ 1..=PAGE_MAX) => {
            let request = ListQueuesRequest {
                limit,
                selector,
                state: state.into(),
                order: sort.order().into(),
                ..ListQueuesRequest::default()
            };
            let answer = admin.list_queues(request).await?.into_inner();
            Found {
                queues: answer.queues,
                all_queues: answer.all_queues,
                all_tasks: answer.all_tasks,
            }
        }
        _ => list_all(&mut admin, selector, state, sort, limit).await?,
    };
    if json {
        return show::json(&found.queues);
    }
    let mut table = show::table(&COLUMNS);
    for queue in &found.queues {
        table.add_row(row(queue));
    }
    show::print(&table);
    let shown = found.queues.len();
    if found.all_queues > shown as u64 {
        println!(
            "{shown} of {} queues, with {} tasks in all; --limit 0 shows every one.",
            found.all_queues, found.all_tasks
        );
    }
    Ok(())
}

/// Unspecified: all.
fn named_state(word: &str) -> anyhow::Result<QueueState> {
    if let Some(state) = QueueState::of(word) {
        return Ok(state);
    }
    let all = QueueState::ALL.iter();
    let words = all
        .map(|state| state.word())
        .filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let meant = match nearest(word, words.iter().copied()) {
        Some(word) => format!("; did you mean {word:?}?"),
        None => String::new(),
    };
    bail!(
        "state: there is no {word:?}{meant}: there are {}",
        words.join(", ")
    );
}

/// More than the server puts in an order: all of them, page by page, and put in order here.
async fn list_all(
    admin: &mut Admin,
    selector: Option<MailSelector>,
    state: QueueState,
    sort: Sort,
    limit: usize,
) -> anyhow::Result<Found> {
    let mut queues: Vec<Queue> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListQueuesRequest {
            limit: PAGE_MAX,
            page_token,
            selector: selector.clone(),
            state: state.into(),
            ..ListQueuesRequest::default()
        };
        let answer = admin.list_queues(request).await?.into_inner();
        queues.extend(answer.queues);
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
        if queues.len() > SORTED_MAX {
            bail!(
                "there are more than {SORTED_MAX} such queues: name the mail, or take a smaller --limit"
            );
        }
    }
    sort.sort(&mut queues);
    let (all_queues, all_tasks) = (
        queues.len() as u64,
        queues.iter().map(|one| one.tasks).sum(),
    );
    if limit > 0 {
        queues.truncate(limit);
    }
    Ok(Found {
        queues,
        all_queues,
        all_tasks,
    })
}

const COLUMNS: [&str; 12] = [
    "QUEUE", "DOMAIN", "SITE", "TENANT", "POOL", "CAMPAIGN", "PRIORITY", "SLOT", "TASKS", "OLDEST",
    "NEXT", "STATE",
];

fn row(queue: &Queue) -> [String; 12] {
    [
        queue.id.clone(),
        queue.domain.clone(),
        queue.site.clone(),
        queue.tenant.clone(),
        queue.pool.clone(),
        show::or_dash(queue.campaign.clone()),
        show::word::<Priority>(queue.priority),
        queue.slot.to_string(),
        queue.tasks.to_string(),
        show::age(queue.oldest_at_ms),
        show::until(queue.next_due_at_ms),
        state(queue),
    ]
}

/// What the queue waits for, and until when if that is known.
fn state(queue: &Queue) -> String {
    let word = show::word::<QueueState>(queue.state);
    match (queue.state(), queue.state_until_ms) {
        (QueueState::Retry, until @ 1..) => format!("{word} at {}", show::time(until)),
        (_, 0) => show::or_dash(word),
        (_, until) => format!("{word} until {}", show::time(until)),
    }
}

async fn show_one(mut admin: Admin, queue: String, limit: u32, json: bool) -> anyhow::Result<()> {
    let detail = admin
        .get_queue(GetQueueRequest { queue, limit })
        .await?
        .into_inner();
    if json {
        return show::json(&detail);
    }
    let mut table = show::table(&COLUMNS);
    for queue in &detail.queues {
        table.add_row(row(queue));
    }
    show::print(&table);
    println!();
    let mut table = show::table(&["MESSAGE", "RECIPIENTS", "ATTEMPTS", "NEXT", "LAST REPLY"]);
    for task in &detail.tasks {
        table.add_row([
            task.message_id.clone(),
            recipients(&task.recipients),
            task.attempts.to_string(),
            show::until(task.due_at_ms),
            task.last_reply.clone(),
        ]);
    }
    show::print(&table);
    Ok(())
}

pub fn recipients(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

async fn flush(mut admin: Admin, queue: String, json: bool) -> anyhow::Result<()> {
    let flushed = admin
        .flush_queues(FlushQueuesRequest { queue })
        .await?
        .into_inner();
    if json {
        return show::json(&flushed);
    }
    println!("{} tasks are due now.", flushed.tasks);
    Ok(())
}

async fn move_to(
    mut admin: Admin,
    mail: Selector,
    pool: String,
    care: Care,
    json: bool,
) -> anyhow::Result<()> {
    let request = MoveQueuesRequest {
        selector: Some(mail.required()?),
        pool: pool.clone(),
        dry_run: care.dry_run,
        force: care.force,
    };
    let moved = admin.move_queues(request).await?.into_inner();
    if json {
        return show::json(&moved);
    }
    print_notes(&moved.notes);
    let met = counted(moved.tasks, moved.queues, moved.has_more);
    match care.dry_run {
        true => println!("{met} would go through {pool}. Nothing was changed."),
        false => println!("{met} go through {pool}; what senders have already goes out as before."),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(domain: &str, tasks: u64, oldest_at_ms: u64, next_due_at_ms: u64) -> Queue {
        Queue {
            domain: domain.to_owned(),
            tasks,
            oldest_at_ms,
            next_due_at_ms,
            ..Queue::default()
        }
    }

    #[test]
    fn queues_are_in_the_order_that_is_asked_for() {
        let queues = [
            queue("b", 1, 30, 0),
            queue("a", 5, 10, 20),
            queue("c", 5, 0, 10),
        ];
        for (sort, expected) in [
            (Sort::Tasks, ["a", "c", "b"]),
            (Sort::Oldest, ["a", "b", "c"]),
            (Sort::Next, ["c", "a", "b"]),
            (Sort::Name, ["a", "b", "c"]),
        ] {
            let mut sorted = queues.to_vec();
            sort.sort(&mut sorted);
            let names: Vec<&str> = sorted.iter().map(|one| one.domain.as_str()).collect();
            assert_eq!(names, expected, "{sort:?}");
        }
    }
}

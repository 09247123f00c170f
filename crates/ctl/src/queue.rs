use std::time::Duration;

use clap::Subcommand;
use skein_wire::v1::{
    FlushQueuesRequest, GetQueueRequest, ListQueuesRequest, MoveQueuesRequest, Queue,
};

use crate::cli::Admin;
use crate::show;
use crate::suspend::{self, Selector};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Queues with open tasks.
    List {
        /// Only this domain.
        #[arg(long, default_value = "")]
        domain: String,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// One queue, or all of a domain, and the next tasks.
    Show {
        /// The queue's id, or a domain.
        queue: String,
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Make waiting tasks due now.
    Flush {
        /// The queue's id, or a domain.
        #[arg(required_unless_present = "all", default_value = "")]
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
        #[arg(long = "for", default_value = "5m", value_parser = crate::cli::duration)]
        lasts: Duration,
        /// Is told to who sent it.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Have waiting mail go through another pool.
    Move {
        /// The pool that it is to go through.
        #[arg(long)]
        to: String,
        #[command(flatten)]
        mail: Selector,
    },
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List { domain, limit } => list(admin, domain, limit, json).await,
        Command::Show { queue, limit } => show_one(admin, queue, limit, json).await,
        Command::Flush { queue, .. } => flush(admin, queue, json).await,
        Command::Bounce { mail, lasts, why } => {
            suspend::bounce(admin, mail, lasts, why, json).await
        }
        Command::Move { to, mail } => move_to(admin, mail, to, json).await,
    }
}

async fn list(mut admin: Admin, domain: String, limit: usize, json: bool) -> anyhow::Result<()> {
    let mut queues: Vec<Queue> = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = u32::try_from((limit - queues.len()).min(1000))?;
        let request = ListQueuesRequest {
            limit: page,
            page_token,
            domain: domain.clone(),
        };
        let answer = admin.list_queues(request).await?.into_inner();
        queues.extend(answer.queues);
        page_token = answer.next_page_token;
        if page_token.is_empty() || queues.len() >= limit {
            break;
        }
    }
    if json {
        return show::json(&queues);
    }
    let mut table = show::table(&COLUMNS);
    for queue in &queues {
        table.add_row(row(queue));
    }
    show::print(&table);
    if !page_token.is_empty() {
        println!("There are more; see --limit.");
    }
    Ok(())
}

const COLUMNS: [&str; 10] = [
    "QUEUE", "DOMAIN", "SITE", "TENANT", "POOL", "CAMPAIGN", "PRIORITY", "SLOT", "TASKS", "NEXT",
];

fn row(queue: &Queue) -> [String; 10] {
    [
        queue.id.clone(),
        queue.domain.clone(),
        queue.site.clone(),
        queue.tenant.clone(),
        queue.pool.clone(),
        show::or_dash(queue.campaign.clone()),
        queue.priority.clone(),
        queue.slot.to_string(),
        queue.tasks.to_string(),
        show::until(queue.next_due_at_ms),
    ]
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

async fn move_to(mut admin: Admin, mail: Selector, pool: String, json: bool) -> anyhow::Result<()> {
    let request = MoveQueuesRequest {
        selector: Some(mail.required()?),
        pool: pool.clone(),
    };
    let moved = admin.move_queues(request).await?.into_inner();
    if json {
        return show::json(&moved);
    }
    println!(
        "{} tasks go through {pool}; what senders have already goes out as before.",
        moved.tasks
    );
    Ok(())
}

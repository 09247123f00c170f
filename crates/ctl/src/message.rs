use clap::Subcommand;
use skein_wire::v1::{
    BounceClass, DeleteMessageRequest, GetMessageRequest, HistoryEntry, HistoryEventKind, Message,
    Priority,
};

use crate::admin::Admin;
use crate::queue::recipients;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// A message and its whole history.
    Show {
        /// As the reply to its sender and the event log have it.
        id: String,
    },
    /// Drop the open recipients of a message; no DSN is sent.
    Delete {
        /// As the reply to its sender and the event log have it.
        id: String,
    },
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Show { id } => {
            let message = admin
                .get_message(GetMessageRequest { id })
                .await?
                .into_inner();
            if json {
                show::json(&message)
            } else {
                print(&message)
            }
        }
        Command::Delete { id } => {
            let deleted = admin
                .delete_message(DeleteMessageRequest { id })
                .await?
                .into_inner();
            if json {
                return show::json(&deleted);
            }
            println!("{} recipients were dropped.", deleted.recipients);
            Ok(())
        }
    }
}

fn print(message: &Message) -> anyhow::Result<()> {
    let sender = if message.sender.is_empty() {
        "<> (a report)"
    } else {
        &message.sender
    };
    println!("Message   {}", message.id);
    println!("From      {sender}");
    println!(
        "Tenant    {}, pool {}, {}",
        message.tenant,
        message.pool,
        show::word::<Priority>(message.priority)
    );
    println!("Size      {}", show::bytes(message.bytes));
    println!("Accepted  {}", show::time(message.accepted_at_ms));
    println!("Finished  {}", show::time(message.finished_at_ms));
    if !message.envid.is_empty() {
        println!("ENVID     {}", message.envid);
    }
    for task in &message.open_tasks {
        println!();
        println!("Open      {}", task.recipients.join(", "));
        println!(
            "          {} attempts, next {}, site {}",
            task.attempts,
            show::until(task.due_at_ms),
            task.site
        );
        if !task.last_reply.is_empty() {
            println!("          {}{}", task.last_reply, class(task.last_class));
        }
    }
    println!();
    for entry in &message.history {
        println!("{}", line(entry));
    }
    Ok(())
}

/// Behind a reply: what it is about.
fn class(of: i32) -> String {
    match show::word::<BounceClass>(of).as_ref() {
        "" => String::new(),
        class => format!("  ({class})"),
    }
}

/// One event with its time and reply, over up to three lines.
pub fn line(entry: &HistoryEntry) -> String {
    let mut line = format!(
        "{}  {:<9}  {}",
        show::time(entry.at_ms),
        show::word::<HistoryEventKind>(entry.event),
        recipients(&entry.recipients)
    );
    if entry.attempt > 0 {
        line.push_str(&format!(
            "  attempt {}, {} ms",
            entry.attempt, entry.duration_ms
        ));
    }
    for (word, value) in [
        ("via", &entry.peer),
        ("from", &entry.source),
        ("", &entry.tls),
    ] {
        if !value.is_empty() {
            line.push_str(&format!("  {word} {value}").replace("   ", "  "));
        }
    }
    if !entry.related_message.is_empty() {
        let word = match entry.event() {
            HistoryEventKind::Accepted => "about",
            HistoryEventKind::OutOfBandBounce | HistoryEventKind::Complained => "told by",
            _ => "DSN",
        };
        line.push_str(&format!("  {word} {}", entry.related_message));
    }
    if !entry.reply.is_empty() {
        let class = class(entry.class);
        line.push_str(&format!("\n                     {}{class}", entry.reply));
    }
    if entry.next_attempt_at_ms > 0 {
        line.push_str(&format!(
            "\n                     next attempt {}",
            show::time(entry.next_attempt_at_ms)
        ));
    }
    line
}

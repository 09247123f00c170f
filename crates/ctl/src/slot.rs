use clap::Subcommand;
use skein_wire::v1::{ListSlotsRequest, ListSlotsResponse, MoveSlotRequest};

use crate::admin::Admin;
use crate::{show, site};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Slots that have tasks or are about to move.
    List {
        /// Only those of this sender.
        #[arg(long, default_value = "", hide_default_value = true)]
        sender: String,
        /// Also those that are empty.
        #[arg(long)]
        all: bool,
    },
    /// Move a slot to another sender. It stays there until senders come or go.
    Move {
        /// From 0 to 1023.
        slot: u32,
        /// The sender's name, as `node list` shows it.
        to: String,
    },
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List { sender, all } => list(admin, sender, all, json).await,
        Command::Move { slot, to } => {
            let request = MoveSlotRequest {
                slot,
                to: to.clone(),
            };
            admin.move_slot(request).await?;
            if json {
                return show::json(&serde_json::json!({ "slot": slot, "to": to }));
            }
            println!("Slot {slot} goes to {to} as soon as its owner has let go of it.");
            Ok(())
        }
    }
}

async fn list(mut admin: Admin, sender: String, all: bool, json: bool) -> anyhow::Result<()> {
    let answer = admin.list_slots(ListSlotsRequest { sender }).await?;
    let ListSlotsResponse { mut slots, spreads } = answer.into_inner();
    slots.retain(|slot| all || slot.tasks > 0 || !slot.moving_to.is_empty());
    if json {
        return show::json(&slots);
    }
    let mut table = show::table(&["SLOT", "SENDER", "EPOCH", "TASKS", "MOVING TO"]);
    for slot in slots {
        table.add_row([
            slot.slot.to_string(),
            show::or_dash(slot.sender),
            slot.epoch.to_string(),
            slot.tasks.to_string(),
            show::or_dash(slot.moving_to),
        ]);
    }
    show::print(&table);
    if !spreads.is_empty() {
        println!();
        site::print(spreads);
    }
    Ok(())
}

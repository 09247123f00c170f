use clap::Subcommand;
use skein_wire::v1::{ListSlotsRequest, MoveSlotRequest, SlotView};

use crate::cli::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Slots that have tasks or are about to move.
    List {
        /// Only those of this sender.
        #[arg(long, default_value = "")]
        sender: String,
        /// Also those that are empty.
        #[arg(long)]
        all: bool,
    },
    /// Move a slot to another sender. It stays there until senders come or go.
    Move { slot: u32, to: String },
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
            println!("Slot {slot} goes to {to} as soon as its owner has let go of it.");
            Ok(())
        }
    }
}

async fn list(mut admin: Admin, sender: String, all: bool, json: bool) -> anyhow::Result<()> {
    let answer = admin.list_slots(ListSlotsRequest { sender }).await?;
    let slots = answer.into_inner().slots.into_iter();
    let slots: Vec<SlotView> = slots
        .filter(|slot| all || slot.tasks > 0 || !slot.moving_to.is_empty())
        .collect();
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
    Ok(())
}

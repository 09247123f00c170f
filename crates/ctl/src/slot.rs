use clap::Subcommand;
use skein_wire::v1::{
    ListSlotsRequest, ListSlotsResponse, MoveSlotRequest, SetFanRequest, SiteFan,
};

use crate::cli::Admin;
use crate::show;

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
    /// Spread a site's mail over several slots, and so over several senders; without a site, list those that are.
    Fan {
        /// A recipient domain.
        #[arg(requires = "slots")]
        site: Option<String>,
        /// From 1 to 64, or auto: as the site's part of the backlog calls for.
        #[arg(value_parser = fan)]
        slots: Option<u32>,
    },
}

/// 0 stands for auto.
fn fan(text: &str) -> Result<u32, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(0),
        (_, Ok(slots @ 1..=64)) => Ok(slots),
        _ => Err("must be from 1 to 64, or auto".into()),
    }
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
        Command::Fan {
            site: Some(site),
            slots: Some(slots),
        } => set_fan(admin, site, slots, json).await,
        Command::Fan { .. } => {
            let answer = admin.list_slots(ListSlotsRequest::default()).await?;
            let fans = answer.into_inner().fans;
            if json {
                return show::json(&fans);
            }
            print_fans(fans);
            Ok(())
        }
    }
}

async fn set_fan(mut admin: Admin, site: String, slots: u32, json: bool) -> anyhow::Result<()> {
    let request = SetFanRequest {
        site: site.clone(),
        fan: slots,
    };
    admin.set_fan(request).await?;
    if json {
        return show::json(&serde_json::json!({ "site": site, "fan": slots }));
    }
    match slots {
        0 => println!("New mail for {site} has as many slots as its backlog calls for."),
        1 => println!("New mail for {site} has one slot."),
        _ => println!("New mail for {site} is spread over {slots} slots."),
    }
    Ok(())
}

async fn list(mut admin: Admin, sender: String, all: bool, json: bool) -> anyhow::Result<()> {
    let answer = admin.list_slots(ListSlotsRequest { sender }).await?;
    let ListSlotsResponse { mut slots, fans } = answer.into_inner();
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
    if !fans.is_empty() {
        println!();
        print_fans(fans);
    }
    Ok(())
}

fn print_fans(fans: Vec<SiteFan>) {
    let mut table = show::table(&["SITE", "FAN", "SET BY", "SLOTS"]);
    for fan in fans {
        let slots = fan.slots.iter().map(ToString::to_string);
        table.add_row([
            fan.site,
            fan.fan.to_string(),
            if fan.by_policy { "policy" } else { "backlog" }.into(),
            slots.collect::<Vec<_>>().join(", "),
        ]);
    }
    show::print(&table);
}

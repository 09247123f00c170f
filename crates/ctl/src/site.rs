use clap::Subcommand;
use skein_wire::v1::{ListSlotsRequest, SetSpreadRequest, SiteSpread};

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Spread a site's mail over several slots, and so over several senders; without a site, list those that are.
    Spread {
        /// A recipient domain.
        #[arg(requires = "slots")]
        site: Option<String>,
        /// From 1 to 64, or auto: as the site's part of the backlog calls for.
        #[arg(value_parser = slot_count)]
        slots: Option<u32>,
    },
}

/// 0 stands for auto.
fn slot_count(text: &str) -> Result<u32, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(0),
        (_, Ok(slots @ 1..=64)) => Ok(slots),
        _ => Err("must be from 1 to 64, or auto".into()),
    }
}

pub async fn run(admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let Command::Spread { site, slots } = command;
    match site.zip(slots) {
        Some((site, slots)) => set_spread(admin, site, slots, json).await,
        None => list(admin, json).await,
    }
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let answer = admin.list_slots(ListSlotsRequest::default()).await?;
    let spreads = answer.into_inner().spreads;
    if json {
        return show::json(&spreads);
    }
    print(spreads);
    Ok(())
}

async fn set_spread(mut admin: Admin, site: String, slots: u32, json: bool) -> anyhow::Result<()> {
    let request = SetSpreadRequest {
        site: site.clone(),
        slot_count: slots,
    };
    admin.set_fan(request).await?;
    if json {
        return show::json(&serde_json::json!({ "site": site, "slots": slots }));
    }
    match slots {
        0 => println!("New mail for {site} has as many slots as its backlog calls for."),
        1 => println!("New mail for {site} has one slot."),
        _ => println!("New mail for {site} is spread over {slots} slots."),
    }
    Ok(())
}

pub fn print(spreads: Vec<SiteSpread>) {
    let mut table = show::table(&["SITE", "SPREAD", "SET BY", "SLOTS"]);
    for spread in spreads {
        let slots = spread.slots.iter().map(ToString::to_string);
        table.add_row([
            spread.site,
            spread.slot_count.to_string(),
            if spread.by_policy {
                "policy"
            } else {
                "backlog"
            }
            .into(),
            slots.collect::<Vec<_>>().join(", "),
        ]);
    }
    show::print(&table);
}

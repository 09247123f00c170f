//! What rules on replies did by themselves.

use clap::{Args, Subcommand};
use skein_wire::v1::{
    AutomationEventKind, LiftAutomationRequest, ListAutomationRequest, ListAutomationResponse,
    RuleInForce,
};

use crate::admin::Admin;
use crate::show;
use crate::suspend::who;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What is in force and what climbs back from it, with the reply that it is for.
    List,
    /// What happened, the latest last; suspensions by hand are among it.
    Events {
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// End what is in force before its time, without a climb back.
    Lift(Lift),
}

/// Everything for which all holds that is said.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Lift {
    /// A provider, a set of MX hosts or a domain, as `automation list` shows it.
    #[arg(long, default_value = "", hide_default_value = true)]
    site: String,
    /// The address that the world sees.
    #[arg(long, default_value = "", hide_default_value = true)]
    ip: String,
    /// Whose mail it is about.
    #[arg(long, default_value = "", hide_default_value = true)]
    tenant: String,
    /// Through which pool.
    #[arg(long, default_value = "", hide_default_value = true)]
    pool: String,
    /// Why, for others who look.
    #[arg(long, default_value = "", hide_default_value = true)]
    why: String,
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let listed = ask(&mut admin, 0).await?;
            if json {
                return show::json(&listed.active_actions);
            }
            print_forces(listed.active_actions);
        }
        Command::Events { limit } => {
            let listed = ask(&mut admin, limit).await?;
            if json {
                return show::json(&listed.events);
            }
            let mut table = show::table(&["TIME", "WHAT", "ABOUT", "UNTIL", "WHO", "WHY"]);
            for event in listed.events {
                table.add_row([
                    show::time(event.at_ms),
                    show::word::<AutomationEventKind>(event.what),
                    event.subject,
                    show::time(event.until_ms),
                    show::or_dash(event.who),
                    show::or_dash(event.why),
                ]);
            }
            show::print(&table);
        }
        Command::Lift(lift) => {
            let request = LiftAutomationRequest {
                site: lift.site,
                ip: lift.ip,
                tenant: lift.tenant,
                pool: lift.pool,
                who: who(),
                why: lift.why,
            };
            let answer = admin.lift_automation(request).await?.into_inner();
            if json {
                return show::json(&answer);
            }
            let lifted = answer.lifted;
            println!("{lifted} lifted.");
        }
    }
    Ok(())
}

async fn ask(admin: &mut Admin, events: u32) -> anyhow::Result<ListAutomationResponse> {
    let request = ListAutomationRequest { events };
    Ok(admin.list_automation(request).await?.into_inner())
}

fn print_forces(active_actions: Vec<RuleInForce>) {
    let header = [
        "ACTION", "SITE", "OF", "PHASE", "FROM", "UNTIL", "RULE", "WHY",
    ];
    let mut table = show::table(&header);
    for force in active_actions {
        let phase = match force.step {
            0 => "in force".to_owned(),
            step => format!("climbs {step}/{}", force.steps),
        };
        let of = [
            ("ip", &force.ip),
            ("tenant", &force.tenant),
            ("pool", &force.pool),
        ];
        let of = of.into_iter().find(|(_, name)| !name.is_empty());
        let of = of.map(|(kind, name)| format!("{kind} {name}"));
        table.add_row([
            force.action,
            force.site,
            show::or_dash(of.unwrap_or_default()),
            phase,
            show::time(force.from_ms),
            show::time(force.until_ms),
            format!("{} {}", force.provider, force.rule),
            force.why,
        ]);
    }
    show::print(&table);
}

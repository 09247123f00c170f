use clap::Subcommand;
use skein_wire::v1::{ListTenantsRequest, SetTenantRequest};

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tenants that have open tasks or a weight.
    List,
    /// Change a tenant's share beside others that have due mail.
    Set {
        /// The tenant.
        name: String,
        /// Tasks of this tenant to one task of a tenant with weight 1.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
        weight: u32,
    },
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::List => list(admin, json).await,
        Command::Set { name, weight } => {
            let request = SetTenantRequest {
                name: name.clone(),
                weight,
            };
            admin.set_tenant(request).await?;
            if json {
                return show::json(&serde_json::json!({ "name": name, "weight": weight }));
            }
            println!("{name} has weight {weight}.");
            Ok(())
        }
    }
}

async fn list(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let answer = admin.list_tenants(ListTenantsRequest {}).await?;
    let tenants = answer.into_inner().tenants;
    if json {
        return show::json(&tenants);
    }
    let mut table = show::table(&["TENANT", "WEIGHT", "QUEUES", "TASKS", "RECIPIENTS", "SIZE"]);
    for tenant in tenants {
        table.add_row([
            tenant.name,
            tenant.weight.to_string(),
            tenant.queues.to_string(),
            tenant.tasks.to_string(),
            tenant.recipients.to_string(),
            show::bytes(tenant.bytes),
        ]);
    }
    show::print(&table);
    Ok(())
}

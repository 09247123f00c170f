use clap::Subcommand;
use skein_wire::v1::ListGroupsRequest;

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Raft groups, their members and what they hold.
    List,
}

pub async fn run(mut admin: Admin, command: Command, json: bool) -> anyhow::Result<()> {
    let Command::List = command;
    let groups = admin.list_groups(ListGroupsRequest {}).await?.into_inner();
    if json {
        return show::json(&groups);
    }
    let mut table = show::table(&[
        "GROUP", "TERM", "LEADER", "VOTERS", "LEARNERS", "MESSAGES", "TASKS", "BODIES",
    ]);
    for group in groups.groups {
        let (voters, learners): (Vec<_>, Vec<_>) =
            group.members.iter().partition(|member| member.voter);
        let leader = match group.leader.as_str() {
            "" => show::or_dash(leader_of_one(&voters)),
            leader => leader.to_owned(),
        };
        table.add_row([
            show::group(group.group),
            group.term.to_string(),
            leader,
            voters.len().to_string(),
            learners.len().to_string(),
            group.open_messages.to_string(),
            group.open_tasks.to_string(),
            show::bytes(group.open_body_bytes),
        ]);
    }
    show::print(&table);
    Ok(())
}

/// A node that is alone has no address; its id stands for it.
fn leader_of_one(voters: &[&skein_wire::v1::GroupMember]) -> String {
    match voters {
        [one] => one.node_id.clone(),
        _ => String::new(),
    }
}

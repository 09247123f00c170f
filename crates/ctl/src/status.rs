use skein_wire::v1::{GetStatusRequest, NodeRole, RaftState};

use crate::admin::Admin;
use crate::show;

pub async fn run(mut admin: Admin, json: bool) -> anyhow::Result<()> {
    let status = admin.get_status(GetStatusRequest {}).await?.into_inner();
    if json {
        return show::json(&status);
    }
    println!(
        "Skein {}, node {}, role {}",
        status.version,
        status.node_id,
        show::word::<NodeRole>(status.role)
    );
    println!("Started   {}", show::time(status.started_at_ms));
    println!("Data      {}", status.data_dir);
    println!(
        "Spool     {} messages, {} tasks in {} queues, {}",
        status.open_messages,
        status.open_tasks,
        status.queues,
        show::bytes(status.open_body_bytes)
    );
    println!(
        "Senders   {}, owning {} of 1024 slots",
        status.sessions, status.slots_owned
    );
    println!();
    let mut table = show::table(&["GROUP", "STATE", "TERM", "APPLIED", "VOTERS", "LEADER"]);
    for group in status.groups {
        let leader = if group.leader == 0 {
            "none".to_owned()
        } else {
            format!("{:016x}", group.leader)
        };
        table.add_row([
            show::group(group.group),
            show::word::<RaftState>(group.state),
            group.term.to_string(),
            group.last_applied.to_string(),
            group.voters.to_string(),
            leader,
        ]);
    }
    show::print(&table);
    Ok(())
}

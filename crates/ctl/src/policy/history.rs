//! Earlier versions of the policy.

use anyhow::bail;
use skein_wire::v1::{ListPolicyHistoryRequest, PolicyVersion};

use super::change;
use crate::admin::Admin;
use crate::show;

pub async fn history(mut admin: Admin, version: Option<u64>, json: bool) -> anyhow::Result<()> {
    let request = ListPolicyHistoryRequest {
        version: version.unwrap_or(0),
    };
    let found = admin.list_policy_history(request).await?.into_inner();
    if json {
        return show::json(&found);
    }
    if version.is_some() {
        let Some(one) = found.versions.first() else {
            bail!("there is no such version; list them with `skeinctl policy history`");
        };
        println!(
            "Version {} of {}, by {}",
            one.version,
            show::time(one.at_ms),
            by(one)
        );
        change::print(&one.changes, true);
        return Ok(());
    }
    let mut table = show::table(&["VERSION", "AT", "BY", "CHANGED"]);
    for one in &found.versions {
        let summary = change::summary(&one.changes);
        let changed = match (one.rolled_back_to, one.is_restored) {
            (Some(to), _) => format!("back to version {to}: {summary}"),
            (None, true) => format!("from a backup: {summary}"),
            (None, false) => summary,
        };
        table.add_row([
            one.version.to_string(),
            show::time(one.at_ms),
            by(one),
            changed,
        ]);
    }
    show::print(&table);
    println!();
    println!(
        "The policy has version {}; it can be rolled back to any from {} on.",
        found.version, found.oldest_version
    );
    Ok(())
}

fn by(version: &PolicyVersion) -> String {
    show::or_dash(version.by.clone())
}

//! Who has changed what, and who has tried.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use skein_wire::v1::{AuditEntry, ListAuditRequest};
use tonic::Code;

use crate::admin::Admin;
use crate::show;

#[derive(Debug, Args)]
pub struct Audit {
    /// How many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only of this name: of a certificate, a token (\"token NAME\") or a local user.
    #[arg(long, default_value = "", hide_default_value = true)]
    who: String,
    /// Only this call, such as ApplyPolicy.
    #[arg(long, default_value = "", hide_default_value = true)]
    call: String,
    /// Only of so long ago at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
}

pub async fn run(mut admin: Admin, wanted: Audit, json: bool) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let since = wanted.since.map(|since| now.saturating_sub(since));
    let request = ListAuditRequest {
        limit: wanted.limit,
        who: wanted.who,
        call: wanted.call,
        since_ms: since.map_or(Ok(0), |since| u64::try_from(since.as_millis()))?,
        ..ListAuditRequest::default()
    };
    let mut entries = admin.list_audit(request).await?.into_inner().entries;
    entries.reverse();
    if json {
        return show::json(&entries);
    }
    let mut table = show::table(&["TIME", "WHO", "FROM", "CALL", "RESULT", "ASKED FOR"]);
    for entry in entries {
        let result = result(&entry);
        table.add_row([
            show::time(entry.at_ms),
            entry.who,
            show::or_dash(entry.from),
            entry.call,
            result,
            show::or_dash(entry.asked),
        ]);
    }
    show::print(&table);
    Ok(())
}

/// What came of a call, for people.
fn result(entry: &AuditEntry) -> String {
    let Some(code) = entry.code else {
        return "not known: the node ended in between".to_owned();
    };
    match Code::from(i32::try_from(code).unwrap_or(i32::MAX)) {
        Code::Ok => "done".to_owned(),
        Code::PermissionDenied | Code::Unauthenticated => format!("refused: {}", entry.message),
        _ => format!("failed: {}", entry.message),
    }
}

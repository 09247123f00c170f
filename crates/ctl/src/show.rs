//! Printing: tables for people, JSON for programs.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use skein_wire::words::{self, Words};

pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

pub fn print(table: &Table) {
    for line in table.lines() {
        println!("{}", line.trim_end());
    }
}

/// The name of a Raft group.
pub fn group(number: u32) -> String {
    match number {
        0 => "meta".into(),
        number => format!("spool {number}"),
    }
}

pub fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// The word for the value of an enum's field; `unknown (N)` for one of a newer node.
pub fn word<E: Words>(number: i32) -> String {
    words::word::<E>(number).into_owned()
}

/// Local time to the second; `-` for none.
pub fn time(at_ms: u64) -> String {
    match i64::try_from(at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
    {
        Some(at) if at_ms > 0 => at
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%F %T")
            .to_string(),
        _ => "-".into(),
    }
}

/// The time from now: `in 5m`, `due`, or `-` for none.
pub fn until(at_ms: u64) -> String {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    match at_ms {
        0 => "-".into(),
        at if at <= now => "due".into(),
        at => format!("in {}", span(at - now)),
    }
}

/// The time until now: `5m`, or `-` for none.
pub fn age(at_ms: u64) -> String {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    match at_ms {
        0 => "-".into(),
        at => span(now.saturating_sub(at)),
    }
}

pub fn span(ms: u64) -> String {
    let whole = std::time::Duration::from_secs(ms.div_ceil(1000));
    humantime::format_duration(whole).to_string()
}

pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", count as f64 / 1_073_741_824.0),
    }
}

//! Records as people paste them.

use skein_dkim::record::quoted;

use crate::dns::RecordType;
use crate::records::{Publisher, Record};

/// One line of a zone file (RFC 1035 5.1), with full names, so that it is right in any zone.
#[must_use]
pub fn zone_line(record: &Record) -> String {
    let value = match record.record_type {
        RecordType::Txt => quoted(&record.value),
        _ => format!("{}.", record.value),
    };
    let Record {
        name,
        ttl,
        record_type,
        ..
    } = record;
    format!("{name}. {ttl} IN {record_type} {value}")
}

/// A zone file for each of who publishes.
#[must_use]
pub fn zone_file(records: &[Record]) -> String {
    let mut file = String::new();
    for (publisher, title) in [
        (Publisher::Owner, "to be published by who owns the domain"),
        (
            Publisher::Operator,
            "to be published in the operator's zone",
        ),
    ] {
        let mut own = records
            .iter()
            .filter(|record| record.publisher == publisher)
            .peekable();
        if own.peek().is_some() {
            file.push_str(&format!("; {title}\n"));
        }
        own.for_each(|record| file.push_str(&format!("{}\n", zone_line(record))));
    }
    file
}

/// Columns for a form: the name within the domain and in full, the type, the value in one line.
#[must_use]
pub fn table(records: &[Record], domain: &str) -> String {
    let within = |name: &str| {
        let label = name
            .strip_suffix(domain)
            .and_then(|name| name.strip_suffix('.'));
        label.unwrap_or(name).to_owned()
    };
    let title = ["NAME", "TYPE", "VALUE", "FULL NAME"].map(str::to_owned);
    let rows = records.iter().map(|record| {
        let value = record.value.clone();
        [
            within(&record.name),
            record.record_type.to_string(),
            value,
            record.name.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(title).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (names, types, values) = (width(0), width(1), width(2));
    let line = |row: &[String; 4]| {
        let [name, record_type, value, full] = row;
        format!("{name:<names$}  {record_type:<types$}  {value:<values$}  {full}\n")
    };
    rows.iter().map(line).collect()
}

/// An array of objects.
#[must_use]
pub fn json(records: &[Record]) -> String {
    serde_json::to_string_pretty(records).expect("records are text and numbers")
}

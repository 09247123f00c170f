//! Lines of an export.

use super::super::entry::NewEntry;
use super::{Column, fields};
use crate::rfc3339;

/// The first line, without its end.
pub const HEADER: &str = "address,scope,tenant,stream,reason,created,expires,source,note";

/// Adds the line of an entry, with its end.
pub fn write(out: &mut String, item: &NewEntry) {
    for (nth, column) in Column::ALL.into_iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write_field(out, item, column);
    }
    out.push_str("\r\n");
}

fn write_field(out: &mut String, item: &NewEntry, column: Column) {
    let NewEntry {
        key,
        spelling,
        entry,
    } = item;
    match column {
        Column::Address => {
            let written = spelling.as_deref().unwrap_or(key.subject.as_str());
            fields::push(out, written);
        }
        Column::Scope => out.push_str(key.scope.kind().name()),
        Column::Tenant => fields::push(out, key.scope.tenant().unwrap_or_default()),
        Column::Stream => fields::push(out, key.scope.stream().unwrap_or_default()),
        Column::Reason => out.push_str(entry.reason.name()),
        Column::Created => out.push_str(&rfc3339::write(entry.created)),
        Column::Expires => out.push_str(&entry.expires.map(rfc3339::write).unwrap_or_default()),
        Column::Source => fields::push(out, &entry.source),
        Column::Note => fields::push(out, &entry.note),
    }
}

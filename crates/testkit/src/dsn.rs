//! Delivery status notifications as a receiver sees them.

use crate::load::field;
use crate::sink::Record;

/// A delivery status notification (RFC 3464) about a test message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// The original's `X-Test-Id`.
    pub id: String,
    /// Final-Recipient of each group with `Action: failed`.
    pub failed: Vec<String>,
    /// The same for `Action: delayed`.
    pub delayed: Vec<String>,
    /// The same for `delivered`, `relayed` and `expanded`.
    pub succeeded: Vec<String>,
}

/// Reads a DSN; `None` if the record is something else: a DSN has the null return path and is a
/// multipart/report.
pub fn read_dsn(record: &Record) -> Option<Dsn> {
    if !record.sender().is_empty() {
        return None;
    }
    let head_end = record
        .message
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&record.message[..head_end]).to_ascii_lowercase();
    if !head.contains("multipart/report") || !head.contains("delivery-status") {
        return None;
    }
    let id = record.test_id.clone()?;
    let mut dsn = Dsn {
        id,
        failed: Vec::new(),
        delayed: Vec::new(),
        succeeded: Vec::new(),
    };
    let body = &record.message[head_end..];
    let mut recipient: Option<String> = None;
    let mut action: Option<String> = None;
    for line in body.split(|byte| *byte == b'\n') {
        if let Some(value) = field(line, "Final-Recipient") {
            let address = value
                .split_once(';')
                .map_or(value.as_str(), |(_, address)| address);
            recipient = Some(address.trim().trim_matches(['<', '>']).to_owned());
        }
        if let Some(value) = field(line, "Action") {
            action = Some(value.to_ascii_lowercase());
        }
        // The two fields come in either order within one group of lines.
        if recipient.is_none() || action.is_none() {
            continue;
        }
        let list = match action.take().as_deref() {
            Some("failed") => &mut dsn.failed,
            Some("delayed") => &mut dsn.delayed,
            _ => &mut dsn.succeeded,
        };
        list.extend(recipient.take());
    }
    Some(dsn)
}

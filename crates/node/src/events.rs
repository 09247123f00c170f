//! The event log as a file of JSON lines: one line for each fact about a recipient or a message.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use skein_control::{EventReader, OwnHealth};
use skein_model::bounce::Class;
use skein_model::event::{AttemptFacts, Event, EventKind};
use skein_model::{Reply, UnixMs};

use crate::escape;

/// The file is turned over at this size, or at a hundredth of a small disk; four old ones are kept.
const FILE_BYTES_MAX: u64 = 256 << 20;
const DISK_PARTS: u64 = 100;
const SENDER_FILE_BYTES_MAX: u64 = 16 << 20;
const OLD_FILES: u32 = 4;
/// After a failed write, for instance on a full disk, the same events are written again.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Sink {
    path: PathBuf,
    file_bytes_max: u64,
    /// Where it says that it fails, at a control node.
    own_health: Option<Arc<OwnHealth>>,
}

impl Sink {
    pub fn new(path: PathBuf, disk_bytes: u64, own_health: Arc<OwnHealth>) -> Self {
        Self {
            path,
            file_bytes_max: FILE_BYTES_MAX.min(disk_bytes / DISK_PARTS),
            own_health: Some(own_health),
        }
    }

    /// Of a node that only sends, where few events arise.
    pub fn of_sender(path: PathBuf) -> Self {
        Self {
            path,
            file_bytes_max: SENDER_FILE_BYTES_MAX,
            own_health: None,
        }
    }

    /// Writes events until the node stops.
    pub async fn write(self, mut events: EventReader) {
        while let Some(batch) = events.next_batch().await {
            self.write_lines(lines(&batch)).await;
            events.done().await;
        }
    }

    /// Writes whole lines, however long that takes.
    pub async fn write_lines(&self, lines: Vec<u8>) {
        let mut lines = escape::json_lines(lines);
        loop {
            let (sink, bytes) = (self.clone(), lines.clone());
            let written = tokio::task::spawn_blocking(move || sink.append(&bytes)).await;
            match written {
                Ok(Ok(())) => {
                    self.set_fault(None);
                    break;
                }
                Ok(Err(error)) => {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "events cannot be written");
                    let fault = format!("{path}: {error}");
                    self.set_fault(Some(fault));
                }
                Err(error) => tracing::error!(%error, "writing events panicked"),
            }
            // A part may have been written: what comes next must not be glued to half a line.
            if lines.first() != Some(&b'\n') {
                lines.insert(0, b'\n');
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn set_fault(&self, fault: Option<String>) {
        if let Some(own_health) = &self.own_health {
            own_health.set_events_fault(fault);
        }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let path = &self.path;
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() >= self.file_bytes_max {
            rotate(path)?;
            file = File::create(path)?;
        }
        file.write_all(bytes)
    }
}

fn rotate(path: &Path) -> io::Result<()> {
    let numbered = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    for n in (1..OLD_FILES).rev() {
        match std::fs::rename(numbered(n), numbered(n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, numbered(1))
}

#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    time: String,
    event: &'a str,
    seq: u64,
    message_id: String,
    sender: &'a str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipients: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    attempt: Option<Attempt<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    reply: Option<ReplyFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feedback: Option<&'a str>,
    /// The DSN that tells of this, the report that it is known from, or the message that this DSN tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    related_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Attempt<'a> {
    attempt: u32,
    queue: String,
    domain: &'a str,
    site: &'a str,
    source: Option<&'a str>,
    peer: Option<&'a str>,
    tls: Option<&'a str>,
    duration_ms: u64,
}

#[derive(Debug, Serialize)]
struct ReplyFields<'a> {
    code: u16,
    enhanced: Option<String>,
    reply: &'a str,
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
}

pub fn time(at: UnixMs) -> String {
    let at = i64::try_from(at.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn lines(events: &[Event]) -> Vec<u8> {
    let mut out = Vec::with_capacity(events.len() * 512);
    for event in events {
        serde_json::to_writer(&mut out, &line(event)).expect("a line has only strings and numbers");
        out.push(b'\n');
    }
    out
}

fn line(event: &Event) -> Line<'_> {
    let base = Line {
        time: time(event.at),
        event: event.kind.name(),
        seq: event.seq,
        message_id: event.message.to_string(),
        sender: &event.sender,
        tenant: &event.tenant,
        ..Line::default()
    };
    match &event.kind {
        EventKind::Accepted {
            recipients,
            bytes,
            client,
            about,
        } => Line {
            recipients: Some(recipients),
            bytes: Some(*bytes),
            client: client.as_deref(),
            related_message: about.map(|id| id.to_string()),
            ..base
        },
        EventKind::Delivered {
            recipient,
            attempt: facts,
            reply,
        } => attempted(base, recipient, facts, reply),
        EventKind::Deferred {
            recipient,
            attempt: facts,
            reply,
            due,
        } => Line {
            next_attempt: Some(time(*due)),
            ..attempted(base, recipient, facts, reply)
        },
        EventKind::Bounced {
            recipient,
            attempt: facts,
            reply,
            dsn,
        }
        | EventKind::Expired {
            recipient,
            attempt: facts,
            reply,
            dsn,
        } => Line {
            related_message: dsn.map(|id| id.to_string()),
            ..attempted(base, recipient, facts, reply)
        },
        EventKind::Deleted { recipient, by } => Line {
            recipient: Some(recipient),
            by: Some(by),
            ..base
        },
        EventKind::OutOfBandBounce {
            recipient,
            reply,
            told_by,
        } => Line {
            recipient: Some(recipient),
            reply: Some(said(reply)),
            related_message: Some(told_by.to_string()),
            ..base
        },
        EventKind::Complained {
            recipient,
            feedback,
            reporter,
            told_by,
        } => Line {
            recipient: Some(recipient.as_str()).filter(|address| !address.is_empty()),
            feedback: Some(feedback),
            by: Some(reporter),
            related_message: Some(told_by.to_string()),
            ..base
        },
    }
}

fn attempted<'a>(
    base: Line<'a>,
    recipient: &'a str,
    facts: &'a AttemptFacts,
    reply: &'a Reply,
) -> Line<'a> {
    Line {
        recipient: Some(recipient),
        attempt: Some(Attempt {
            attempt: facts.number,
            queue: facts.queue.to_string(),
            domain: facts.domain.as_str(),
            site: &facts.site,
            source: facts.source.as_deref(),
            peer: facts.peer.as_deref(),
            tls: facts.tls.as_deref(),
            duration_ms: facts.duration.0,
        }),
        reply: Some(said(reply)),
        ..base
    }
}

fn said(reply: &Reply) -> ReplyFields<'_> {
    ReplyFields {
        code: reply.code,
        enhanced: reply
            .enhanced
            .map(|(class, subject, detail)| format!("{class}.{subject}.{detail}")),
        reply: &reply.text,
        host: reply.host.as_deref(),
        class: reply.class.map(Class::name),
        group: reply.class.map(|class| class.group().name()),
    }
}

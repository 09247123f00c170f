//! Backup and restore of the whole state, between a control node and a file.

mod file;
mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;
use skein_wire::backup_file::FileWriter;
use skein_wire::internal::backup_client::BackupClient;
use skein_wire::internal::backup_part::Part;
use skein_wire::internal::{BackupEnd, BackupHead, BackupPart, CreateBackupRequest, RestoreReply};
use skein_wire::v1::{MailSelector, SuspendRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::file::{Location, Output, Parts};
use self::progress::Progress;
use crate::admin::Admin;
use crate::connect::Channel;
use crate::show;
use crate::suspend::who;

/// A part may be a message with a long history.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Parts that are read ahead of the server.
const PARTS_AHEAD: usize = 16;
/// The reader of the file hears at once that nothing more is taken.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// As long as a suspension may last: mail is older than any retry policy allows by then.
const HOLD_MS: u64 = 30 * 24 * 3_600_000;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the whole state to a file: queued mail with its bytes and history, policy, suspensions, rules in force,
    /// warm-ups, epochs.
    ///
    /// Only its owner may read the file: it has mail, and passwords of proxies. While it is written it is called
    /// FILE.partial.
    Create {
        /// The file; - writes to the standard output.
        file: PathBuf,
        /// Replace a file that is there, once the new backup is whole.
        #[arg(long)]
        force: bool,
    },
    /// Put a backup into a new, empty cluster.
    ///
    /// What was suspended stays suspended, and rules on replies that were in force are in force again. Messages that were
    /// delivered after the backup was made are delivered again; --hold leaves time to look. A restore that was cut short
    /// goes on when the same file is restored again.
    Restore {
        /// The file; - reads the standard input, which is restored as it comes, without a look at its end first.
        file: PathBuf,
        /// Send nothing until `skeinctl resume --all`: all mail is suspended before the first message is restored.
        #[arg(long)]
        hold: bool,
    },
    /// Read a backup to its end and say what it holds.
    Check {
        /// The file; - reads the standard input.
        file: PathBuf,
    },
}

type Client = BackupClient<Channel>;

pub async fn run(
    admin: Admin,
    channel: Channel,
    command: Command,
    json: bool,
) -> anyhow::Result<()> {
    let client = BackupClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    match command {
        Command::Create { file, force } => create(client, &Location::of(file), force, json).await,
        Command::Restore { file, hold } => {
            let file = Location::of(file);
            restore(admin, client, &file, hold, json).await
        }
        Command::Check { file } => {
            let file = Location::of(file);
            let content = check(&file)?;
            match json {
                true => show::json(&content),
                false => {
                    println!("{}", content.line(&file));
                    Ok(())
                }
            }
        }
    }
}

/// What a whole backup says of itself.
#[derive(Debug, Serialize)]
struct Content {
    made_at_ms: u64,
    version: String,
    spool_groups: u32,
    messages: u64,
    open_messages: u64,
    body_bytes: u64,
}

impl Content {
    fn of(head: BackupHead, end: &BackupEnd) -> Self {
        Self {
            made_at_ms: head.made_at_ms,
            version: head.version,
            spool_groups: head.spool_groups,
            messages: end.messages,
            open_messages: end.open_messages,
            body_bytes: end.body_bytes,
        }
    }

    fn line(&self, file: &Location) -> String {
        format!(
            "{file}: made {}, {} messages, {} of them open with {} of bodies, {} spool groups",
            show::time(self.made_at_ms),
            self.messages,
            self.open_messages,
            show::bytes(self.body_bytes),
            self.spool_groups
        )
    }
}

/// The head and the end of what passes.
#[derive(Debug, Default)]
struct Ends {
    head: Option<BackupHead>,
    end: Option<BackupEnd>,
}

impl Ends {
    fn note(&mut self, part: &BackupPart) {
        match &part.part {
            Some(Part::Head(head)) => self.head = Some(head.clone()),
            Some(Part::End(end)) => self.end = Some(*end),
            _ => {}
        }
    }

    fn content(self) -> Option<Content> {
        Some(Content::of(self.head?, &self.end?))
    }
}

async fn create(
    mut client: Client,
    file: &Location,
    force: bool,
    json: bool,
) -> anyhow::Result<()> {
    let output = Output::open(file, force)?;
    let written = match write(&mut client, output).await {
        Ok((content, output)) => output.finish(file, force).map(|()| content),
        Err(error) => Err(error),
    };
    let content = written.inspect_err(|_| file.remove_partial())?;
    match (json, file) {
        // Its output is the backup.
        (_, Location::Stream) => {
            eprintln!("{}", content.line(file));
            Ok(())
        }
        (true, Location::File(_)) => show::json(&content),
        (false, Location::File(_)) => {
            println!("{}", content.line(file));
            Ok(())
        }
    }
}

async fn write(client: &mut Client, output: Output) -> anyhow::Result<(Content, Output)> {
    let mut writer = FileWriter::new(output)?;
    let mut parts = client.create(CreateBackupRequest {}).await?.into_inner();
    let (mut ends, mut progress) = (Ends::default(), Progress::new("read", None));
    while let Some(part) = parts.message().await? {
        writer.write(&part).context("writing the backup")?;
        progress.note(&part);
        ends.note(&part);
    }
    progress.end();
    let Some(content) = ends.content() else {
        bail!(
            "the node stopped before the backup was whole, and what was written of it is of no use; run it again, at \
             another node if this one is down"
        );
    };
    let mut output = writer.into_inner();
    output.flush().context("writing the backup")?;
    Ok((content, output))
}

/// Reads all of it, so that nothing is begun with a backup that is damaged.
fn check(file: &Location) -> anyhow::Result<Content> {
    let (mut ends, mut progress) = (Ends::default(), Progress::new("checked", None));
    for part in Parts::open(file)? {
        let part = part?;
        progress.note(&part);
        ends.note(&part);
    }
    progress.end();
    ends.content()
        .with_context(|| format!("{file}: the backup has no head"))
}

async fn restore(
    mut admin: Admin,
    mut client: Client,
    file: &Location,
    hold: bool,
    json: bool,
) -> anyhow::Result<()> {
    let content = match file {
        Location::File(_) => Some(check(file)?),
        Location::Stream => None,
    };
    if let Some(content) = content.as_ref().filter(|_| !json) {
        println!("{}", content.line(file));
        println!(
            "Messages that were delivered after {} are not known as delivered here, and will be delivered again.",
            show::time(content.made_at_ms)
        );
    }
    let held_until_ms = match hold {
        true => Some(hold_everything(&mut admin, file).await?),
        false => None,
    };
    let (sent, parts) = mpsc::channel(PARTS_AHEAD);
    let reader = Parts::open(file)?;
    let progress = Progress::new("sent", content.map(|content| content.messages));
    let reading = tokio::task::spawn_blocking(move || read(reader, progress, &sent));
    let restored = client.restore(ReceiverStream::new(parts)).await;
    // A stream whose other end stands still is not waited for.
    let read = tokio::time::timeout(READ_WITHIN, reading).await;
    let (messages, read) = match read {
        Ok(read) => read?,
        Err(_) => (0, Err(ReadFailed::NotTaken)),
    };
    let reply = match (restored, read) {
        (Ok(reply), Ok(())) => reply.into_inner(),
        // A fault of the file is why the node got no whole backup.
        (_, Err(ReadFailed::File(error))) => return Err(error),
        // The node's answer says more than that it took no more parts.
        (Err(status), _) => return Err(cut_short(status, messages, file)),
        (Ok(_), Err(ReadFailed::NotTaken)) => bail!("the node stopped taking the backup"),
    };
    say_restored(&reply, messages, held_until_ms, json)
}

fn say_restored(
    reply: &RestoreReply,
    messages: u64,
    held_until_ms: Option<u64>,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        return show::json(&serde_json::json!({
            "messages": reply.messages,
            "open_messages": reply.open_messages,
            "suspensions": reply.suspensions,
            "rules": reply.rules,
            "held_until_ms": held_until_ms,
        }));
    }
    println!(
        "Restored {} messages, {} of them open; {} were here already.",
        reply.messages,
        reply.open_messages,
        messages.saturating_sub(reply.messages)
    );
    println!(
        "In force as before: {} suspensions (`skeinctl suspend`), {} rules on replies (`skeinctl automation list`).",
        reply.suspensions, reply.rules
    );
    if let Some(until) = held_until_ms {
        println!(
            "Nothing is sent until `skeinctl resume --all`, or {}: look at `skeinctl queue list` first.",
            show::time(until)
        );
    }
    Ok(())
}

/// An error of the way to the node keeps its status, for the advice that goes with it.
fn cut_short(status: tonic::Status, messages: u64, file: &Location) -> anyhow::Error {
    let is_lost = crate::transport::is_fault(&status);
    let error = anyhow::Error::new(status);
    match is_lost && messages > 0 {
        true => error.context(format!(
            "the restore of {file} was cut short after {messages} messages were sent. What came is kept: run it again with \
             the same backup when a node answers, and it goes on"
        )),
        false => error,
    }
}

/// Before the first message comes. Says until when.
async fn hold_everything(admin: &mut Admin, file: &Location) -> anyhow::Result<u64> {
    let request = SuspendRequest {
        selector: Some(MailSelector {
            everything: true,
            ..MailSelector::default()
        }),
        lasts_ms: HOLD_MS,
        who: who(),
        why: format!("restored from {file}"),
        ..SuspendRequest::default()
    };
    Ok(admin.suspend(request).await?.into_inner().until_ms)
}

enum ReadFailed {
    File(anyhow::Error),
    NotTaken,
}

/// Hands all parts on. Says how many messages were among them.
fn read(
    parts: Parts,
    mut progress: Progress,
    sent: &mpsc::Sender<BackupPart>,
) -> (u64, Result<(), ReadFailed>) {
    for part in parts {
        let part = match part {
            Ok(part) => part,
            Err(error) => {
                progress.end();
                return (progress.messages(), Err(ReadFailed::File(error)));
            }
        };
        progress.note(&part);
        if sent.blocking_send(part).is_err() {
            progress.end();
            return (progress.messages(), Err(ReadFailed::NotTaken));
        }
    }
    progress.end();
    (progress.messages(), Ok(()))
}

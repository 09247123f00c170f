//! Backup and restore of the whole state, between a control node and a file.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;
use skein_wire::backup_file::{FileReader, FileWriter};
use skein_wire::internal::backup_client::BackupClient;
use skein_wire::internal::backup_part::Part;
use skein_wire::internal::{BackupEnd, BackupHead, BackupPart, CreateBackupRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::show;

/// A part may be a message with a long history.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Parts that are read ahead of the server.
const PARTS_AHEAD: usize = 16;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the whole state to a file: queued mail with its bytes, history, epochs.
    Create { file: PathBuf },
    /// Put a backup into a new, empty cluster.
    ///
    /// Messages that were delivered after the backup was made are delivered again. A restore that was cut short goes on
    /// when the same file is restored again.
    Restore { file: PathBuf },
    /// Read a backup to its end and say what it holds.
    Check { file: PathBuf },
}

type Client = BackupClient<skein_client::Channel>;

pub async fn run(
    channel: skein_client::Channel,
    command: Command,
    json: bool,
) -> anyhow::Result<()> {
    let client = BackupClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    match command {
        Command::Create { file } => create(client, &file, json).await,
        Command::Restore { file } => restore(client, &file, json).await,
        Command::Check { file } => {
            let content = check(&file)?;
            match json {
                true => show::json(&content),
                false => {
                    content.print(&file);
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

    fn print(&self, file: &Path) {
        println!(
            "{}: made {}, {} messages, {} of them open with {} of bodies, {} spool groups",
            file.display(),
            show::time(self.made_at_ms),
            self.messages,
            self.open_messages,
            show::bytes(self.body_bytes),
            self.spool_groups
        );
    }
}

async fn create(mut client: Client, file: &Path, json: bool) -> anyhow::Result<()> {
    // Under its name only when it is whole.
    let partial = PathBuf::from(format!("{}.partial", file.display()));
    let opened = File::create(&partial);
    let opened = opened.with_context(|| format!("creating {}", partial.display()))?;
    let mut writer = FileWriter::new(BufWriter::with_capacity(1 << 20, opened))?;
    let mut parts = client.create(CreateBackupRequest {}).await?.into_inner();
    let (mut head, mut end) = (None, None);
    while let Some(part) = parts.message().await? {
        writer
            .write(&part)
            .with_context(|| format!("writing {}", partial.display()))?;
        match part.part {
            Some(Part::Head(begun)) => head = Some(begun),
            Some(Part::End(ended)) => end = Some(ended),
            _ => {}
        }
    }
    let (Some(head), Some(end)) = (head, end) else {
        bail!(
            "the node stopped before the backup was whole; run it again, at another node if this one is down"
        );
    };
    let mut written = writer.into_inner();
    written.flush()?;
    written.get_ref().sync_all()?;
    fs::rename(&partial, file).with_context(|| format!("naming {}", file.display()))?;
    let content = Content::of(head, &end);
    match json {
        true => show::json(&content),
        false => {
            content.print(file);
            Ok(())
        }
    }
}

fn open(file: &Path) -> anyhow::Result<FileReader<BufReader<File>>> {
    let opened = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let reader = FileReader::new(BufReader::with_capacity(1 << 20, opened));
    reader.with_context(|| file.display().to_string())
}

/// Reads all of it, so that nothing is begun with a backup that is damaged.
fn check(file: &Path) -> anyhow::Result<Content> {
    let (mut head, mut end) = (None, None);
    for part in open(file)? {
        match part.with_context(|| file.display().to_string())?.part {
            Some(Part::Head(begun)) => head = Some(begun),
            Some(Part::End(ended)) => end = Some(ended),
            _ => {}
        }
    }
    match (head, end) {
        (Some(head), Some(end)) => Ok(Content::of(head, &end)),
        _ => bail!("{}: the backup has no head", file.display()),
    }
}

async fn restore(mut client: Client, file: &Path, json: bool) -> anyhow::Result<()> {
    let content = check(file)?;
    if !json {
        content.print(file);
        println!(
            "Messages that were delivered after {} are not known as delivered here, and will be delivered again.",
            show::time(content.made_at_ms)
        );
    }
    let (sent, parts) = mpsc::channel(PARTS_AHEAD);
    let reader = open(file)?;
    let reading = tokio::task::spawn_blocking(move || read(reader, &sent));
    let restored = client.restore(ReceiverStream::new(parts)).await;
    // The node's answer says more than that it took no more parts.
    let reply = restored?.into_inner();
    reading.await??;
    if json {
        return show::json(&serde_json::json!({
            "messages": reply.messages,
            "open_messages": reply.open_messages,
        }));
    }
    println!(
        "Restored {} messages, {} of them open; {} were here already.",
        reply.messages,
        reply.open_messages,
        content.messages.saturating_sub(reply.messages)
    );
    Ok(())
}

fn read(parts: FileReader<BufReader<File>>, sent: &mpsc::Sender<BackupPart>) -> anyhow::Result<()> {
    for part in parts {
        if sent.blocking_send(part?).is_err() {
            bail!("the node stopped taking the backup");
        }
    }
    Ok(())
}

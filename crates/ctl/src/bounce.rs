//! What replies and messages that come back are about. No cluster is asked: this program has the rules that nodes have.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;
use skein_bounce::inbound::{self, Inbound};
use skein_bounce::{Class, Classified, Refusal, Suppression, classify, mapping};

use crate::show;

/// As much as a report is looked at, and more than any has.
const MESSAGE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What a reply is about, or a message that came back.
    ///
    /// An example: `skeinctl bounce classify "550 5.1.1 No such user here" --host mx.example.com`
    Classify {
        /// The reply as the host gave it, with its codes.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        reply: Option<String>,
        /// The host that gave it, or the name of its provider: some words mean something else there.
        #[arg(long, conflicts_with = "file")]
        host: Option<String>,
        /// A message that came back instead of a reply; `-` reads it from standard input.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// All classes, what follows from each, and the words that other services have for it.
    Mapping,
}

/// # Errors
/// A file cannot be read.
pub fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Mapping => print_mapping(json),
        Command::Classify {
            file: Some(file), ..
        } => print_message(&inbound::read(&read(&file)?), json),
        Command::Classify { reply, host, .. } => {
            let reply = reply.unwrap_or_default();
            if reply.trim().is_empty() {
                bail!(
                    "the reply is empty; an example: skeinctl bounce classify \"550 5.1.1 No such user here\""
                );
            }
            let found = Found::of(&classify(&Refusal::read(&reply), host.as_deref()));
            match json {
                true => show::json(&found),
                false => {
                    found.print();
                    Ok(())
                }
            }
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let input: Box<dyn std::io::Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => {
            let opened = std::fs::File::open(file);
            Box::new(opened.with_context(|| file.display().to_string())?)
        }
    };
    let mut message = Vec::new();
    let read = input
        .take(MESSAGE_BYTES_MAX + 1)
        .read_to_end(&mut message)
        .with_context(|| file.display().to_string())?;
    if read as u64 > MESSAGE_BYTES_MAX {
        bail!(
            "{}: is larger than {}, which no report is",
            file.display(),
            show::bytes(MESSAGE_BYTES_MAX)
        );
    }
    Ok(message)
}

/// What a refusal is about.
#[derive(Debug, Serialize)]
struct Found {
    class: &'static str,
    group: &'static str,
    /// Which rule decided.
    rule: String,
    is_permanent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u64>,
    suppresses: String,
}

impl Found {
    fn of(classified: &Classified) -> Self {
        Self {
            class: classified.class.name(),
            group: classified.class.group().name(),
            rule: classified.rule.to_string(),
            is_permanent: classified.is_permanent,
            retry_after_s: classified.retry_after.map(|after| after.as_secs()),
            suppresses: suppresses(classified.suppresses()),
        }
    }

    fn print(&self) {
        println!("class       {}", self.class);
        println!("group       {}", self.group);
        println!("decided by  {}", self.rule);
        if let Some(after) = self.retry_after_s {
            println!("retry       after {after} s, as the host says");
        }
        println!("suppresses  {}", self.suppresses);
    }
}

/// When an address goes on the suppression list, for people.
fn suppresses(when: Suppression) -> String {
    let days = |span: skein_model::DurationMs| span.0 / (24 * 60 * 60 * 1000);
    match when {
        Suppression::Never => "never".to_owned(),
        Suppression::AtOnce => "at once".to_owned(),
        Suppression::After {
            times,
            within,
            lasts,
        } => {
            let within = match days(within) {
                1 => "a day".to_owned(),
                days => format!("{days} days"),
            };
            let lasts = lasts.map(|lasts| format!(", for {} days", days(lasts)));
            format!("with {times} in {within}{}", lasts.unwrap_or_default())
        }
    }
}

/// A message that came back.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    kind: &'static str,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    recipients: Vec<About<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct About<'a> {
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    diagnostic: &'a str,
    #[serde(flatten)]
    found: Found,
}

fn print_message(read: &Inbound, json: bool) -> anyhow::Result<()> {
    let recipients = read.recipients.iter().map(|one| About {
        address: &one.address,
        original: one.original.as_deref(),
        host: one.remote_mta.as_deref(),
        diagnostic: &one.diagnostic,
        found: Found::of(&one.classified),
    });
    let answer = Answer {
        kind: read.kind.name(),
        format: read.format,
        class: read.kind.class().map(Class::name),
        recipients: recipients.collect(),
        message_id: read.returned.message_id.as_deref(),
    };
    if json {
        return show::json(&answer);
    }
    println!("kind        {}", answer.kind);
    println!("format      {}", show::or_dash(answer.format.to_owned()));
    if let Some(id) = answer.message_id {
        println!("about       {id}");
    }
    for one in &answer.recipients {
        println!("\nrecipient   {}", show::or_dash(one.address.to_owned()));
        if let Some(host) = one.host {
            println!("host        {host}");
        }
        println!("says        {}", show::or_dash(one.diagnostic.to_owned()));
        one.found.print();
    }
    Ok(())
}

/// A class in the words of others.
#[derive(Debug, Serialize)]
struct Words {
    class: &'static str,
    group: &'static str,
    suppresses: String,
    ses: String,
    sendgrid: String,
}

fn print_mapping(json: bool) -> anyhow::Result<()> {
    let rows = Class::ALL.map(|class| Words {
        class: class.name(),
        group: class.group().name(),
        suppresses: suppresses(class.suppresses()),
        ses: mapping::ses(class).map_or_else(String::new, |words| {
            format!("{}/{}", words.bounce_type, words.bounce_sub_type)
        }),
        sendgrid: mapping::send_grid(class).map_or_else(String::new, |words| {
            format!("{}: {}", words.event_type, words.classification)
        }),
    });
    if json {
        return show::json(&rows);
    }
    let mut table = show::table(&["CLASS", "GROUP", "SUPPRESSES", "SES", "SENDGRID"]);
    for row in &rows {
        table.add_row([
            row.class.to_owned(),
            row.group.to_owned(),
            row.suppresses.clone(),
            show::or_dash(row.ses.clone()),
            show::or_dash(row.sendgrid.clone()),
        ]);
    }
    show::print(&table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_an_address_is_suppressed_is_said_in_words() {
        let said = |class: Class| suppresses(class.suppresses());
        assert_eq!(said(Class::InvalidRecipient), "at once");
        assert_eq!(said(Class::InvalidDomain), "with 2 in a day");
        assert_eq!(said(Class::MailboxFull), "with 5 in 14 days, for 30 days");
        assert_eq!(said(Class::BlockIp), "never");
    }
}

//! Hands a message in as a mail client does, and looks what becomes of it.

mod advice;
mod dialogue;
mod draft;
mod envelope;
mod follow;
mod login;
mod problem;
mod report;
mod submission;
mod target;
mod transaction;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use mail_send::Credentials;
use skein_smtp::address::{Address, ReversePath};

use crate::connect::{self, Server};
use crate::smtp::steps::Steps;
use crate::smtp::{self, tls};
use crate::{admin, duration, show, transport};
use dialogue::{Accepted, Submission};
use draft::{Draft, Field};
use envelope::{Envelope, Notify, Ret};
use problem::Problem;
use report::{Ending, RefusedRecipient, Report};
use target::{Target, TlsMode};

/// A message is in memory as a whole. Four times what a node takes unless set otherwise.
const MESSAGE_BYTES_MAX: u64 = 256 << 20;
/// Longer ones are no passwords (RFC 4954 4: a line of AUTH has 12,288 octets).
const PASSWORD_BYTES_MAX: usize = 4096;

const ENVELOPE: &str = "Envelope";
const MESSAGE: &str = "Message";
const SMTP: &str = "SMTP connection";

#[derive(Debug, Args)]
pub struct Options {
    /// A recipient; may be given again.
    #[arg(long, required = true, value_name = "ADDRESS", value_parser = envelope::address, help_heading = ENVELOPE)]
    to: Vec<Address>,
    /// The return path, where reports go; USER@HOST of this machine unless given, and '' for none.
    #[arg(long, value_name = "ADDRESS", value_parser = envelope::return_path, help_heading = ENVELOPE)]
    from: Option<ReversePath>,
    /// Which reports are asked for (DSN, RFC 3461); several with commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHEN", help_heading = ENVELOPE)]
    notify: Vec<Notify>,
    /// What a report gives back of the message.
    #[arg(long, value_enum, value_name = "PART", help_heading = ENVELOPE)]
    ret: Option<Ret>,
    /// An id of yours that reports tell.
    #[arg(long, value_name = "ID", value_parser = envelope::envid, help_heading = ENVELOPE)]
    envid: Option<String>,
    /// The message goes on only under verified TLS (REQUIRETLS, RFC 8689).
    #[arg(long, help_heading = ENVELOPE)]
    require_tls: bool,
    /// The subject.
    #[arg(long, default_value = "A test by skeinctl send", conflicts_with = "file", help_heading = MESSAGE)]
    subject: String,
    /// The text; what it is and when it was sent, unless given.
    #[arg(long, value_name = "TEXT", conflicts_with = "file", help_heading = MESSAGE)]
    body: Option<String>,
    /// A whole message, header and body; - is the standard input.
    #[arg(long, value_name = "FILE", help_heading = MESSAGE)]
    file: Option<PathBuf>,
    /// A field of the header, such as 'X-Skein-Pool: bulk'; may be given again.
    #[arg(long, value_name = "FIELD", value_parser = draft::field, help_heading = MESSAGE)]
    header: Vec<Field>,
    /// Where the message is handed in. The port is 25 unless given, 587 with --user, 465 with --tls implicit.
    #[arg(long, env = "SKEINCTL_SMTP", default_value = "127.0.0.1:2525", value_name = "HOST[:PORT]", help_heading = SMTP)]
    via: String,
    /// Whether the connection is encrypted.
    #[arg(long, value_enum, default_value = "auto", value_name = "MODE", help_heading = SMTP)]
    tls: TlsMode,
    /// The CA of the server's certificate, a PEM file; beside those of the web and --ca.
    #[arg(long, env = "SKEINCTL_SMTP_CA", value_name = "FILE", help_heading = SMTP)]
    smtp_ca: Option<PathBuf>,
    /// The name that the server's certificate must have: the host of --via, unless given.
    #[arg(long, value_name = "NAME", help_heading = SMTP)]
    tls_name: Option<String>,
    /// Take any certificate: whoever is in between can read the message and the password.
    #[arg(long, help_heading = SMTP)]
    insecure: bool,
    /// The name that is said at EHLO: this machine's, unless given.
    #[arg(long, value_name = "NAME", value_parser = smtp::ehlo_name, help_heading = SMTP)]
    ehlo: Option<String>,
    /// Log in as this user.
    #[arg(long, value_name = "NAME", requires = "password_file", help_heading = SMTP)]
    user: Option<String>,
    /// The file whose first line is the user's password.
    #[arg(long, value_name = "FILE", requires = "user", help_heading = SMTP)]
    password_file: Option<PathBuf>,
    /// Log in without TLS too: whoever listens learns the password.
    #[arg(long, requires = "user", help_heading = SMTP)]
    allow_plaintext_auth: bool,
    /// Ask the admin API for the message's events until it is delivered or bounced to all recipients.
    #[arg(long)]
    follow: bool,
    /// How long all of it may take.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

/// Ends with 0 if the message was taken, and with `--follow` if it was delivered to all.
pub async fn run(server: &Server, options: Options, json: bool) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + options.timeout;
    let admin = match options.follow {
        true => {
            transport::Target::parse(&server.server).map_err(anyhow::Error::msg)?;
            Some(admin::client(&connect::channel(server)?))
        }
        false => None,
    };
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    let submission = submission(server, &options, until, now_ms)?;
    let mut report = Report {
        via: submission.target.to_string(),
        from: submission.envelope.from.to_string(),
        to: options.to.iter().map(ToString::to_string).collect(),
        steps: Vec::new(),
        id: String::new(),
        refused: Vec::new(),
        result: Ending::Refused,
        problem: String::new(),
        todo: String::new(),
        message: None,
    };
    if options.insecure {
        eprintln!(
            "skeinctl: --insecure: NOBODY CHECKS WHO {} IS; whoever is in between can read and change all of it",
            report.via
        );
    }
    let mut steps = Steps::new(!json);
    let submitted = submission::submit(&submission, &mut steps).await;
    report.steps = steps.into_all();
    let accepted = match submitted {
        Ok(accepted) => accepted,
        Err(problem) => return end(report, Some(problem), json),
    };
    report.refused = accepted
        .refused
        .iter()
        .map(RefusedRecipient::from)
        .collect();
    report.result = Ending::Queued;
    report.id.clone_from(&accepted.id);
    if !json {
        println!("queued as {}", show::or_dash(accepted.id.clone()));
    }
    let problem = report::some_refused(&accepted.refused);
    match admin {
        None => end(report, problem, json),
        Some(admin) => {
            let found = follow::follow(admin, &accepted.id, until, !json).await;
            let message = match found {
                Ok(message) => message,
                Err(status) => return not_followed(report, &accepted, status, json),
            };
            let problem = ended(&mut report, message, options.timeout).or(problem);
            end(report, problem, json)
        }
    }
}

/// The status is put into words by who knows the way to the admin API.
fn not_followed(
    mut report: Report,
    accepted: &Accepted,
    status: tonic::Status,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let what = format!(
        "{} took the message as {}, and what becomes of it cannot be told (--server must be the admin API of the same \
         cluster)",
        report.via, accepted.id
    );
    if json {
        report.problem.clone_from(&what);
        report.todo = format!("run `skeinctl message show {}` there", accepted.id);
        show::json(&report)?;
    }
    Err(anyhow::Error::from(status).context(what))
}

/// What is wrong with how it ended.
fn ended(
    report: &mut Report,
    message: skein_wire::v1::Message,
    timeout: Duration,
) -> Option<Problem> {
    let id = report.id.clone();
    let (result, problem) = match follow::outcome(&message) {
        follow::Outcome::Delivered => (Ending::Delivered, None),
        follow::Outcome::Failed => (
            Ending::Bounced,
            Some(Problem::new(
                "the message did not reach every recipient",
                format!("run `skeinctl message show {id}` for the replies"),
            )),
        ),
        follow::Outcome::Waiting => (
            Ending::Waiting,
            Some(Problem::new(
                format!(
                    "still waiting after {}: {}",
                    humantime::format_duration(timeout),
                    follow::waiting(&message)
                ),
                format!("run `skeinctl explain message {id}`"),
            )),
        ),
    };
    report.result = result;
    report.message = Some(message);
    problem
}

fn end(mut report: Report, problem: Option<Problem>, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        if let Some(problem) = &problem {
            report.problem.clone_from(&problem.what);
            report.todo.clone_from(&problem.todo);
        }
        show::json(&report)?;
    } else if report.result == Ending::Delivered {
        println!("delivered");
    }
    match problem {
        None => Ok(ExitCode::SUCCESS),
        Some(problem) => Err(problem.into()),
    }
}

fn submission(
    server: &Server,
    options: &Options,
    until: Instant,
    now_ms: u64,
) -> anyhow::Result<Submission> {
    if options.to.len() > envelope::RECIPIENTS_MAX {
        anyhow::bail!(
            "--to is given {} times; {} recipients are the most of one message",
            options.to.len(),
            envelope::RECIPIENTS_MAX
        );
    }
    let target = Target::parse(&options.via, options.tls, options.user.is_some())?;
    let hostname = smtp::hostname();
    let own = own_address(&hostname);
    let from = options.from.clone().unwrap_or_else(|| own.clone());
    let authors = match &from {
        ReversePath::Address(address) => address.to_string(),
        ReversePath::Null => own.to_string(),
    };
    let message = message(options, &authors, &hostname, now_ms)?;
    let mut files: Vec<(&str, &Path)> = Vec::new();
    files.extend(server.ca.as_deref().map(|file| ("--ca", file)));
    files.extend(options.smtp_ca.as_deref().map(|file| ("--smtp-ca", file)));
    let connector = match options.insecure {
        true => tls::trusting(),
        false => tls::verifying(tls::roots(&files)?),
    };
    Ok(Submission {
        tls: options.tls,
        connector,
        tls_name: options
            .tls_name
            .clone()
            .unwrap_or_else(|| target.host.clone()),
        target,
        ehlo: options.ehlo.clone().unwrap_or(hostname),
        login: login(options)?,
        allows_plaintext_auth: options.allow_plaintext_auth,
        envelope: Envelope {
            from,
            to: options.to.clone(),
            notify: options.notify.clone(),
            ret: options.ret,
            envid: options.envid.clone(),
            requires_tls: options.require_tls,
        },
        message,
        until,
    })
}

fn message(options: &Options, from: &str, hostname: &str, now_ms: u64) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = &options.file {
        let content = read(file).with_context(|| format!("--file {}", file.display()))?;
        return Ok(draft::of_file(content, &options.header));
    }
    let to: Vec<String> = options.to.iter().map(ToString::to_string).collect();
    let id = format!("{now_ms}.{}@{hostname}", std::process::id());
    let usual = || {
        format!(
            "`skeinctl send` on {hostname} wrote this to see whether mail gets through.\r\n\r\nMessage-ID: <{id}>\r\n"
        )
    };
    let body = options.body.clone().unwrap_or_else(usual);
    let draft = Draft {
        from,
        to: &to,
        subject: &options.subject,
        body: &body,
        fields: &options.header,
    };
    Ok(draft.write(now_ms, &id))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = MESSAGE_BYTES_MAX + 1;
    match file == Path::new("-") {
        true => std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut content)?,
        false => std::fs::File::open(file)?
            .take(limit)
            .read_to_end(&mut content)?,
    };
    anyhow::ensure!(
        !content.is_empty(),
        "is empty; a message has a header and a body"
    );
    anyhow::ensure!(
        u64::try_from(content.len()).is_ok_and(|length| length <= MESSAGE_BYTES_MAX),
        "is larger than {}",
        show::bytes(MESSAGE_BYTES_MAX)
    );
    Ok(content)
}

fn login(options: &Options) -> anyhow::Result<Option<Credentials<String>>> {
    let (Some(user), Some(file)) = (&options.user, &options.password_file) else {
        return Ok(None);
    };
    let name = || format!("--password-file {}", file.display());
    let text = std::fs::read_to_string(file).with_context(name)?;
    let password = text.lines().next().unwrap_or_default();
    anyhow::ensure!(
        !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX,
        "{}: its first line is empty or longer than {PASSWORD_BYTES_MAX} octets; it is the password",
        name()
    );
    // PLAIN has a NUL between its parts (RFC 4616).
    anyhow::ensure!(
        !password.contains('\0') && !user.contains('\0'),
        "{}: neither a user nor a password has a NUL",
        name()
    );
    Ok(Some(Credentials::new(user.clone(), password.to_owned())))
}

/// Who runs this program, at this machine.
fn own_address(hostname: &str) -> ReversePath {
    let names = ["USER", "LOGNAME"].into_iter();
    let users = names.filter_map(|name| std::env::var(name).ok());
    let users = users.filter(|user| !user.is_empty());
    let mut tried = users.chain(["skeinctl".to_owned()]);
    let address = tried.find_map(|user| Address::from_parts(&user, hostname).ok());
    address.map_or(ReversePath::Null, ReversePath::Address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_is_one_whatever_the_machine_is_called() {
        for host in ["localhost", "mail-1.example.test", "a"] {
            let address = own_address(host);
            assert!(
                address.to_string().ends_with(&format!("@{host}")),
                "{address}"
            );
        }
    }
}

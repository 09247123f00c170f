//! What may be proposed to a spool group.

use super::command::{Accept, Command, FlushScope, Refile, Report, Told};
use super::import::{Import, ImportStep, ImportedMessage};
use crate::event::{Event, EventKind};
use crate::feature::Feature;
use crate::id::{GroupId, SessionId};
use crate::mail::{BodyRef, Domain, Envelope, Recipient, Reply};
use crate::proposal::{self, Invalid};
use crate::queue::is_site_name;

/// Of an address or a return path: as much as fits into an SMTP command line (RFC 5321 4.5.3.1.4), with room for UTF-8.
const PATH_BYTES_MAX: usize = 1024;
/// Of a reply, with the host that gave it; twice what is kept of one.
const REPLY_BYTES_MAX: usize = 2 * Reply::TEXT_MAX;
/// Of the facts about an attempt.
const FACT_BYTES_MAX: usize = 1024;
/// More than five days of an attempt each tenth of a second.
const ATTEMPTS_MAX: u32 = 1 << 23;
/// Beyond what any disk has: only what is made up comes near.
const BODY_BYTES_MAX: u64 = 1 << 44;
/// What one command may remove; an apply stays short.
const TRIM_MAX: u32 = 1_000_000;

/// Reads a command that is to be proposed to this group.
///
/// # Errors
/// The group could not apply it, or it says what cannot be.
pub fn read_proposed(group: GroupId, command: &[u8]) -> Result<Command, Invalid> {
    let command = proposal::read(command)?;
    check(group, &command)?;
    Ok(command)
}

impl Command {
    /// Whether any control node may ask the leader to propose it. Everything else comes over a service of the leader's own,
    /// which knows who asks and what it is based on.
    pub fn is_forwarded(&self) -> bool {
        matches!(
            self,
            Self::Delete { .. } | Self::Flush(_) | Self::MoveTasks { .. } | Self::Import(_)
        )
    }
}

impl Accept {
    /// What control nodes must know to read it: one that passes over `prefix_bytes` sends signatures as the end of a message.
    pub fn feature(&self) -> Option<Feature> {
        let has_prefix = self.body.prefix_bytes.is_some();
        let is_attributed = self.tasks.iter().any(|task| task.return_path.is_some());
        match is_attributed {
            true => Some(Feature::Attribution),
            false => has_prefix.then_some(Feature::SignedMessages),
        }
    }
}

fn check(group: GroupId, command: &Command) -> Result<(), Invalid> {
    match command {
        Command::Accept(accept) => check_accept(group, accept),
        Command::Report(report) => check_report(group, report),
        Command::OpenSlots(open) => {
            session(open.session)?;
            proposal::slots(&open.slots)
        }
        Command::Delete { message, by } => {
            proposal::message(group, *message)?;
            proposal::name("by", by)
        }
        Command::Flush(FlushScope::Message(message)) => proposal::message(group, *message),
        Command::Flush(FlushScope::Queue(_)) => Ok(()),
        Command::Trim { limit, .. } => match *limit <= TRIM_MAX {
            true => Ok(()),
            false => Err(Invalid::field("limit", "is too large for one command")),
        },
        Command::Refile(refile) => check_refile(group, refile),
        Command::MoveTasks { pool, .. } => proposal::name("pool", pool),
        Command::CountHeld | Command::Keep(_) => Ok(()),
        Command::Told(told) => check_told(group, told),
        Command::Import(import) => check_import(group, import),
    }
}

fn session(id: SessionId) -> Result<(), Invalid> {
    match id == SessionId::NONE {
        true => Err(Invalid::field("session", "stands for no session")),
        false => Ok(()),
    }
}

fn check_accept(group: GroupId, accept: &Accept) -> Result<(), Invalid> {
    proposal::message(group, accept.id)?;
    check_envelope(&accept.envelope)?;
    check_body(&accept.body)?;
    if u32::try_from(accept.tasks.len()).is_err() {
        return Err(Invalid::field("tasks", "are too many"));
    }
    for task in &accept.tasks {
        check_place(&task.domain, task.site.as_deref())?;
        proposal::slot(task.slot)?;
        task.recipients.iter().try_for_each(check_recipient)?;
        optional("return_path", task.return_path.as_deref(), PATH_BYTES_MAX)?;
    }
    Ok(())
}

fn check_told(group: GroupId, told: &Told) -> Result<(), Invalid> {
    proposal::message(group, told.message)?;
    proposal::text("sender", &told.sender, ..=PATH_BYTES_MAX)?;
    proposal::name("tenant", &told.tenant)?;
    if told.news.len() > Told::NEWS_MAX {
        return Err(Invalid::field("news", "are too many for one report"));
    }
    told.news.iter().try_for_each(check_news)
}

fn check_news(news: &EventKind) -> Result<(), Invalid> {
    match news {
        EventKind::OutOfBandBounce {
            recipient, reply, ..
        } => {
            optional("recipient", Some(recipient), PATH_BYTES_MAX)?;
            check_reply(reply)
        }
        EventKind::Complained {
            recipient,
            feedback,
            reporter,
            ..
        } => {
            optional("recipient", Some(recipient), PATH_BYTES_MAX)?;
            optional("feedback", Some(feedback), FACT_BYTES_MAX)?;
            optional("reporter", Some(reporter), FACT_BYTES_MAX)
        }
        _ => Err(Invalid::field("news", "are nothing that comes by mail")),
    }
}

fn check_place(domain: &Domain, site: Option<&str>) -> Result<(), Invalid> {
    proposal::name("domain", domain.as_str())?;
    match site.is_none_or(is_site_name) {
        true => Ok(()),
        false => Err(Invalid::field("site", "is no name that a site can have")),
    }
}

fn check_recipient(recipient: &Recipient) -> Result<(), Invalid> {
    proposal::text("recipient", &recipient.address, 1..=PATH_BYTES_MAX)?;
    optional("orcpt", recipient.orcpt.as_deref(), 2 * PATH_BYTES_MAX)
}

fn check_envelope(envelope: &Envelope) -> Result<(), Invalid> {
    proposal::text("return_path", &envelope.return_path, ..=PATH_BYTES_MAX)?;
    proposal::name("tenant", &envelope.tenant)?;
    proposal::name("pool", &envelope.pool)?;
    optional("campaign", envelope.campaign.as_deref(), FACT_BYTES_MAX)?;
    optional("envid", envelope.envid.as_deref(), FACT_BYTES_MAX)?;
    optional(
        "traceparent",
        envelope.traceparent.as_deref(),
        FACT_BYTES_MAX,
    )?;
    if let Some(client) = &envelope.client {
        optional("helo", Some(&client.helo), PATH_BYTES_MAX)?;
        optional("client", Some(&client.address), FACT_BYTES_MAX)?;
        optional("user", client.user.as_deref(), FACT_BYTES_MAX)?;
    }
    Ok(())
}

/// What is only kept and shown has a bound alone: hosts and clients said it.
fn optional(field: &'static str, text: Option<&str>, bytes_max: usize) -> Result<(), Invalid> {
    match text.is_none_or(|text| text.len() <= bytes_max) {
        true => Ok(()),
        false => Err(Invalid::field(field, "is too long")),
    }
}

fn check_body(body: &BodyRef) -> Result<(), Invalid> {
    if body.bytes > BODY_BYTES_MAX {
        return Err(Invalid::field("body", "is too large"));
    }
    let prefix = body.prefix_bytes.unwrap_or(0);
    match prefix <= BodyRef::PREFIX_BYTES_MAX && u64::from(prefix) <= body.bytes {
        true => Ok(()),
        false => Err(Invalid::field(
            "prefix_bytes",
            "is more than the body or than signatures have",
        )),
    }
}

fn check_report(group: GroupId, report: &Report) -> Result<(), Invalid> {
    proposal::message(group, report.task.message)?;
    proposal::number("epoch", report.epoch.0)?;
    proposal::wait("retry_after", report.retry_after)?;
    let facts = &report.facts;
    if facts.number > ATTEMPTS_MAX {
        return Err(Invalid::field("attempt", "is out of all bounds"));
    }
    proposal::name("domain", facts.domain.as_str())?;
    let told = [&facts.source, &facts.peer, &facts.tls];
    for fact in told.into_iter().chain([&Some(facts.site.clone())]) {
        optional("attempt", fact.as_deref(), FACT_BYTES_MAX)?;
    }
    for outcome in &report.outcomes {
        check_reply(&outcome.reply)?;
    }
    report
        .dsn
        .iter()
        .try_for_each(|dsn| check_accept(group, dsn))
}

fn check_reply(reply: &Reply) -> Result<(), Invalid> {
    optional("reply", Some(&reply.text), REPLY_BYTES_MAX)?;
    optional("reply", reply.host.as_deref(), FACT_BYTES_MAX)
}

fn check_refile(group: GroupId, refile: &Refile) -> Result<(), Invalid> {
    proposal::message(group, refile.task.message)?;
    proposal::number("epoch", refile.epoch.0)?;
    proposal::slot(refile.slot)?;
    match refile.site.as_deref().is_none_or(is_site_name) {
        true => Ok(()),
        false => Err(Invalid::field("site", "is no name that a site can have")),
    }
}

fn check_import(group: GroupId, import: &Import) -> Result<(), Invalid> {
    match &import.step {
        ImportStep::Begin { state, slots } => {
            proposal::time("now", state.now)?;
            proposal::imported_number("next_seq", state.next_seq)?;
            if state.first_seq > state.next_seq {
                return Err(Invalid::field("first_seq", "is beyond next_seq"));
            }
            proposal::imported_slots(slots)
        }
        ImportStep::Events(events) => events.iter().try_for_each(|(seq, message)| {
            proposal::imported_number("seq", *seq)?;
            proposal::message(group, *message)
        }),
        ImportStep::Messages(messages) => messages
            .iter()
            .try_for_each(|message| check_imported(group, message)),
        ImportStep::End => Ok(()),
    }
}

fn check_imported(group: GroupId, message: &ImportedMessage) -> Result<(), Invalid> {
    proposal::message(group, message.id)?;
    check_envelope(&message.row.envelope)?;
    check_body(&message.row.body)?;
    proposal::time("accepted_at", message.row.accepted_at)?;
    proposal::time("finished_at", message.row.finished_at.unwrap_or_default())?;
    let numbers: std::collections::BTreeSet<u32> =
        message.tasks.iter().map(|(number, _)| *number).collect();
    if numbers.len() != message.tasks.len() {
        return Err(Invalid::field("tasks", "two have one number"));
    }
    for (_, task) in &message.tasks {
        check_place(&task.domain, task.site.as_deref())?;
        proposal::slot(task.slot)?;
        proposal::time("due", task.due)?;
        proposal::time("created", task.created)?;
        if task.recipients.is_empty() {
            return Err(Invalid::field("recipients", "a task has at least one"));
        }
        if task.attempts > ATTEMPTS_MAX {
            return Err(Invalid::field("attempts", "is out of all bounds"));
        }
        for (_, recipient) in &task.recipients {
            check_recipient(recipient)?;
        }
        task.last_reply.iter().try_for_each(check_reply)?;
        if let Some(pool) = &task.pool {
            proposal::name("pool", pool)?;
        }
    }
    message
        .history
        .iter()
        .try_for_each(|event| check_event(group, event))
}

fn check_event(group: GroupId, event: &Event) -> Result<(), Invalid> {
    proposal::message(group, event.message)?;
    proposal::imported_number("seq", event.seq)?;
    proposal::time("at", event.at)
}

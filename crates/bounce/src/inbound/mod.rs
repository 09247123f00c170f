//! Messages that come back to return paths: reports, answers of machines, wishes of people.

mod answers;
mod found;
mod html;
mod lines;
mod parts;
mod recipients;
mod returned;
mod sender;
mod ses;
mod status;
mod text_report;
mod words;

use skein_mail::dsn::Action;
use skein_mail::field::field_values;

pub use found::{Inbound, Kind, Recipient, Returned};
#[cfg(test)]
pub(crate) use parts::with_crlf;

use crate::address;
use crate::fold::{decode_words, fold};
use lines::Lines;
use parts::Part;
use skein_model::bounce::Class;
use status::Group;

/// Messages within messages that are looked into for a report: some systems wrap that of another.
const WRAPPED_MAX: usize = 2;

/// Reads a message that was sent to a return path. Of its octets the first MiB count, of its parts 100, of a report's recipients
/// 100.
///
/// ```
/// use skein_bounce::inbound::{Kind, read};
///
/// let report = b"From: MAILER-DAEMON@example.net\r\nSubject: failure notice\r\n\r\n\
///     Hi. This is the qmail-send program at example.net.\r\n\r\n\
///     <user@example.net>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n";
/// let found = read(report);
/// assert_eq!((found.kind, found.recipients[0].address.as_str()), (Kind::Bounce, "user@example.net"));
/// ```
#[must_use]
pub fn read(message: &[u8]) -> Inbound {
    let message = parts::with_crlf(message);
    read_at(&message, 0)
}

/// One message, taken apart.
struct Opened<'a> {
    header: &'a [u8],
    parts: Vec<Part<'a>>,
    lines: Lines<'a>,
}

impl Opened<'_> {
    fn field(&self, name: &str) -> String {
        field_values(self.header, name)
            .into_iter()
            .next()
            .unwrap_or_default()
    }

    fn answer(&self, kind: Kind, format: &'static str) -> Inbound {
        Inbound {
            kind,
            format,
            recipients: Vec::new(),
            returned: returned::returned(self.header, &self.parts, &self.lines, 0),
        }
    }

    fn report(&self, format: &'static str, recipients: Vec<Recipient>, text_end: usize) -> Inbound {
        let returned = returned::returned(self.header, &self.parts, &self.lines, text_end);
        let has = |action| recipients.iter().any(|one| one.action == action);
        let kind = match () {
            () if returned::was_report(&returned.header) => Kind::DoubleBounce,
            () if has(Action::Failed) => Kind::Bounce,
            () if has(Action::Delayed) => Kind::Delayed,
            () => Kind::Delivered,
        };
        Inbound {
            kind,
            format,
            recipients,
            returned,
        }
    }
}

fn read_at(message: &[u8], wrapped: usize) -> Inbound {
    let (header, _) = parts::split_header(message);
    let parts = parts::parts(message);
    let text = text_of(&parts);
    let opened = Opened {
        header,
        parts,
        lines: Lines::new(&text),
    };
    complaint(&opened)
        .or_else(|| standard(&opened))
        .or_else(|| notification(&opened, &text))
        .or_else(|| in_words(&opened))
        .or_else(|| within(&opened, wrapped))
        .or_else(|| answer(&opened, &text))
        .or_else(|| unknown_form(&opened))
        .unwrap_or_else(|| opened.answer(Kind::Other, "none"))
}

/// All text for people, plain text alone where there is any.
fn text_of(parts: &[Part<'_>]) -> String {
    let texts = parts.iter().filter(|part| part.is_text());
    let plain: Vec<_> = texts
        .clone()
        .filter(|part| part.media.subtype != "html")
        .collect();
    let has_plain = plain.iter().any(|part| !part.body.trim_ascii().is_empty());
    let chosen = match has_plain {
        true => plain,
        false => texts.collect(),
    };
    let texts: Vec<String> = chosen.iter().map(|part| part.text()).collect();
    texts.join("\n")
}

fn complaint(opened: &Opened<'_>) -> Option<Inbound> {
    let is_one = opened
        .parts
        .iter()
        .any(|part| part.is("message", "feedback-report"));
    is_one.then(|| opened.answer(Kind::Complaint, "arf"))
}

/// A report of RFC 3464, in a part of its own or as text.
fn standard(opened: &Opened<'_>) -> Option<Inbound> {
    let is_typed = |part: &&Part<'_>| {
        part.media.kind == "message" && part.media.subtype.ends_with("delivery-status")
    };
    let typed = opened.parts.iter().filter(is_typed).map(Part::text);
    let mut groups: Vec<Group> = typed.flat_map(|text| status::groups(&text)).collect();
    if groups.is_empty() {
        // A person may quote one.
        if !sender::is_mail_system(opened.header) {
            return None;
        }
        let others = opened
            .parts
            .iter()
            .filter(|part| !part.is_returned())
            .map(Part::text);
        let report = others.into_iter().find(|text| status::is_report(text))?;
        groups = status::groups(&report);
    }
    groups.truncate(status::RECIPIENTS_MAX);
    let recipients: Vec<Recipient> = groups
        .into_iter()
        .filter_map(|group| recipients::of_group(group, &opened.lines))
        .collect();
    let end = text_report::end_of(&opened.lines, &[], 0);
    (!recipients.is_empty()).then(|| opened.report("rfc3464", recipients, end))
}

fn notification(opened: &Opened<'_>, text: &str) -> Option<Inbound> {
    let found = text
        .trim_start()
        .starts_with('{')
        .then(|| ses::read(text))
        .flatten()?;
    if found.is_complaint {
        return Some(opened.answer(Kind::Complaint, "ses"));
    }
    let groups = found.groups.into_iter();
    let recipients: Vec<Recipient> = groups
        .filter_map(|group| recipients::of_group(group, &Lines::new("")))
        .collect();
    let mut report = opened.report("ses", recipients, 0);
    report.returned.return_path = found.return_path;
    report.returned.message_id = found.message_id;
    Some(report)
}

/// A report in words of a known form. A person may quote one, so it must be of a mail system.
fn in_words(opened: &Opened<'_>) -> Option<Inbound> {
    if !sender::is_mail_system(opened.header) {
        return None;
    }
    let failed = failed_recipients(opened);
    let field = |name: &str| opened.field(name);
    let mut found = text_report::read(&opened.lines, field, !failed.is_empty())?;
    for address in failed {
        if !found.named.iter().any(|one| one.address == address) {
            found.named.push(text_report::Named::without_words(address));
        }
    }
    of_words(opened, found)
}

/// X-Failed-Recipients of Exim and Gmail.
fn failed_recipients(opened: &Opened<'_>) -> Vec<String> {
    let values = field_values(opened.header, "X-Failed-Recipients");
    let addresses = values.iter().flat_map(|value| value.split(','));
    let found: Vec<String> = addresses.filter_map(address::in_text).collect();
    found.into_iter().take(status::RECIPIENTS_MAX).collect()
}

/// The address that a report went to is none that it is about. Whom it is about if it names nobody else, a token may tell.
fn of_words(opened: &Opened<'_>, mut found: text_report::TextReport) -> Option<Inbound> {
    let own = address::in_text(&opened.field("To"));
    found
        .named
        .retain(|named| Some(&named.address) != own.as_ref());
    if found.named.is_empty() {
        found
            .named
            .push(text_report::Named::without_words(String::new()));
    }
    let subject = fold(&decode_words(&opened.field("Subject")));
    let is_delay = words::reports()
        .delays
        .iter()
        .any(|phrase| subject.contains(phrase));
    let action = match is_delay {
        true => Action::Delayed,
        false => found.action,
    };
    let recipients: Vec<Recipient> = found
        .named
        .into_iter()
        .take(status::RECIPIENTS_MAX)
        .map(|named| recipients::of_named(named, &found.words, action))
        .collect();
    (!recipients.is_empty()).then(|| opened.report(found.format, recipients, found.end))
}

/// The report in a message within, if it has one.
fn within(opened: &Opened<'_>, wrapped: usize) -> Option<Inbound> {
    if wrapped == WRAPPED_MAX || !sender::is_mail_system(opened.header) {
        return None;
    }
    let messages = opened
        .parts
        .iter()
        .filter(|part| part.is("message", "rfc822"));
    let found = messages.take(WRAPPED_MAX).map(|part| {
        let inner = parts::with_crlf(&part.octets());
        read_at(&inner, wrapped + 1)
    });
    found
        .into_iter()
        .find(|inner| matches!(inner.kind, Kind::Bounce | Kind::Delayed | Kind::Delivered))
}

fn answer(opened: &Opened<'_>, text: &str) -> Option<Inbound> {
    let header = opened.header;
    let kind = match () {
        () if answers::is_challenge(header, text) => Kind::Challenge,
        () if answers::is_unsubscribe(header, text) => Kind::UnsubscribeRequest,
        () if answers::is_auto_reply(header) => Kind::AutoReply,
        () => return None,
    };
    Some(opened.answer(kind, "none"))
}

/// Whatever a mail system says in words of its own. What is said must be known.
fn unknown_form(opened: &Opened<'_>) -> Option<Inbound> {
    if !sender::is_mail_system(opened.header) {
        return None;
    }
    let mut found = text_report::of_no_form(&opened.lines);
    let of_header = failed_recipients(opened);
    let is_sure = !of_header.is_empty() || found.is_marked;
    if found.named.is_empty() {
        let named = of_header.into_iter().map(text_report::Named::without_words);
        found.named = named.collect();
    }
    let report = of_words(opened, found)?;
    let is_known = |one: &Recipient| one.classified.class != Class::Other;
    (is_sure || report.recipients.iter().any(is_known)).then_some(report)
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;

//! The fields of delivery status reports (RFC 3464, RFC 6533), as they are really written.

use skein_mail::dsn::Action;
use skein_smtp::reply::Enhanced;

use crate::address::of_field;
use crate::fold::{cut, decode_words};

/// Recipients of one report; a message of ours has one, and no server reports on more than a transaction holds.
pub(crate) const RECIPIENTS_MAX: usize = 100;
/// Octets of a field's value. Diagnostics of several lines have some 1000.
const VALUE_BYTES_MAX: usize = 4096;
/// Fields of a report: some ten of each recipient.
const FIELDS_MAX: usize = 2000;

/// What a report has on one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub final_recipient: Option<String>,
    pub original_recipient: Option<String>,
    pub action: Option<Action>,
    pub status: Option<Enhanced>,
    pub diagnostic: Option<String>,
    /// Status with what stands behind the code, where some say it all.
    pub comment: Option<String>,
    pub remote_mta: Option<String>,
}

impl Group {
    /// Whether it says anything of a recipient.
    fn has_recipient(&self) -> bool {
        self.final_recipient.is_some() || self.original_recipient.is_some()
    }
}

/// Whether a text has the fields of a report.
pub(crate) fn is_report(text: &str) -> bool {
    let mut names = text
        .lines()
        .filter_map(field)
        .map(|(name, _)| name.to_ascii_lowercase());
    let mut found = (false, false);
    names.any(|name| {
        match name.as_str() {
            "final-recipient" | "original-recipient" => found.0 = true,
            "action" | "status" | "reporting-mta" => found.1 = true,
            _ => {}
        }
        found == (true, true)
    })
}

/// The recipients of a report. An empty line ends a group, and so does a field that it has already: some write no empty lines.
pub(crate) fn groups(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut group = Group::default();
    for line in fields(text) {
        let is_next = match &line {
            None => true,
            Some((name, _)) => match name.as_str() {
                "final-recipient" => group.final_recipient.is_some(),
                "original-recipient" => {
                    group.original_recipient.is_some() || group.status.is_some()
                }
                _ => false,
            },
        };
        if is_next {
            finish(&mut groups, &mut group);
        }
        if let Some((name, value)) = line {
            take(&mut group, &name, &value);
        }
    }
    finish(&mut groups, &mut group);
    groups.truncate(RECIPIENTS_MAX);
    groups
}

/// Ends a group. One without a recipient goes on with what was said of the last, if an empty line came in between.
fn finish(groups: &mut Vec<Group>, group: &mut Group) {
    let ended = std::mem::take(group);
    if ended.has_recipient() {
        if groups.len() < RECIPIENTS_MAX {
            groups.push(ended);
        }
        return;
    }
    let Some(last) = groups.last_mut() else {
        return;
    };
    last.action = last.action.or(ended.action);
    last.status = last.status.or(ended.status);
    last.diagnostic = last.diagnostic.take().or(ended.diagnostic);
    last.comment = last.comment.take().or(ended.comment);
    last.remote_mta = last.remote_mta.take().or(ended.remote_mta);
}

fn take(group: &mut Group, name: &str, value: &str) {
    match name {
        "final-recipient" => group.final_recipient = of_field(value),
        "original-recipient" => group.original_recipient = of_field(value),
        // What Sendmail and others add where the final recipient is no address of the Internet.
        "x-actual-recipient" | "x-display-name" if group.final_recipient.is_none() => {
            group.final_recipient = of_field(value);
        }
        "action" => group.action = group.action.or(action(value)),
        "status" => {
            group.status = group.status.or(status(value));
            group.comment.get_or_insert_with(|| value.to_owned());
        }
        "diagnostic-code" => {
            let diagnostic = decode_words(value);
            group.diagnostic.get_or_insert(diagnostic);
        }
        "remote-mta" => {
            let host = value.split_once(';').map_or(value, |(_, host)| host);
            let host = host.split_whitespace().next().unwrap_or_default();
            group.remote_mta = Some(host.to_owned()).filter(|host| !host.is_empty());
        }
        _ => {}
    }
}

/// Fields with their names in lower case, unfolded; None for an empty line. A line that is no field goes on with the one before.
fn fields(text: &str) -> Vec<Option<(String, String)>> {
    let mut found: Vec<Option<(String, String)>> = Vec::new();
    for line in text.lines() {
        if found.len() >= FIELDS_MAX {
            break;
        }
        if line.trim().is_empty() {
            found.push(None);
            continue;
        }
        let is_folded = line.starts_with([' ', '\t']);
        match field(line).filter(|_| !is_folded) {
            Some((name, value)) => {
                let value = cut(value.trim(), VALUE_BYTES_MAX).to_owned();
                found.push(Some((name.to_ascii_lowercase(), value)));
            }
            None => {
                if let Some(Some((_, value))) = found.last_mut()
                    && value.len() < VALUE_BYTES_MAX
                {
                    value.push(' ');
                    value.push_str(cut(line.trim(), VALUE_BYTES_MAX));
                }
            }
        }
    }
    found
}

/// Names of fields have letters and hyphens; an address of a page has none of these.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    let is_known = name.contains('-')
        || ["action", "status", "date"].contains(&name.to_ascii_lowercase().as_str());
    (is_name && is_known).then_some((name, value))
}

fn action(value: &str) -> Option<Action> {
    let word = value
        .split(|c: char| !c.is_ascii_alphabetic())
        .find(|word| !word.is_empty())?;
    Some(match word.to_ascii_lowercase().as_str() {
        "failed" | "failure" | "fail" | "expired" | "undeliverable" | "bounced" | "rejected"
        | "error" => Action::Failed,
        "delayed" | "delay" | "deferred" | "temporary" => Action::Delayed,
        "delivered" | "deliverable" | "success" => Action::Delivered,
        "relayed" => Action::Relayed,
        "expanded" => Action::Expanded,
        _ => return None,
    })
}

/// `5.1.1`, `5.0.0 (text)`, `smtp;5.1.1`.
fn status(value: &str) -> Option<Enhanced> {
    value
        .split(|c: char| c.is_whitespace() || "();,".contains(c))
        .find_map(|word| Enhanced::parse(word.trim_matches('#')))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;

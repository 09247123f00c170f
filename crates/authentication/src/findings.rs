//! What was found of a message, the field that tells of it, and what may follow from it. Pure.

use std::fmt::Write;
use std::net::IpAddr;

/// The words of RFC 8601 2.7 for results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    None,
    Pass,
    Fail,
    SoftFail,
    Neutral,
    Policy,
    TempError,
    PermError,
}

impl Word {
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Pass,
        Self::Fail,
        Self::SoftFail,
        Self::Neutral,
        Self::Policy,
        Self::TempError,
        Self::PermError,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::Policy => "policy",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// Of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimFinding {
    pub result: Word,
    /// d=, s= and the beginning of b=; empty for one that cannot be read.
    pub domain: String,
    pub selector: String,
    pub begin: String,
    /// Why, in words that need no quotes.
    pub why: &'static str,
}

/// What the domain of the author asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DmarcPolicy {
    #[default]
    None,
    Quarantine,
    Reject,
}

impl DmarcPolicy {
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcFinding {
    pub result: Word,
    /// Of the author; empty where there is not one.
    pub domain: String,
    pub policy: DmarcPolicy,
}

/// What was found of a message and its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    pub client: IpAddr,
    pub helo: String,
    /// Empty: of a report.
    pub mail_from: String,
    pub iprev: Word,
    pub spf_helo: Word,
    pub spf_mail_from: Word,
    pub dkim: Vec<DkimFinding>,
    pub dmarc: DmarcFinding,
    /// What the chain of ARC says, where there is one.
    pub arc: Option<Word>,
}

impl Findings {
    /// Whether a report may go to the return path: its domain sent the message. To any other it would go to somebody who has
    /// nothing to do with it (RFC 3834 4, RFC 5321 6.1).
    pub fn is_return_path_authentic(&self) -> bool {
        let Some((_, domain)) = self.mail_from.rsplit_once('@') else {
            return false;
        };
        if self.spf_mail_from == Word::Pass {
            return true;
        }
        // The author's domain is proved, and the return path is of that domain or below it.
        self.dmarc.result == Word::Pass && is_within(domain, &self.dmarc.domain)
    }

    /// Whether the domain of the author has it refused. A failure that may be over later is none.
    pub fn is_to_be_rejected(&self) -> bool {
        let is_unsure = self.spf_mail_from == Word::TempError
            || self.dkim.iter().any(|one| one.result == Word::TempError);
        self.dmarc.result == Word::Fail && self.dmarc.policy == DmarcPolicy::Reject && !is_unsure
    }

    /// A complete Authentication-Results field of this host (RFC 8601), in ASCII whatever the client said.
    pub fn field(&self, host: &str) -> String {
        let mut field = format!("Authentication-Results: {host}");
        // Writing to a string does not fail.
        let mut say = |text: std::fmt::Arguments<'_>| {
            let _ = write!(field, ";\r\n\t{text}");
        };
        say(format_args!(
            "iprev={} policy.iprev={}",
            self.iprev.name(),
            quoted(&self.client.to_string())
        ));
        let helo = host_value(&self.helo);
        say(format_args!(
            "spf={}{}",
            self.spf_helo.name(),
            property("smtp.helo", &helo)
        ));
        if !self.mail_from.is_empty() {
            let from = address_value(&self.mail_from);
            say(format_args!(
                "spf={}{}",
                self.spf_mail_from.name(),
                property("smtp.mailfrom", &from)
            ));
        }
        for one in &self.dkim {
            let why = match one.why {
                "" => String::new(),
                why => format!(" ({why})"),
            };
            say(format_args!(
                "dkim={}{why}{}{}{}",
                one.result.name(),
                property("header.d", &host_value(&one.domain)),
                property("header.s", &host_value(&one.selector)),
                property("header.b", &quoted(&one.begin))
            ));
        }
        if self.dkim.is_empty() {
            say(format_args!("dkim=none"));
        }
        if let Some(arc) = self.arc {
            say(format_args!("arc={}", arc.name()));
        }
        let DmarcFinding {
            result,
            domain,
            policy,
        } = &self.dmarc;
        let policy = match result {
            Word::None => String::new(),
            _ => format!(" policy.dmarc={}", policy.name()),
        };
        say(format_args!(
            "dmarc={}{}{policy}",
            result.name(),
            property("header.from", &host_value(domain))
        ));
        field.push_str("\r\n");
        field
    }
}

/// Nothing for a value that there is not.
fn property(name: &str, value: &str) -> String {
    match value {
        "" | "\"\"" => String::new(),
        value => format!(" {name}={value}"),
    }
}

/// A domain that is the other one, or below it.
fn is_within(domain: &str, outer: &str) -> bool {
    let (domain, outer) = (domain.to_ascii_lowercase(), outer.to_ascii_lowercase());
    !outer.is_empty()
        && (domain == outer
            || domain
                .strip_suffix(&outer)
                .is_some_and(|rest| rest.ends_with('.')))
}

/// A name in the DNS or an address literal; anything else is not repeated.
fn host_value(text: &str) -> String {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_literal = |byte: u8| is_name(byte) || b"[]:".contains(&byte);
    match () {
        () if text.is_empty() || text.len() > 255 => String::new(),
        () if text.bytes().all(is_name) => text.to_owned(),
        () if text.bytes().all(is_literal) => quoted(text),
        () => String::new(),
    }
}

/// An address that no reader takes for something else, or its domain alone.
fn address_value(text: &str) -> String {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return String::new();
    };
    let domain = host_value(domain);
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/?^_`{|}~.".contains(&byte);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"+-_.".contains(&byte);
    match () {
        () if domain.is_empty() || domain.starts_with('"') => domain,
        () if local.bytes().all(is_word) => format!("{local}@{domain}"),
        () if local.bytes().all(|byte| is_plain(byte) || byte == b'=') => {
            format!("\"{local}\"@{domain}")
        }
        () => domain,
    }
}

fn quoted(text: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_word) {
        return text.to_owned();
    }
    let plain = text
        .chars()
        .filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\' | ';'));
    format!("\"{}\"", plain.collect::<String>())
}

#[cfg(test)]
#[path = "findings_tests.rs"]
mod tests;

//! A provider: how one of those who host many domains wants its mail.

use std::sync::Arc;

use crate::automation::{self, Automation, Rule};
use crate::limits::{self, Limits, value};
use crate::names::Pattern;
use crate::place::{At, Kind, Origin};
use crate::read::{Keys, Reader};
use crate::reply_pattern;
use crate::timeouts::{Timeouts, TimeoutsGiven};
use crate::write::Map;

/// The provider whose figures hold for each site that has no other, and wherever another says nothing.
pub const DEFAULT: &str = "default";
/// More host suffixes, or domains, than any provider has.
pub const PATTERNS_MAX: usize = 256;
/// A connection that goes on for ever would never see a new limit.
const MESSAGES_MAX: u32 = 100_000;
/// What hosts take ends far below; RFC 5321 4.5.3.1.8 asks them for 100.
const RECIPIENTS_MAX: u32 = 10_000;

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    /// With any certificate, and in the clear where the host offers none.
    #[default]
    Opportunistic,
    /// With any certificate; mail waits where the host offers none.
    Encrypt,
    /// With a certificate that is valid for the MX host; mail waits where there is none.
    Require,
    Disable,
}

impl Tls {
    pub fn name(self) -> &'static str {
        match self {
            Self::Opportunistic => "opportunistic",
            Self::Encrypt => "encrypt",
            Self::Require => "require",
            Self::Disable => "disable",
        }
    }

    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let all = [
            Self::Opportunistic,
            Self::Encrypt,
            Self::Require,
            Self::Disable,
        ];
        let found = all.into_iter().find(|tls| tls.name() == text);
        found.ok_or_else(|| "must be opportunistic, encrypt, require or disable".into())
    }
}

/// What a resource says. Each key may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProviderGiven {
    /// Adds to the built-in provider of this name, instead of taking its place.
    pub extends: Option<Arc<Origin>>,
    pub mx: Vec<At<Pattern>>,
    pub domains: Vec<At<Pattern>>,
    pub per_ip: Limits,
    pub total: Limits,
    messages_per_connection: Option<At<u32>>,
    recipients_per_message: Option<At<u32>>,
    tls: Option<At<Tls>>,
    timeouts: TimeoutsGiven,
    pub automation: Vec<Rule>,
}

impl ProviderGiven {
    pub fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        let extends = match keys.is_set(reader, "extends") {
            true => {
                let line = keys.line_of("extends").unwrap_or(keys.line);
                Some(Arc::new(reader.origin(line, "extends")))
            }
            false => None,
        };
        Self {
            extends,
            mx: keys
                .list(reader, "mx", PATTERNS_MAX, Pattern::of_hosts)
                .unwrap_or_default(),
            domains: keys
                .list(reader, "domains", PATTERNS_MAX, Pattern::of_domains)
                .unwrap_or_default(),
            per_ip: Limits::read(reader, keys, "per_ip"),
            total: Limits::read(reader, keys, "total"),
            messages_per_connection: keys.whole(
                reader,
                "messages_per_connection",
                1..=MESSAGES_MAX,
            ),
            recipients_per_message: keys.whole(
                reader,
                "recipients_per_message",
                1..=RECIPIENTS_MAX,
            ),
            tls: keys.value(reader, "tls", Tls::read),
            timeouts: TimeoutsGiven::read(reader, keys),
            automation: automation::read(reader, keys),
        }
    }

    /// What `self` does not say is as in `base`; its rules come before those of `base`.
    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let own = self.figures_over(base);
        let or = |own: &[At<Pattern>], base: &[At<Pattern>]| match own.is_empty() {
            true => base.to_vec(),
            false => own.to_vec(),
        };
        Self {
            mx: or(&self.mx, &base.mx),
            domains: or(&self.domains, &base.domains),
            automation: [self.automation.as_slice(), &base.automation].concat(),
            ..own
        }
    }

    /// Like [`Self::over`], but for what is matched and for rules.
    pub fn figures_over(&self, base: &Self) -> Self {
        Self {
            extends: self.extends.clone(),
            mx: self.mx.clone(),
            domains: self.domains.clone(),
            per_ip: self.per_ip.over(&base.per_ip),
            total: self.total.over(&base.total),
            messages_per_connection: self
                .messages_per_connection
                .as_ref()
                .or(base.messages_per_connection.as_ref())
                .cloned(),
            recipients_per_message: self
                .recipients_per_message
                .as_ref()
                .or(base.recipients_per_message.as_ref())
                .cloned(),
            tls: self.tls.as_ref().or(base.tls.as_ref()).cloned(),
            timeouts: self.timeouts.over(&base.timeouts),
            automation: self.automation.clone(),
        }
    }

    /// Who says each figure.
    pub fn origins(&self) -> Vec<&Arc<Origin>> {
        let patterns = self.mx.iter().chain(&self.domains).map(|at| &at.origin);
        let numbers = [&self.messages_per_connection, &self.recipients_per_message];
        let numbers = numbers.into_iter().flatten().map(|at| &at.origin);
        let tls = self.tls.as_ref().map(|at| &at.origin);
        patterns
            .chain(self.per_ip.origins())
            .chain(self.total.origins())
            .chain(numbers)
            .chain(tls)
            .chain(self.timeouts.origins())
            .collect()
    }

    /// As YAML text.
    pub fn text(&self, name: &str) -> String {
        self.write(Map::of(Kind::Provider, name)).text()
    }

    /// Checks `self`, with what it extends.
    pub fn check(&self, reader: &mut Reader) {
        limits::check_below(reader, &self.per_ip, &self.total);
        let is_default = &*reader.name == DEFAULT;
        let line = reader.place.line;
        let matches_some = !self.mx.is_empty() || !self.domains.is_empty();
        match (is_default, matches_some) {
            (true, true) => {
                reader.fault(
                    line,
                    "",
                    "holds for all other sites: leave mx and domains out",
                );
            }
            (false, false) => {
                reader.fault(
                    line,
                    "",
                    "matches nothing: give mx or domains, or extends: true",
                );
            }
            _ => {}
        }
        if self.automation.len() > automation::RULES_MAX {
            let message = format!(
                "has {} rules with those that it extends: {} at most",
                self.automation.len(),
                automation::RULES_MAX
            );
            reader.fault(line, "automation", message);
        }
    }

    pub fn write(&self, map: Map) -> Map {
        let mx = self.mx.iter().map(|pattern| pattern.value.host_text());
        let domains = self
            .domains
            .iter()
            .map(|pattern| pattern.value.domain_text());
        map.set_if("extends", self.extends.as_ref().map(|_| true))
            .list("mx", mx)
            .list("domains", domains)
            .map("per_ip", self.per_ip.write())
            .map("total", self.total.write())
            .set_if(
                "messages_per_connection",
                value(&self.messages_per_connection),
            )
            .set_if(
                "recipients_per_message",
                value(&self.recipients_per_message),
            )
            .set_if("tls", value(&self.tls).map(Tls::name))
            .map("timeouts", self.timeouts.write())
            .maps("automation", automation::write(&self.automation))
    }
}

/// A provider with everything filled in: what it says, then what the built-in one says that it extends, then what
/// `default` says.
#[derive(Debug, Clone)]
pub struct Provider {
    pub name: Arc<str>,
    pub mx: Vec<Pattern>,
    pub domains: Vec<Pattern>,
    /// Of one IP at the site.
    pub per_ip: Limits,
    /// Of all IPs at the site.
    pub total: Limits,
    /// None: any number.
    pub messages_per_connection: Option<At<u32>>,
    /// None: any number.
    pub recipients_per_message: Option<At<u32>>,
    pub tls: Tls,
    pub timeouts: Timeouts,
    own: Automation,
    /// The rules of `default`, which all providers share.
    common: Arc<Automation>,
}

impl Provider {
    /// `default` without its rules, which are `common`.
    pub(crate) fn new(
        name: Arc<str>,
        merged: &ProviderGiven,
        default: &ProviderGiven,
        common: &Arc<Automation>,
    ) -> Self {
        let is_default = &*name == DEFAULT;
        let filled = merged.figures_over(default);
        let values =
            |patterns: &[At<Pattern>]| patterns.iter().map(|at| at.value.clone()).collect();
        let own = match is_default {
            true => Vec::new(),
            false => merged.automation.clone(),
        };
        Self {
            name,
            mx: values(&merged.mx),
            domains: values(&merged.domains),
            per_ip: filled.per_ip,
            total: filled.total,
            messages_per_connection: filled.messages_per_connection,
            recipients_per_message: filled.recipients_per_message,
            tls: value(&filled.tls).unwrap_or_default(),
            timeouts: filled.timeouts.timeouts(),
            own: Automation::new(own),
            common: Arc::clone(common),
        }
    }

    /// None for `default`, whose rules are everybody's.
    pub fn own_rules(&self) -> &[Rule] {
        &self.own.rules
    }

    /// Its own rules, then those of `default`.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.own.rules.iter().chain(&self.common.rules)
    }

    /// The first rule that matches a reply, with its place in [`Self::rules`].
    ///
    /// `reply` is code, enhanced code if there is one, and text, with spaces between them. Linear in its length.
    pub fn reaction(&self, reply: &str) -> Option<(usize, &Rule)> {
        let reply = reply_pattern::one_line(reply);
        if let Some(nth) = self.own.first(&reply) {
            return Some((nth, &self.own.rules[nth]));
        }
        let nth = self.common.first(&reply)?;
        Some((self.own.rules.len() + nth, &self.common.rules[nth]))
    }
}

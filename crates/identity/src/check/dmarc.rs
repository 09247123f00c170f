//! DMARC: the policy of the domain or of one above it, by the tree walk of RFC 9989, and who takes reports (RFC 9990).

use super::Check;
use super::published::Kind;
use crate::dns::{Answer, Question, RecordType, Source};
use crate::finding::{Finding, Id};
use crate::records::{Purpose, Record};

/// RFC 9989 bounds the queries of a walk.
const WALK_MAX: usize = 8;
/// Report addresses that are looked at; receivers send to two at least.
const ADDRESSES_MAX: usize = 5;

/// A record and whose it is.
struct Policy {
    domain: String,
    text: String,
}

impl Policy {
    fn tag(&self, name: &str) -> Option<&str> {
        tag(&self.text, name)
    }
}

fn tag<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut tags = text.split(';').filter_map(|tag| tag.split_once('='));
    tags.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The domains whose records are asked for: the domain itself, then with one label less each time. A long name goes on with its
/// last seven labels.
fn walk(domain: &str) -> Vec<&str> {
    let (mut names, mut rest) = (vec![domain], domain);
    while let Some((_, above)) = rest.split_once('.') {
        rest = above;
        if rest.split('.').count() < WALK_MAX {
            names.push(rest);
        }
    }
    names
}

fn is_dmarc(text: &str) -> bool {
    tag(text, "v") == Some("DMARC1") && text.trim_start().starts_with('v')
}

impl<'a> Check<'a> {
    pub fn dmarc(&mut self) {
        let records = self.expected_of(Purpose::Dmarc, RecordType::Txt);
        let Some(record) = records.first() else {
            return;
        };
        let Some(policy) = self.policy(record) else {
            return;
        };
        let name = format!("_dmarc.{}", policy.domain);
        let question = Question::new(Source::Resolver, &name, RecordType::Txt);
        let found = [policy.text.clone()];
        let policies = ["none", "quarantine", "reject"];
        let p = policy.tag("p").map(str::to_ascii_lowercase);
        let is_valid = match &p {
            Some(p) => policies.contains(&p.as_str()),
            None => policy.tag("rua").is_some(),
        };
        if !is_valid {
            self.find(Id::DmarcInvalid, &question, &found, record);
        }
        if ["pct", "rf", "ri"]
            .iter()
            .any(|removed| policy.tag(removed).is_some())
        {
            self.find(Id::DmarcRemovedTag, &question, &found, record);
        }
        if policy
            .tag("aspf")
            .is_some_and(|aspf| aspf.eq_ignore_ascii_case("s"))
        {
            self.find(Id::DmarcStrictSpf, &question, &found, record);
        }
        self.report_addresses(&policy);
    }

    /// Finds the policy that applies, or says what keeps it from being found.
    fn policy(&mut self, record: &Record) -> Option<Policy> {
        let domain = &self.domain.name;
        for name in walk(domain) {
            let question = format!("_dmarc.{name}");
            let answer = match name == domain.as_str() {
                // What is published counts; the resolver may not see it yet.
                true => self.own_record(record)?,
                false => self.lookups.resolver(&question, RecordType::Txt)?,
            };
            let found: Vec<_> = answer
                .records()
                .iter()
                .filter(|text| is_dmarc(text))
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => {
                    return Some(Policy {
                        domain: name.to_owned(),
                        text: (*one).clone(),
                    });
                }
                several => {
                    let texts: Vec<_> = several.iter().map(|text| (*text).clone()).collect();
                    let question = Question::new(Source::Resolver, &question, RecordType::Txt);
                    self.find(Id::DmarcMultiple, &question, &texts, record);
                    return None;
                }
            }
        }
        let kind = Kind {
            missing: Id::DmarcMissing,
            doubled: Id::DoubledName,
        };
        self.published(record, &kind, |_| Some(Id::DmarcInvalid));
        None
    }

    fn own_record(&mut self, record: &Record) -> Option<&'a Answer> {
        let both = self.lookups.both(&record.name, RecordType::Txt)?;
        let has_one = |answer: &Answer| answer.records().iter().any(|text| is_dmarc(text));
        if has_one(both.home) && *both.away == Answer::Nothing {
            let question = Question::new(Source::Resolver, &record.name, RecordType::Txt);
            self.find(Id::NotEverywhere, &question, &[], record);
        }
        Some(match both.home {
            Answer::Failed(_) => both.away,
            home => home,
        })
    }

    fn report_addresses(&mut self, policy: &Policy) {
        let addresses = policy
            .tag("rua")
            .unwrap_or_default()
            .split(',')
            .take(ADDRESSES_MAX);
        for address in addresses {
            let address = address.trim().split('!').next().unwrap_or_default();
            let mail = address
                .strip_prefix("mailto:")
                .and_then(|mail| mail.rsplit_once('@'));
            let Some((_, host)) = mail else {
                continue;
            };
            let host = host.to_ascii_lowercase();
            if self.is_same_organisation(&policy.domain, &host) != Some(false) {
                continue;
            }
            let name = format!("{}._report._dmarc.{host}", policy.domain);
            let Some(answer) = self.lookups.resolver(&name, RecordType::Txt) else {
                continue;
            };
            if !answer.records().iter().any(|text| is_dmarc(text)) {
                self.findings.push(Finding {
                    id: Id::DmarcRuaUnauthorised,
                    asked: Question::new(Source::Resolver, &name, RecordType::Txt).to_string(),
                    found: answer.records().to_vec(),
                    expected: "v=DMARC1".into(),
                    paste: Some(format!("{name}. 3600 IN TXT \"v=DMARC1\"")),
                });
            }
        }
    }

    fn is_same_organisation(&mut self, one: &str, other: &str) -> Option<bool> {
        let is_below = |name: &str, above: &str| {
            let rest = name.strip_suffix(above);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if is_below(one, other) || is_below(other, one) {
            return Some(true);
        }
        let (one, other) = (self.organisation(one), self.organisation(other));
        Some(one? == other?)
    }

    /// The organisational domain: that of a record with psd=n, the one below a record with psd=y, else the highest that has
    /// a record, else the domain itself.
    fn organisation(&mut self, domain: &str) -> Option<String> {
        let (mut highest, mut below) = (None, domain);
        for name in walk(domain) {
            let question = format!("_dmarc.{name}");
            let answer = self.lookups.resolver(&question, RecordType::Txt)?;
            let mut found = answer.records().iter().filter(|text| is_dmarc(text));
            if let (Some(text), None) = (found.next(), found.next()) {
                match tag(text, "psd") {
                    Some("n") => return Some(name.to_owned()),
                    Some("y") => return Some(below.to_owned()),
                    _ => highest = Some(name),
                }
            }
            below = name;
        }
        Some(highest.unwrap_or(domain).to_owned())
    }
}

//! The SPF record of the domain itself (RFC 7208). Mail of Skein goes by that of the return path; this one is judged because
//! other mail of the domain goes by it, and an `include` of ours would count there.

use super::Check;
use crate::dns::{Answer, Question, RecordType, Source};
use crate::finding::{Finding, Id};

/// RFC 7208 4.6.4.
const LOOKUPS_MAX: usize = 10;
const VOIDS_MAX: usize = 2;
/// Terms of a record, and of those it includes, that are looked up to count them: four times what is allowed.
pub const TERMS_MAX: usize = 40;

pub fn is_spf(text: &str) -> bool {
    let mut words = text.split(' ');
    words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("v=spf1"))
}

/// What the terms of a record come to.
#[derive(Default)]
struct Evaluation {
    /// Each term that is looked up, with the domain whose record it is in.
    lookups: Vec<String>,
    voids: Vec<String>,
    broken: Vec<String>,
    /// `domain: record`
    multiple: Vec<String>,
    plus_all: Vec<String>,
    is_unfinished: bool,
}

impl Check<'_> {
    pub fn spf_of_domain(&mut self) {
        let domain = self.domain.name.clone();
        let Some(answer) = self.lookups.resolver(&domain, RecordType::Txt) else {
            return;
        };
        let own: Vec<_> = answer
            .records()
            .iter()
            .filter(|text| is_spf(text))
            .cloned()
            .collect();
        let mut evaluation = Evaluation::default();
        match own.as_slice() {
            [] => return,
            [one] => self.evaluate(&domain, one, &mut evaluation),
            several => evaluation.multiple.extend_from_slice(several),
        }
        if evaluation.is_unfinished {
            return;
        }
        let lookups = evaluation.lookups.len();
        let voids = evaluation.voids.len();
        let count =
            |count, list: &[String]| [vec![format!("{count} in all")], list.to_vec()].concat();
        for (id, is_so, found, expected) in [
            (
                Id::SpfMultiple,
                !evaluation.multiple.is_empty(),
                evaluation.multiple,
                "one v=spf1 record",
            ),
            (
                Id::SpfLookups,
                lookups > LOOKUPS_MAX,
                count(lookups, &evaluation.lookups),
                "10 lookups at most",
            ),
            (
                Id::SpfVoid,
                voids > VOIDS_MAX,
                count(voids, &evaluation.voids),
                "2 lookups at most that find nothing",
            ),
            (
                Id::SpfBroken,
                !evaluation.broken.is_empty(),
                evaluation.broken,
                "terms of RFC 7208, and included domains with an SPF record",
            ),
            (
                Id::SpfPlusAll,
                !evaluation.plus_all.is_empty(),
                evaluation.plus_all,
                "~all or -all",
            ),
        ] {
            if is_so {
                let question = Question::new(Source::Resolver, &domain, RecordType::Txt);
                self.findings.push(Finding {
                    id,
                    asked: question.to_string(),
                    found,
                    expected: expected.to_owned(),
                    paste: None,
                });
            }
        }
    }

    fn evaluate(&mut self, domain: &str, record: &str, evaluation: &mut Evaluation) {
        let terms: Vec<_> = record
            .split(' ')
            .skip(1)
            .filter(|term| !term.is_empty())
            .collect();
        let has_all = terms.iter().any(|term| is_all(term));
        for term in terms {
            if evaluation.lookups.len() >= TERMS_MAX {
                return;
            }
            if let Some(target) = strip(term, "redirect=") {
                if !has_all {
                    self.include(domain, term, target, evaluation);
                }
                continue;
            }
            let mechanism = term.trim_start_matches(['+', '-', '~', '?']);
            let (name, argument) = split(mechanism);
            match name.to_ascii_lowercase().as_str() {
                "all" if term.starts_with(['-', '~', '?']) => {}
                "all" => evaluation.plus_all.push(format!("{domain}: {record}")),
                "include" => self.include(domain, term, argument, evaluation),
                "a" => self.host(
                    domain,
                    term,
                    argument,
                    &[RecordType::A, RecordType::Aaaa],
                    evaluation,
                ),
                "mx" => self.host(domain, term, argument, &[RecordType::Mx], evaluation),
                "exists" => self.host(domain, term, argument, &[RecordType::A], evaluation),
                "ptr" => evaluation.lookups.push(format!("{domain}: {term}")),
                "ip4" | "ip6" if is_network(argument) => {}
                _ if mechanism.contains('=') && !mechanism.contains(':') => {}
                _ if strip(mechanism, "exp=").is_some() => {}
                _ => evaluation.broken.push(format!("{domain}: {term}")),
            }
        }
    }

    /// `include` and `redirect`, which go on in another record.
    fn include(&mut self, domain: &str, term: &str, target: &str, evaluation: &mut Evaluation) {
        let told = format!("{domain}: {term}");
        evaluation.lookups.push(told.clone());
        if target.contains('%') {
            return;
        }
        let Some(answer) = self.lookups.resolver(target, RecordType::Txt) else {
            evaluation.is_unfinished = true;
            return;
        };
        let records: Vec<_> = answer
            .records()
            .iter()
            .filter(|text| is_spf(text))
            .collect();
        match (answer, records.as_slice()) {
            (Answer::Failed(_), _) => {}
            (_, [one]) => self.evaluate(target, one, evaluation),
            (Answer::Nothing, _) => {
                evaluation.voids.push(told.clone());
                evaluation.broken.push(told);
            }
            (_, []) => evaluation.broken.push(told),
            (_, several) => {
                let texts = several.iter().map(|text| format!("{target}: {text}"));
                evaluation.multiple.extend(texts);
            }
        }
    }

    /// Mechanisms that look up hosts. Macros depend on the message, so that nothing is known of what they find.
    fn host(
        &mut self,
        domain: &str,
        term: &str,
        argument: &str,
        record_types: &[RecordType],
        evaluation: &mut Evaluation,
    ) {
        let told = format!("{domain}: {term}");
        evaluation.lookups.push(told.clone());
        let name = argument.split('/').next().unwrap_or_default();
        let name = if name.is_empty() { domain } else { name };
        if name.contains('%') {
            return;
        }
        let mut is_void = true;
        for record_type in record_types {
            match self.lookups.resolver(name, *record_type) {
                None => evaluation.is_unfinished = true,
                Some(answer) => is_void &= *answer == Answer::Nothing,
            }
        }
        if is_void && !evaluation.is_unfinished {
            evaluation.voids.push(told);
        }
    }
}

fn is_all(term: &str) -> bool {
    let mechanism = term.trim_start_matches(['+', '-', '~', '?']);
    mechanism.eq_ignore_ascii_case("all")
}

fn strip<'t>(term: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = term.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A mechanism's name, and what stands behind its colon; a prefix length may follow at once.
fn split(mechanism: &str) -> (&str, &str) {
    match mechanism.find([':', '/']) {
        Some(at) if mechanism[at..].starts_with(':') => (&mechanism[..at], &mechanism[at + 1..]),
        Some(at) => (&mechanism[..at], &mechanism[at..]),
        None => (mechanism, ""),
    }
}

fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    address.parse::<std::net::IpAddr>().is_ok()
        && length.parse::<u8>().is_ok_and(|length| length <= 128)
}

//! What the answers of a check mean for the rotation of keys.

use skein_model::rotation::{self, KeyId, Observation, SlotAnswers};

use crate::check::dkim::judge;
use crate::check::hosts::is_host;
use crate::dns::{Answer, Answers, Question, RecordType, Source};
use crate::records::{Domain, Operator, Purpose, Slot, delegated_name, records};

/// What servers and resolver showed of the keys that slots have, by the answers of a check that is done. `key_of` tells which key
/// a selector has.
#[must_use]
pub fn observation(
    domain: &Domain,
    operator: &Operator,
    answers: &Answers,
    key_of: impl Fn(&str) -> Option<KeyId>,
) -> Observation {
    let with_key = domain.slots.iter().filter_map(|slot| {
        let key = key_of(&slot.selector)?;
        let of = |source| told(domain, operator, answers, slot, source);
        Some(SlotAnswers {
            selector: slot.selector.clone(),
            key,
            answers: vec![
                (rotation::Source::Authoritative, of(Source::Authoritative)),
                (rotation::Source::Resolver, of(Source::Resolver)),
            ],
        })
    });
    Observation {
        slots: with_key.collect(),
    }
}

fn told(
    domain: &Domain,
    operator: &Operator,
    answers: &Answers,
    slot: &Slot,
    source: Source,
) -> rotation::Answer {
    let name = format!("{}._domainkey.{}", slot.selector, domain.name);
    let answer = |name: &str, record_type| answers.get(&Question::new(source, name, record_type));
    let of_key = |name: &str| {
        means(answer(name, RecordType::Txt), |found| {
            judge(slot, found).is_none()
        })
    };
    if !domain.is_delegated {
        return of_key(&name);
    }
    let target = delegated_name(domain, operator, &slot.selector);
    let of_alias = means(answer(&name, RecordType::Cname), |found| {
        is_host(found, &target)
    });
    // Both are needed, and one that differs is enough to know.
    let both = [of_alias, of_key(&target)];
    let has = |one: rotation::Answer| both.contains(&one);
    match (
        has(rotation::Answer::Differs),
        has(rotation::Answer::Failed),
    ) {
        (true, _) => rotation::Answer::Differs,
        (false, true) => rotation::Answer::Failed,
        (false, false) => rotation::Answer::Shows,
    }
}

fn means(answer: Option<&Answer>, is_right: impl Fn(&[String]) -> bool) -> rotation::Answer {
    match answer {
        None | Some(Answer::Failed(_)) => rotation::Answer::Failed,
        Some(Answer::Records(found)) if is_right(found) => rotation::Answer::Shows,
        Some(Answer::Records(_) | Answer::Nothing) => rotation::Answer::Differs,
    }
}

/// Whether the answers show that the domain is its tenant's: a server of the zone has the token, or where none answers the
/// resolver.
#[must_use]
pub fn is_owned(domain: &Domain, operator: &Operator, answers: &Answers) -> bool {
    let all = records(domain, operator);
    let mut ownership = all
        .iter()
        .filter(|record| record.purpose == Purpose::Ownership);
    ownership.any(|record| {
        let answer = |source| answers.get(&Question::new(source, &record.name, record.record_type));
        let has = |answer: &Answer| {
            let mut found = answer.records().iter();
            found.any(|text| text.trim() == record.value)
        };
        match answer(Source::Authoritative) {
            Some(Answer::Failed(_)) | None => answer(Source::Resolver).is_some_and(has),
            Some(answer) => has(answer),
        }
    })
}

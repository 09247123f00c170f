//! One record that is to be published, asked of the zone's servers and of the resolver.

use super::Check;
use crate::dns::{Answer, Question, RecordType, Source};
use crate::finding::{Finding, Id};
use crate::records::{Purpose, Record};
use crate::render::zone_line;

/// What a record that is looked for may be found as.
pub struct Kind {
    pub missing: Id,
    pub doubled: Id,
}

impl<'a> Check<'a> {
    pub fn expected_of(&self, purpose: Purpose, record_type: RecordType) -> Vec<&'a Record> {
        let all = self.expected.iter();
        let is_it =
            |record: &&Record| record.purpose == purpose && record.record_type == record_type;
        all.filter(is_it).collect()
    }

    pub fn find(&mut self, id: Id, question: &Question, found: &[String], record: &Record) {
        self.findings.push(Finding {
            id,
            asked: question.to_string(),
            found: found.to_vec(),
            expected: record.value.clone(),
            paste: Some(zone_line(record)),
        });
    }

    /// Looks for a record. `judge` says what is wrong with the records that are there, if anything is.
    ///
    /// The zone's servers decide what is wrong. Where they are right and the resolver is not, there is only to wait.
    pub fn published(
        &mut self,
        record: &Record,
        kind: &Kind,
        judge: impl Fn(&[String]) -> Option<Id>,
    ) {
        let Some(both) = self.lookups.both(&record.name, record.record_type) else {
            return;
        };
        let judged = |answer: &Answer| match answer {
            Answer::Records(found) => Ok(judge(found)),
            Answer::Nothing => Ok(Some(kind.missing)),
            Answer::Failed(reason) => Err(reason.clone()),
        };
        let at = |source| Question::new(source, &record.name, record.record_type);
        let (home, away) = (at(Source::Authoritative), at(Source::Resolver));
        match (judged(both.home), judged(both.away)) {
            (Ok(None) | Err(_), Ok(None)) => {}
            (Ok(None), Ok(Some(_))) => {
                self.find(Id::NotEverywhere, &away, both.away.records(), record);
            }
            (Ok(None), Err(reason)) => self.find(Id::NoAnswer, &away, &[reason], record),
            (Ok(Some(id)), _) if id == kind.missing => self.missing(record, kind, &home, both.home),
            (Err(_), Ok(Some(id))) if id == kind.missing => {
                self.missing(record, kind, &away, both.away)
            }
            (Ok(Some(id)), _) => self.find(id, &home, both.home.records(), record),
            (Err(_), Ok(Some(id))) => self.find(id, &away, both.away.records(), record),
            (Err(reason), Err(_)) => self.find(Id::NoAnswer, &home, &[reason], record),
        }
    }

    /// A record that is missing may be under its name and the domain's once more.
    fn missing(&mut self, record: &Record, kind: &Kind, question: &Question, told: &Answer) {
        let doubled = format!("{}.{}", record.name, self.domain.name);
        let Some(answer) = self.lookups.resolver(&doubled, record.record_type) else {
            return;
        };
        match answer.records() {
            [] => self.find(kind.missing, question, told.records(), record),
            found => {
                let question = Question::new(Source::Resolver, &doubled, record.record_type);
                self.find(kind.doubled, &question, found, record);
            }
        }
    }

    pub fn ownership(&mut self) {
        let kind = Kind {
            missing: Id::OwnershipMissing,
            doubled: Id::DoubledName,
        };
        for record in self.expected_of(Purpose::Ownership, RecordType::Txt) {
            // Another tenant's token may stand beside it.
            self.published(record, &kind, |found| {
                let is_there = found.iter().any(|text| text.trim() == record.value);
                (!is_there).then_some(Id::OwnershipMismatch)
            });
        }
    }
}

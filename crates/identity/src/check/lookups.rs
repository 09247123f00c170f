//! Answers that there are, and questions whose answers are needed.

use std::collections::BTreeSet;

use crate::dns::{Answer, Answers, Question, RecordType, Source};

pub struct Lookups<'a> {
    answers: &'a Answers,
    pub wanted: BTreeSet<Question>,
}

impl<'a> Lookups<'a> {
    pub fn new(answers: &'a Answers) -> Self {
        Self {
            answers,
            wanted: BTreeSet::new(),
        }
    }

    /// None: it is to be asked.
    pub fn ask(
        &mut self,
        source: Source,
        name: &str,
        record_type: RecordType,
    ) -> Option<&'a Answer> {
        let question = Question::new(source, name, record_type);
        let answer = self.answers.get(&question);
        if answer.is_none() {
            self.wanted.insert(question);
        }
        answer
    }

    pub fn resolver(&mut self, name: &str, record_type: RecordType) -> Option<&'a Answer> {
        self.ask(Source::Resolver, name, record_type)
    }

    /// Of the zone's servers and of the resolver.
    pub fn both(&mut self, name: &str, record_type: RecordType) -> Option<Both<'a>> {
        let home = self.ask(Source::Authoritative, name, record_type);
        let away = self.ask(Source::Resolver, name, record_type);
        Some(Both {
            home: home?,
            away: away?,
        })
    }
}

#[derive(Clone, Copy)]
pub struct Both<'a> {
    pub home: &'a Answer,
    pub away: &'a Answer,
}

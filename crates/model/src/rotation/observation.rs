//! What the DNS said of a domain's keys at one time.

use minicbor::{Decode, Encode};

use super::KeyId;

/// Who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Source {
    /// A server of the zone.
    #[n(0)]
    Authoritative,
    /// A resolver, which may have an older answer.
    #[n(1)]
    Resolver,
}

/// What it answered, compared with the record of the slot's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// The slot's key.
    #[n(0)]
    Shows,
    /// No record, several, another key, or one that does not work.
    #[n(1)]
    Differs,
    /// No answer, or a failure: it says nothing of the record.
    #[n(2)]
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SlotAnswers {
    #[n(0)]
    pub selector: String,
    /// Which key the answers were compared with.
    #[n(1)]
    pub key: KeyId,
    #[n(2)]
    pub answers: Vec<(Source, Answer)>,
}

/// The answers for those slots that have a key. At least one authoritative server and one resolver are asked for each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Observation {
    #[n(0)]
    pub slots: Vec<SlotAnswers>,
}

/// What the answers for one slot mean together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Servers and resolvers were heard, and all of them show the key.
    pub everywhere: bool,
    /// An authoritative server shows the key.
    pub at_home: bool,
    /// Authoritative servers were heard, and none shows the key.
    pub gone: bool,
    /// Somebody was heard who does not show the key.
    pub doubted: bool,
}

impl Observation {
    pub(super) fn verdict(&self, selector: &str, key: KeyId) -> Verdict {
        let mut slots = self.slots.iter();
        let answers = slots.find(|slot| slot.selector == selector && slot.key == key);
        let Some(answers) = answers else {
            return Verdict::default();
        };
        let heard = |source: Source, answer: Answer| answers.answers.contains(&(source, answer));
        let [home, away] = [Source::Authoritative, Source::Resolver];
        let doubted = heard(home, Answer::Differs) || heard(away, Answer::Differs);
        let at_home = heard(home, Answer::Shows);
        Verdict {
            everywhere: at_home && heard(away, Answer::Shows) && !doubted,
            at_home,
            gone: heard(home, Answer::Differs) && !at_home,
            doubted,
        }
    }
}

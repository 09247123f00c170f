//! Tokens in a report, in the order in which they are to be trusted: what is signed with the message or hard to change comes first.

use skein_attribution::{Attributed, Keys, Purpose, Refused, find};
use skein_model::UnixMs;

/// Tokens that are kept of one report: a message of ours has four.
pub const TOKENS_MAX: usize = 16;

/// Where a token stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In X-Skein-Ref of the message that came back.
    Reference,
    /// In its return path, or in Original-Mail-From.
    ReturnPath,
    MessageId,
    ListUnsubscribe,
    /// In another field of it.
    OtherField,
    /// In To, Subject, In-Reply-To or References of the report itself.
    Report,
    /// In the text of the report.
    Text,
}

/// What may be a token; a key tells whether it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenText {
    pub place: Place,
    pub purpose: Purpose,
    pub text: String,
}

/// Collects tokens, each once, with the most trusted place it was seen at.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Vec<TokenText>);

impl Tokens {
    pub fn add(&mut self, place: Place, text: &str) {
        for candidate in find(text) {
            let is_there = self.0.iter().any(|one| one.text == candidate.text);
            if !is_there && self.0.len() < TOKENS_MAX {
                self.0.push(TokenText {
                    place,
                    purpose: candidate.purpose,
                    text: candidate.text.to_owned(),
                });
            }
        }
    }

    pub fn finish(mut self) -> Vec<TokenText> {
        self.0.sort_by_key(|one| one.place);
        self.0
    }
}

/// What the first token that verifies says.
pub(crate) fn attribute(
    tokens: &[TokenText],
    keys: &Keys,
    now: UnixMs,
) -> Result<Attributed, Refused> {
    let mut refused = Refused::Malformed;
    for TokenText { purpose, text, .. } in tokens {
        match keys.read(*purpose, text, now) {
            Ok(token) => {
                let purpose = *purpose;
                return Ok(Attributed { purpose, token });
            }
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

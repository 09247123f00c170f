//! Tokens in texts that others have written: fields of returned headers, addresses that a forwarder has rewritten.

use crate::spelling::{
    RETURN_PATH_PREFIX, SignedToken, TOKEN_LOWER_CHARS, TOKEN_URL_CHARS, digit_value,
};
use crate::token::Purpose;

/// Octets of a text that are looked at: four times what the longest field of ours has room for in a header that mail systems take.
pub const SCAN_BYTES_MAX: usize = 64 * 1024;
/// Candidates in one text. A message has one of each purpose; each candidate costs one HMAC.
pub const CANDIDATES_MAX: usize = 32;

/// What has the form of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// As it stands there, without a prefix.
    pub text: &'a str,
    /// What it says that it is for; only a key can tell whether that is true.
    pub purpose: Purpose,
    pub(crate) signed: SignedToken,
}

/// All that could be tokens, in their order: `b-` and the spelling for return paths, in any case, wherever nothing else of a word
/// follows; and words that are the spelling for fields and URLs. Quotes, angle brackets, `prvs=`, SRS, BATV, `+` extensions and
/// paths of URLs may be around them.
pub fn find(text: &str) -> impl Iterator<Item = Candidate<'_>> {
    let mut end = SCAN_BYTES_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end]
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
        .flat_map(in_word)
        .take(CANDIDATES_MAX)
}

/// `word` has letters, digits, `-` and `_` alone.
fn in_word(word: &str) -> impl Iterator<Item = Candidate<'_>> {
    let whole = word.trim_matches(['-', '_']);
    let whole = (whole.len() == TOKEN_URL_CHARS).then_some(whole);
    whole
        .into_iter()
        .chain(after_prefixes(word))
        .filter_map(|text| {
            let signed = SignedToken::read(text)?;
            let purpose = Purpose::of_octet(signed.0[0])?;
            Some(Candidate {
                text,
                purpose,
                signed,
            })
        })
}

/// What follows a prefix and has the length of a token of digits.
fn after_prefixes(word: &str) -> impl Iterator<Item = &str> {
    let prefix = RETURN_PATH_PREFIX.as_bytes();
    let ends = word.as_bytes().windows(prefix.len()).enumerate();
    ends.filter(move |(_, here)| here.eq_ignore_ascii_case(prefix))
        .filter_map(move |(at, _)| {
            // The first digits decide for nearly all words, so that a long one costs little.
            let rest = &word[at + prefix.len()..];
            let digits = rest.get(..TOKEN_LOWER_CHARS)?;
            let goes_on = rest.as_bytes().get(TOKEN_LOWER_CHARS);
            let is_alone = goes_on.is_none_or(|next| !next.is_ascii_alphanumeric());
            let all_digits = digits.bytes().all(|digit| digit_value(digit).is_some());
            (is_alone && all_digits).then_some(digits)
        })
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;

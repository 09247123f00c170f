//! What a host said: a reply of a dialogue, or a line of a report in which one is quoted.

use skein_smtp::reply::{Enhanced, Reply};

use crate::fold::cut;

/// A reply, or what is known of one. Only the first 2 KiB of the text are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// 400 to 599. None: only a text is known.
    pub code: Option<u16>,
    pub enhanced: Option<Enhanced>,
    /// With or without the codes, in one line or several.
    pub text: &'a str,
}

impl<'a> From<&'a Reply> for Refusal<'a> {
    fn from(reply: &'a Reply) -> Self {
        Self {
            code: Some(reply.code),
            enhanced: reply.enhanced,
            text: &reply.text,
        }
    }
}

/// Words after which a number is a reply code.
const BEFORE_CODE: [&str; 12] = [
    "said", "error", "code", "<<<", "smtp", "status", "reply", "response", "returned", "with",
    "server", "command",
];
/// Words of a text that are looked at for codes: these stand at the beginning, or behind a sentence about a host.
const WORDS_MAX: usize = 200;

impl<'a> Refusal<'a> {
    /// Reads the codes out of a text: `550-5.1.1 ...`, `smtp; 550 (#5.1.1) ...`, `host said: 550 5.1.1 ...`. They may be missing.
    #[must_use]
    pub fn read(text: &'a str) -> Self {
        let text = cut(text.trim(), crate::fold::TEXT_BYTES_MAX);
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c == ';')
            .filter(|word| !word.is_empty())
            .take(WORDS_MAX)
            .collect();
        let found = (0..words.len()).find_map(|at| code_at(&words, at));
        let (code, beside) = found.unzip();
        let enhanced = beside
            .flatten()
            .or_else(|| words.iter().find_map(|word| enhanced(word)));
        Self {
            code,
            enhanced,
            text: from_code(text, code),
        }
    }

    /// Whether the host refuses for good: by the reply code, which counts for more than the enhanced code.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match (self.code, self.enhanced) {
            (Some(code), _) => code >= 500,
            (None, Some(enhanced)) => enhanced.class == 5,
            (None, None) => false,
        }
    }
}

/// Letters behind a code that are a text of their own. What stands before the code is then a sentence about hosts, whose names
/// say nothing.
const TEXT_CHARS_MIN: usize = 12;

/// The text from its reply code on, if enough follows.
fn from_code(text: &str, code: Option<u16>) -> &str {
    let Some(start) = code.and_then(|code| text.find(&code.to_string())) else {
        return text;
    };
    let behind = &text[start..];
    match behind.chars().filter(|c| c.is_alphabetic()).count() >= TEXT_CHARS_MIN {
        true => behind,
        false => text,
    }
}

/// The reply code that the word at this place is, with the enhanced code beside it.
fn code_at(words: &[&str], at: usize) -> Option<(u16, Option<Enhanced>)> {
    let word = words[at].trim_start_matches(['#', '(', '<', '"', '\'', '[', ':']);
    let digits = word.get(..3)?;
    let code = match digits.parse().ok()? {
        code @ 400..600 if !digits.starts_with('+') => code,
        _ => return None,
    };
    let after = &word[3..];
    let beside = match after.as_bytes().first() {
        None => words.get(at + 1).and_then(|next| enhanced(next)),
        Some(b'-') => enhanced(&after[1..]),
        Some(b':' | b',' | b')' | b'"' | b'\'') => {
            words.get(at + 1).and_then(|next| enhanced(next))
        }
        Some(_) => return None,
    };
    let is_marked = word.len() < words[at].len() || after.starts_with('-');
    let is_code = at == 0 || is_marked || beside.is_some() || {
        let before = words[at - 1].to_ascii_lowercase();
        before.ends_with(':') || BEFORE_CODE.contains(&before.trim_end_matches([':', ',', '=']))
    };
    is_code.then_some((code, beside))
}

/// An enhanced code in whatever brackets.
fn enhanced(word: &str) -> Option<Enhanced> {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let bare = bare
        .get(4..)
        .filter(|_| is_code_prefix(bare))
        .unwrap_or(bare);
    Enhanced::parse(bare).filter(|code| code.class != 2 && code.subject <= 7)
}

/// `550-` before an enhanced code.
fn is_code_prefix(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.get(3) == Some(&b'-') && bytes[..3].iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;

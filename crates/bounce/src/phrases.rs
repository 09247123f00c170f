//! All phrases of all rules, found in one pass over a text: one automaton, no expression that could go back.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::fold::fold;

/// What stands in a pattern for any text between two pieces.
const GAP: &str = " ... ";

/// One piece of a pattern: where it belongs.
#[derive(Debug, Clone, Copy)]
struct Piece {
    rule: usize,
    /// None: it is the whole pattern.
    among: Option<Among>,
    starts_word: bool,
    ends_word: bool,
}

/// The place of a piece in its pattern.
#[derive(Debug, Clone, Copy)]
struct Among {
    /// The pattern, counted among those of several pieces.
    pattern: usize,
    at: usize,
    is_last: bool,
}

#[derive(Debug)]
pub(crate) struct Phrases {
    /// None: there are no phrases.
    automaton: Option<AhoCorasick>,
    /// For each literal of the automaton the pieces that it is.
    pieces: Vec<Vec<Piece>>,
    /// Patterns of several pieces.
    patterns: usize,
    rules: usize,
}

impl Phrases {
    /// `rules`: the patterns of each.
    pub fn new<'a>(rules: impl Iterator<Item = &'a [String]>) -> Self {
        let mut by_literal: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
        let (mut patterns, mut count) = (0, 0);
        for (rule, texts) in rules.enumerate() {
            count = rule + 1;
            for text in texts {
                for (literal, piece) in pieces(rule, text, patterns) {
                    by_literal.entry(literal).or_default().push(piece);
                }
                patterns += usize::from(text.contains(GAP));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .build(by_literal.keys());
        Self {
            automaton: automaton.ok(),
            pieces: by_literal.into_values().collect(),
            patterns,
            rules: count,
        }
    }

    /// The rules of which a pattern is in the folded text, in their order.
    pub fn matched(&self, text: &str) -> Vec<usize> {
        let Some(automaton) = &self.automaton else {
            return Vec::new();
        };
        // How many pieces of each pattern are found one after the other, and where the last one ends. Taking the one that ends
        // first leaves most room for the next.
        let mut found: Vec<(usize, usize)> = vec![(0, 0); self.patterns];
        let mut matched = vec![false; self.rules];
        for one in automaton.find_overlapping_iter(text) {
            for piece in &self.pieces[one.pattern().as_usize()] {
                if !piece.is_word(text.as_bytes(), one.start(), one.end()) {
                    continue;
                }
                let Some(among) = piece.among else {
                    matched[piece.rule] = true;
                    continue;
                };
                let (count, end) = &mut found[among.pattern];
                if *count == among.at && one.start() >= *end {
                    (*count, *end) = (*count + 1, one.end());
                    matched[piece.rule] |= among.is_last;
                }
            }
        }
        (0..self.rules).filter(|rule| matched[*rule]).collect()
    }
}

/// The pieces of a pattern with their literals. `pattern`: its number if it has several.
fn pieces(rule: usize, text: &str, pattern: usize) -> Vec<(String, Piece)> {
    let parts: Vec<&str> = text.split(GAP).collect();
    let last = parts.len() - 1;
    let of_part = |(at, part): (usize, &&str)| {
        let among = (last > 0).then_some(Among {
            pattern,
            at,
            is_last: at == last,
        });
        let piece = Piece {
            rule,
            among,
            starts_word: part.starts_with('|'),
            ends_word: part.ends_with('|'),
        };
        (fold(part.trim_matches('|')).trim().to_owned(), piece)
    };
    parts.iter().enumerate().map(of_part).collect()
}

impl Piece {
    fn is_word(&self, text: &[u8], start: usize, end: usize) -> bool {
        let is_letter = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphanumeric);
        let is_start = !self.starts_word || start == 0 || !is_letter(start - 1);
        is_start && !(self.ends_word && is_letter(end))
    }
}

#[cfg(test)]
#[path = "phrases_tests.rs"]
mod tests;

//! Regular expressions on replies: compiled, and checked for what they can match.
//!
//! A reply line is code, enhanced code and text as one string, such as `421 4.7.0 [TSS04] Messages deferred`; a reply of
//! several lines is one string with spaces between them. Expressions work on bytes and in linear time; `\d`, `\w` and
//! `(?i)` mean ASCII.

use std::borrow::Cow;
use std::collections::BTreeSet;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};

/// What the longest known expressions need several times over.
const PATTERN_BYTES_MAX: usize = 512;
/// Of a compiled expression: with all rules of a cluster they fit into the memory of a small node.
const COMPILED_BYTES_MAX: usize = 64 << 10;
/// Enough for every expression within the bounds above that is no riddle.
const CHECK_CACHE_BYTES: usize = 2 << 20;
/// Many times what usual expressions need. A check that takes longer is given up.
const CHECK_STEPS_MAX: usize = 20_000;

/// Compiles an expression and refuses what can never make sense.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() {
        return Err("is empty and would match every reply: give a regular expression".into());
    }
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "has more than {PATTERN_BYTES_MAX} bytes: shorten it"
        ));
    }
    let regex = RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| refusal(&error))?;
    match reach(pattern) {
        Reach::Some => Ok(regex),
        Reach::Nothing => Err(
            "can match no reply: a reply is one line such as \"421 4.7.0 Try again later\" (is there a backslash too \
             many, or an anchor in the wrong place?)"
                .into(),
        ),
        Reach::Everything => {
            Err("matches every failure reply: say what distinguishes the replies that are meant".into())
        }
    }
}

fn refusal(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            "is too large when compiled: use smaller repetitions".into()
        }
        // The last line says what is wrong; those before it draw the place.
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!(
                "is no regular expression: {}",
                last.trim_start_matches("error: ")
            )
        }
    }
}

/// A set of expressions that were compiled one by one.
pub(crate) fn set<'a>(patterns: impl ExactSizeIterator<Item = &'a str>) -> RegexSet {
    let size = COMPILED_BYTES_MAX * (patterns.len() + 1) * 2;
    RegexSetBuilder::new(patterns)
        .unicode(false)
        .size_limit(size)
        .build()
        .expect("each expression was compiled within its part of the size")
}

/// A reply as expressions see it.
pub(crate) fn one_line(reply: &str) -> Cow<'_, str> {
    match reply.contains(['\r', '\n']) {
        true => Cow::Owned(reply.replace("\r\n", " ").replace(['\r', '\n'], " ")),
        false => Cow::Borrowed(reply),
    }
}

/// Which replies an expression matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Nothing,
    Some,
    Everything,
}

/// Walks through all that the expression's automaton does on replies. What takes too long counts as sound.
fn reach(pattern: &str) -> Reach {
    let Some(dfa) = automaton(pattern) else {
        return Reach::Some;
    };
    let can_match = Walk::new(&dfa, b"2345", 3).finds_match();
    if can_match == Some(false) {
        return Reach::Nothing;
    }
    let can_miss = Walk::new(&dfa, b"45", TEXT).finds_miss();
    match can_miss {
        Some(false) => Reach::Everything,
        _ => Reach::Some,
    }
}

fn automaton(pattern: &str) -> Option<DFA> {
    DFA::builder()
        .configure(
            DFA::config()
                .cache_capacity(CHECK_CACHE_BYTES)
                .skip_cache_capacity_check(true)
                // States keep their numbers as long as the cache is never cleared.
                .minimum_cache_clear_count(Some(0)),
        )
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(Some(4 * COMPILED_BYTES_MAX)),
        )
        .build(pattern)
        .ok()
}

/// Where in a reply the text is: after three digits, a space, and a first character that is none.
const TEXT: u8 = 5;

/// Goes through the automaton along all replies at once: pairs of its state and the place in the reply.
struct Walk<'a> {
    dfa: &'a DFA,
    cache: Cache,
    /// For each place the bytes that may follow, one of each class that the automaton tells apart.
    next_bytes: [Vec<u8>; TEXT as usize + 1],
    /// From here on a reply may end.
    end_from: u8,
    seen: BTreeSet<(LazyStateID, u8)>,
    open: Vec<(LazyStateID, u8)>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn new(dfa: &'a DFA, first_digits: &[u8], end_from: u8) -> Self {
        let of = |allowed: &dyn Fn(u8) -> bool| {
            let classes = dfa.byte_classes();
            let mut seen = BTreeSet::new();
            let bytes = (0..=u8::MAX).filter(|byte| allowed(*byte));
            bytes
                .filter(|byte| seen.insert(classes.get(*byte)))
                .collect()
        };
        let is_text = |byte: u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        Self {
            dfa,
            cache: dfa.create_cache(),
            next_bytes: [
                of(&|byte| first_digits.contains(&byte)),
                of(&|byte| byte.is_ascii_digit()),
                of(&|byte| byte.is_ascii_digit()),
                of(&|byte| byte == b' '),
                of(&|byte| is_text(byte) && !matches!(byte, b' ' | b'\t')),
                of(&is_text),
            ],
            end_from,
            seen: BTreeSet::new(),
            open: Vec::new(),
            steps: 0,
        }
    }

    /// Whether there is a reply that matches; none if it takes too long to say.
    fn finds_match(mut self) -> Option<bool> {
        self.begin()?;
        while let Some((state, at)) = self.open.pop() {
            if at >= self.end_from && self.matches_at_end(state)? {
                return Some(true);
            }
            if self.step(state, at)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Whether there is a reply that does not match.
    fn finds_miss(mut self) -> Option<bool> {
        self.begin()?;
        while let Some((state, at)) = self.open.pop() {
            if at >= self.end_from && !self.matches_at_end(state)? {
                return Some(true);
            }
            self.step(state, at)?;
        }
        Some(false)
    }

    fn begin(&mut self) -> Option<()> {
        let start = self.dfa.start_state(&mut self.cache, &start::Config::new());
        self.open.push((start.ok()?, 0));
        Some(())
    }

    fn matches_at_end(&mut self, state: LazyStateID) -> Option<bool> {
        let end = self.dfa.next_eoi_state(&mut self.cache, state).ok()?;
        Some(end.is_match())
    }

    /// Goes on by one byte, and says whether what was read until here may match. Who has matched is not followed.
    fn step(&mut self, state: LazyStateID, at: u8) -> Option<bool> {
        let mut is_match = false;
        self.steps += self.next_bytes[usize::from(at)].len();
        for nth in 0..self.next_bytes[usize::from(at)].len() {
            let byte = self.next_bytes[usize::from(at)][nth];
            let next = self.dfa.next_state(&mut self.cache, state, byte).ok()?;
            let pair = (next, (at + 1).min(TEXT));
            if next.is_match() {
                is_match = true;
            } else if self.seen.insert(pair) {
                self.open.push(pair);
            }
        }
        (self.steps <= CHECK_STEPS_MAX).then_some(is_match)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_an_expression_can_match_is_known() {
        use Reach::{Everything, Nothing};
        for (pattern, expected) in [
            (r"\[TSS?04\]", Reach::Some),
            (r"^421 ", Reach::Some),
            (r"^421 4\.7\.0 .*deferred$", Reach::Some),
            (r"^[0-9]{3}$", Reach::Some),
            (r"(?i)busy", Reach::Some),
            (r"\bbusy\b", Reach::Some),
            (r"über", Reach::Some),
            (r"^250", Reach::Some),
            (r"4", Reach::Some),
            // Anchored where nothing can stand.
            (r"deferred^", Nothing),
            (r"busy$ later", Nothing),
            (r"$4", Nothing),
            (r"^busy", Nothing),
            (r"^\[HCM1\]", Nothing),
            (r"^1\d\d ", Nothing),
            (r"^\d\d\d\d", Nothing),
            (r"line\nbreak", Nothing),
            (r"\x00", Nothing),
            (r"[^\x00-\xff]", Nothing),
            (r"a\Bb\b\Bc", Nothing),
            (r".*", Everything),
            (r".", Everything),
            (r"^", Everything),
            (r"$", Everything),
            (r"()", Everything),
            (r"a*", Everything),
            (r"\d", Everything),
            (r"^[45]", Everything),
            (r"^\d{3} ", Everything),
            (r"4|5", Everything),
            (r"(?s).+", Everything),
            (r"x|", Everything),
        ] {
            assert_eq!(reach(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn bad_expressions_are_refused_with_a_reason() {
        let long = "x".repeat(PATTERN_BYTES_MAX + 1);
        for (pattern, words) in [
            ("", "empty"),
            ("(", "unclosed group"),
            (r"\", "no regular expression"),
            (r"a{1000}{1000}", "too large"),
            (&*long, "more than 512 bytes"),
            (r"^busy", "can match no reply"),
            (r".*", "matches every failure reply"),
            // Look-around would not be linear.
            (r"(?=a)", "look-around"),
        ] {
            let refused = compile(pattern).expect_err(pattern);
            assert!(refused.contains(words), "{pattern}: {refused}");
            assert_eq!(refused.lines().count(), 1, "{refused}");
        }
    }

    #[test]
    fn a_set_of_the_largest_expressions_compiles() {
        let fits = |times: &usize| {
            let regex = RegexBuilder::new(&format!("(?:[ac]x?){{{times}}}$"))
                .unicode(false)
                .size_limit(COMPILED_BYTES_MAX)
                .build();
            regex.is_ok()
        };
        let largest = (1..2000).take_while(fits).last().expect("one fits");
        assert!(largest < 1999, "the size has a limit");
        let patterns: Vec<String> = (0..crate::RULES_MAX)
            .map(|nth| format!("(?:[ac]x?){{{largest}}}{}", ["$", ""][nth % 2]))
            .collect();
        assert_eq!(
            set(patterns.iter().map(String::as_str)).len(),
            crate::RULES_MAX
        );
    }

    #[test]
    fn hard_expressions_end_soon() {
        for pattern in [
            "(a|b)*a(a|b){40}c",
            "[a-z]{1,60}x[a-z]{60}y$",
            r"(\w+\s*){20}z",
        ] {
            reach(pattern);
        }
    }

    proptest! {
        #[test]
        fn no_expression_panics(pattern in "\\PC{0,20}|[\\\\^$.|?*+(){}\\[\\]a-c0-9]{0,20}") {
            let _ = compile(&pattern);
        }

        /// What matches one of a few replies is not said to match nothing; what misses one is not said to match all.
        #[test]
        fn the_check_agrees_with_matching(pattern in "[\\^$.|*+()a-c4 ]{1,12}", text in "[a-c4][a-c4 ]{0,8}", code in 400u16..600) {
            let Ok(regex) = RegexBuilder::new(&pattern).unicode(false).build() else { return Ok(()) };
            let reply = format!("{code} {text}");
            match regex.is_match(reply.as_bytes()) {
                true => prop_assert_ne!(reach(&pattern), Reach::Nothing, "{} {}", pattern, reply),
                false => prop_assert_ne!(reach(&pattern), Reach::Everything, "{} {}", pattern, reply),
            }
        }
    }
}

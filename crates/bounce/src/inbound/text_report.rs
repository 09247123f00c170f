//! Reads reports that are text for people.

use skein_mail::dsn::Action;

use crate::address::{in_angles, in_text, in_word};
use crate::classify::classify;
use crate::fold::cut;
use crate::inbound::lines::Lines;
use crate::inbound::status::RECIPIENTS_MAX;
use crate::inbound::words::{Format, Naming, reports};
use crate::refusal::Refusal;

/// One recipient of a report in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub address: String,
    pub diagnostic: String,
}

impl Named {
    /// One of whom no more is said than of all.
    pub fn without_words(address: String) -> Self {
        Self {
            address,
            diagnostic: String::new(),
        }
    }
}

/// A report in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextReport {
    pub format: &'static str,
    pub named: Vec<Named>,
    /// Recipients stand in the form of reports, `<user@example.net>:`.
    pub is_marked: bool,
    pub action: Action,
    /// What the report says as a whole.
    pub words: String,
    /// The line behind it.
    pub end: usize,
}

/// Lines of one report. The longest list a hundred recipients with some lines of each.
const REPORT_LINES_MAX: usize = 1000;

/// Reads a report of any known form. `field` has the value of a field of the message. `is_named_elsewhere`: recipients are known
/// from there, and the words may name none.
pub(crate) fn read(
    lines: &Lines<'_>,
    field: impl Fn(&str) -> String,
    is_named_elsewhere: bool,
) -> Option<TextReport> {
    let is_enough = |report: &TextReport| is_named_elsewhere || !report.named.is_empty();
    exchange(lines).or_else(|| {
        let of_it = reports().formats.iter().filter(|format| {
            let needs = format.needs.as_ref();
            needs.is_none_or(|needs| {
                field(&needs.field)
                    .to_ascii_lowercase()
                    .contains(&needs.holds)
            })
        });
        of_it
            .filter_map(|format| of_format(lines, format))
            .find(is_enough)
    })
}

fn of_format(lines: &Lines<'_>, format: &'static Format) -> Option<TextReport> {
    let begin = lines.find(&format.begins, 0)?;
    let end = end_of(lines, &format.ends, begin);
    let found = format
        .naming
        .iter()
        .map(|naming| named(lines, begin, end, naming));
    let named = found.into_iter().find(|named| !named.is_empty());
    Some(TextReport {
        format: &format.name,
        named: named.unwrap_or_default(),
        is_marked: false,
        action: action(lines, begin, end),
        // What is said behind the list counts for all in it.
        words: lines.text(begin, end_of(lines, &[], begin)),
        end,
    })
}

/// Reads all of a text as a report of no known form. It may name nobody.
pub(crate) fn of_no_form(lines: &Lines<'_>) -> TextReport {
    let end = end_of(lines, &[], 0);
    let marked = named(lines, 0, end, &Naming::AngleColon);
    let is_marked = !marked.is_empty();
    let others = [Naming::Alone, Naming::Angle];
    let named = std::iter::once(marked)
        .chain(others.iter().map(|naming| named(lines, 0, end, naming)))
        .find(|named| !named.is_empty());
    TextReport {
        format: "unknown",
        named: named.unwrap_or_default(),
        is_marked,
        action: action(lines, 0, end),
        words: lines.text(0, end),
        end,
    }
}

/// Where a report that begins at a line ends.
pub(crate) fn end_of(lines: &Lines<'_>, ends: &[String], begin: usize) -> usize {
    let own = lines.find(ends, begin + 1);
    let common = lines.find(&reports().ends, begin + 1);
    let limit = (begin + REPORT_LINES_MAX).min(lines.raw.len());
    [own, common]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(limit)
        .min(limit)
}

/// Whether mail is still tried, by the words of a report and of what stands before it.
pub(crate) fn action(lines: &Lines<'_>, begin: usize, end: usize) -> Action {
    let is_in = |phrases: &[String]| {
        lines
            .find(phrases, begin.saturating_sub(4))
            .is_some_and(|at| at < end)
    };
    match is_in(&reports().delays) && !is_in(&reports().given_up) {
        true => Action::Delayed,
        false => Action::Failed,
    }
}

fn named(lines: &Lines<'_>, begin: usize, end: usize, naming: &Naming) -> Vec<Named> {
    let mut opened: Vec<(String, usize)> = Vec::new();
    for at in begin..end {
        let found = address(lines, at, naming);
        let fresh = found.filter(|address| !opened.iter().any(|(one, _)| one == address));
        if let Some(address) = fresh
            && opened.len() < RECIPIENTS_MAX
        {
            opened.push((address, at));
        }
    }
    let next = |index: usize| opened.get(index + 1).map_or(end, |(_, at)| *at);
    let with_text = opened
        .iter()
        .enumerate()
        .map(|(index, (address, at))| Named {
            address: address.clone(),
            diagnostic: diagnostic(lines, address, *at, next(index).max(*at + 1)),
        });
    with_text.collect()
}

/// What is said of a recipient: what is left of its line, and the lines up to the next.
fn diagnostic(lines: &Lines<'_>, address: &str, at: usize, next: usize) -> String {
    let text = lines.text(at, next);
    let behind = text
        .split_once(address)
        .map_or(text.as_str(), |(_, behind)| behind);
    let behind = behind.trim_start_matches(['>', ':', ',', ';', ')', '"', '\'', '.', '-', ' ']);
    cut(behind, crate::fold::TEXT_BYTES_MAX).to_owned()
}

fn address(lines: &Lines<'_>, at: usize, naming: &Naming) -> Option<String> {
    let line = lines.raw[at];
    match naming {
        Naming::AngleColon => {
            let inner = line.trim_start().strip_prefix('<')?;
            let (address, behind) = inner.split_once('>')?;
            behind
                .trim_start()
                .starts_with([':', ','])
                .then(|| in_word(address))
                .flatten()
        }
        Naming::Angle => in_angles(line),
        Naming::Alone => {
            let bare = line
                .trim()
                .trim_start_matches(['*', '-', '>', '•', ' ', '\t']);
            let is_alone = bare.split_whitespace().count() == 1;
            is_alone.then(|| in_word(bare)).flatten()
        }
        Naming::First => {
            let word = line
                .split_whitespace()
                .find(|word| word.chars().any(char::is_alphanumeric));
            word.and_then(in_word)
        }
        Naming::Any => in_text(line),
        Naming::After(phrase) => {
            // Folding changes lengths, so the place is sought by the words themselves.
            let lower = line.to_ascii_lowercase();
            let start = lower.find(phrase.as_str())? + phrase.as_str().len();
            let behind = line.get(start..)?;
            in_text(behind).or_else(|| {
                let next = lines.raw.get(at + 1).filter(|_| behind.trim().is_empty())?;
                in_text(next)
            })
        }
    }
}

/// Exchange since 2007 and Microsoft 365 write in the reader's language, but with `#550 5.1.1 ...` below each address.
fn exchange(lines: &Lines<'_>) -> Option<TextReport> {
    let codes: Vec<usize> = (0..lines.raw.len())
        .filter(|at| is_exchange_code(lines.raw[*at]))
        .take(RECIPIENTS_MAX)
        .collect();
    let first = *codes.first()?;
    let named = codes.iter().filter_map(|at| {
        let above = (at.saturating_sub(4)..*at).rev();
        let address = above
            .clone()
            .find_map(|line| address(lines, line, &Naming::Alone));
        Some(Named {
            address: address.or_else(|| above.clone().find_map(|line| in_text(lines.raw[line])))?,
            diagnostic: lines
                .text(*at, (at + 3).min(lines.raw.len()))
                .trim_matches(['#', ' '])
                .to_owned(),
        })
    });
    let named: Vec<Named> = named.collect();
    let end = end_of(lines, &[], first);
    (!named.is_empty()).then(|| TextReport {
        format: "exchange",
        named,
        is_marked: true,
        action: action(lines, 0, end),
        words: lines.text(first, end),
        end,
    })
}

fn is_exchange_code(line: &str) -> bool {
    let line = line.trim();
    // `#550 5.1.1 ...##`, `#< #5.1.1 smtp;550 ...> #SMTP#`, `server #550 5.1.1 ...`
    let Some(behind) = line
        .find("#5")
        .or_else(|| line.find("#4"))
        .map(|at| &line[at + 1..])
    else {
        return false;
    };
    let read = Refusal::read(behind);
    read.enhanced.is_some()
        && (line.starts_with('#') || line.ends_with('#') || behind.contains("RESOLVER"))
}

/// The words of a report about an address: from the line that has it on.
pub(crate) fn words_about(lines: &Lines<'_>, address: &str) -> Option<String> {
    let end = end_of(lines, &[], 0);
    let at = (0..end).find(|at| lines.raw[*at].contains(address))?;
    // What stands on a line of its own begins a paragraph; else the sentence may have begun before.
    Some(diagnostic(lines, address, at, (at + 12).min(end)))
}

/// Whether a text says what happened.
pub(crate) fn says_something(text: &str) -> bool {
    classify(&Refusal::read(text), None).rule != crate::classify::BY_NOTHING
}

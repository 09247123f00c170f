//! The text of a report, line by line and in one piece.

use crate::fold::{cut, fold};

/// Octets of text that are searched: what a report says stands at its beginning.
const TEXT_BYTES_MAX: usize = 128 << 10;
/// Lines of it.
const LINES_MAX: usize = 3000;

#[derive(Debug)]
pub(crate) struct Lines<'a> {
    pub raw: Vec<&'a str>,
    /// Each line folded, with a space at its beginning alone, one after the other.
    joined: String,
    /// Where each line begins in `joined`.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub fn new(text: &'a str) -> Self {
        let raw: Vec<&str> = cut(text, TEXT_BYTES_MAX).lines().take(LINES_MAX).collect();
        let mut joined = String::new();
        let mut starts = Vec::with_capacity(raw.len());
        for line in &raw {
            starts.push(joined.len());
            joined.push_str(fold(line).trim_end());
        }
        Self {
            raw,
            joined,
            starts,
        }
    }

    /// The line, folded.
    pub fn folded(&self, at: usize) -> &str {
        let end = self
            .starts
            .get(at + 1)
            .copied()
            .unwrap_or(self.joined.len());
        self.starts
            .get(at)
            .map_or("", |start| &self.joined[*start..end])
    }

    /// The line in which the first of these phrases begins, at or behind a line; it may go on in the next. A phrase of `^` and a
    /// text is at the beginning of its line.
    pub fn find(&self, phrases: &[String], from: usize) -> Option<usize> {
        let start = *self.starts.get(from)?;
        let text = &self.joined[start..];
        let places = phrases
            .iter()
            .filter_map(|phrase| match phrase.strip_prefix('^') {
                Some(beginning) => (from..self.raw.len())
                    .find(|at| self.folded(*at).trim_start().starts_with(beginning)),
                None => {
                    let at = start + memchr::memmem::find(text.as_bytes(), phrase.as_bytes())?;
                    Some(self.starts.partition_point(|start| *start <= at) - 1)
                }
            });
        places.min()
    }

    /// Several lines as one text.
    pub fn text(&self, from: usize, to: usize) -> String {
        let lines = self
            .raw
            .get(from..to.min(self.raw.len()))
            .unwrap_or_default();
        let mut text = String::new();
        for line in lines {
            if text.len() > crate::fold::TEXT_BYTES_MAX {
                break;
            }
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line.trim());
        }
        cut(&text, crate::fold::TEXT_BYTES_MAX).to_owned()
    }
}

//! Octets as 7bit text: the two encodings of RFC 2045 section 6, encoded words (RFC 2047), and addresses (RFC 6533).

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Octets of an encoded line (RFC 2045 sections 6.7 and 6.8).
const LINE: usize = 76;
/// Octets that a line of base64 holds.
const LINE_OCTETS: usize = LINE / 4 * 3;
/// Octets of text in one encoded word of at most 75 (RFC 2047 section 2): `=?utf-8?B?` and `?=` leave 63, in fours.
const WORD_OCTETS: usize = 45;

/// How the octets of a part are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// The value of Content-Transfer-Encoding.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }

    /// The one for a part. A part that is not text has no lines, and text of a few other letters remains readable.
    #[must_use]
    pub fn best_for(content: &[u8], is_text: bool) -> Self {
        let strange = content.iter().filter(|byte| needs_escape(**byte)).count();
        match is_text && strange * 6 <= content.len() {
            true => Self::QuotedPrintable,
            false => Self::Base64,
        }
    }

    /// Appends the encoded content, which decodes to exactly these octets. `closes_line` says that the last line must have
    /// its CRLF even where the content has none.
    pub fn encode(self, content: &[u8], closes_line: bool, out: &mut Vec<u8>) {
        match self {
            Self::QuotedPrintable => quoted_printable(content, closes_line, out),
            Self::Base64 => base64(content, closes_line, out),
        }
    }
}

fn needs_escape(byte: u8) -> bool {
    !matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n') || byte == b'='
}

fn base64(content: &[u8], closes_line: bool, out: &mut Vec<u8>) {
    let mut lines = content.chunks(LINE_OCTETS).peekable();
    while let Some(line) = lines.next() {
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
        if lines.peek().is_some() || closes_line {
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn quoted_printable(content: &[u8], closes_line: bool, out: &mut Vec<u8>) {
    let mut column = 0;
    let mut at = 0;
    while at < content.len() {
        let rest = &content[at..];
        if rest.starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            column = 0;
            at += 2;
            continue;
        }
        // Nearly all octets stand for themselves: those go at once, as many as the line has room for.
        let run = plain_run(rest, LINE - 1 - column);
        if run > 0 && !(column == 0 && rest.starts_with(b"From ")) {
            out.extend_from_slice(&rest[..run]);
            column += run;
            at += run;
            continue;
        }
        let byte = rest[0];
        // A blank at the end of a line may be taken off on the way, and `From ` at its start may be given a `>`.
        let ends_line = rest.len() == 1 || rest[1..].starts_with(b"\r\n");
        let is_blank = matches!(byte, b' ' | b'\t');
        let is_from = column == 0 && rest.starts_with(b"From ");
        let escaped = needs_escape(byte)
            || matches!(byte, b'\r' | b'\n')
            || (is_blank && ends_line)
            || is_from;
        let width = if escaped { 3 } else { 1 };
        // One place is left for the `=` of a soft line break.
        if column + width > LINE - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        match escaped {
            true => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push(b'=');
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            false => out.push(byte),
        }
        column += width;
        at += 1;
    }
    if closes_line && column > 0 {
        // A soft break is no part of the content.
        out.extend_from_slice(b"=\r\n");
    }
}

/// How many of the first octets, at most so many, stand for themselves: no blank among them ends a line.
fn plain_run(text: &[u8], room: usize) -> usize {
    let window = &text[..room.min(text.len())];
    let stop = |byte: &u8| needs_escape(*byte) || matches!(byte, b'\r' | b'\n');
    let run = window.iter().position(stop).unwrap_or(window.len());
    // What follows decides about a blank.
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    window[..run]
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(0, |last| last + 1)
}

/// Text for an unstructured field: what lies between the first and the last word that is not ASCII becomes encoded words,
/// one to a folded line.
#[must_use]
pub fn unstructured(text: &str) -> String {
    let Some(first) = text.find(|c: char| !c.is_ascii()) else {
        return text.to_owned();
    };
    let start = text[..first].rfind(' ').map_or(0, |space| space + 1);
    let last = text.rfind(|c: char| !c.is_ascii()).unwrap_or(first);
    let end = text[last..]
        .find(' ')
        .map_or(text.len(), |space| last + space);
    let (before, strange, after) = (&text[..start], &text[start..end], &text[end..]);
    format!("{before}{}{after}", words(strange))
}

/// Text as encoded words.
#[must_use]
pub fn words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut cut = WORD_OCTETS.min(rest.len());
        while !rest.is_char_boundary(cut) {
            cut -= 1;
        }
        let (word, tail) = rest.split_at(cut);
        if !out.is_empty() {
            out.push_str("\r\n ");
        }
        out.push_str(&format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = tail;
    }
    out
}

/// An address in the form utf-8-addr-xtext (RFC 6533 section 3), which is ASCII.
#[must_use]
pub fn utf8_address(address: &str) -> String {
    let mut out = String::with_capacity(address.len() * 2);
    for c in address.chars() {
        match c {
            '!'..='~' if !matches!(c, '\\' | '+' | '=') => out.push(c),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(out, "\\x{{{:02X}}}", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;

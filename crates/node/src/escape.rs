//! Characters that a viewer obeys instead of showing them, in what strangers may have written: replies, addresses, names.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

const ESCAPE: char = '\u{1b}';

/// Controls, marks of writing direction, and what has no width: text with them is not what it looks like.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Writes hidden characters as JSON does, `\u202e`, but for those that are kept. JSON stays the same JSON.
fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_told = |c: char| is_hidden(c) && !is_kept(c);
    if !text.chars().any(is_told) {
        return Cow::Borrowed(text);
    }
    let mut told = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_told(c) {
            told.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(told, "\\u{unit:04x}");
        }
    }
    Cow::Owned(told)
}

/// Lines of JSON; control characters within them are escaped already.
pub fn json_lines(lines: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(lines) {
        Ok(lines) => escaped(&lines, |c| c == '\n').into_owned().into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

/// Standard error for a log: each write is one line, which stays one.
#[derive(Debug)]
pub struct LogLine {
    pub has_colours: bool,
}

impl LogLine {
    fn told(&self, line: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = match text.strip_suffix('\n') {
            Some(text) => (text, "\n"),
            None => (&*text, ""),
        };
        let kept = |c: char| c == '\t' || (self.has_colours && c == ESCAPE);
        let mut told = escaped(text, kept).into_owned().into_bytes();
        told.extend_from_slice(end.as_bytes());
        told
    }
}

impl io::Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(&self.told(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_hidden_is_shown_and_the_rest_stays() {
        for (text, shown) in [
            ("plain äöü 漢字 🦆\tx", "plain äöü 漢字 🦆\tx"),
            ("moc.knab\u{202e}", "moc.knab\\u202e"),
            ("a\u{200b}b\u{feff}", "a\\u200bb\\ufeff"),
            ("a\u{1b}[31mred", "a\\u001b[31mred"),
            ("one\nINFO forged", "one\\u000aINFO forged"),
            ("\u{85}\u{7f}\0", "\\u0085\\u007f\\u0000"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            let line = format!("{text}\n");
            let told = LogLine { has_colours: false }.told(line.as_bytes());
            assert_eq!(String::from_utf8(told).unwrap(), format!("{shown}\n"));
        }
        let coloured = "\u{1b}[2mx\u{1b}[0m\n".as_bytes();
        assert_eq!(LogLine { has_colours: true }.told(coloured), coloured);
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let hidden: String = ('\0'..='\u{10ffff}').filter(|c| is_hidden(*c)).collect();
        let value = serde_json::json!({ "reply": hidden, "other": "x" });
        let mut line = serde_json::to_vec(&value).unwrap();
        line.push(b'\n');
        let told = json_lines([line.clone(), line].concat());
        let text = String::from_utf8(told).unwrap();
        assert!(!text.chars().any(|c| is_hidden(c) && c != '\n'));
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(line).unwrap(),
                value
            );
        }
    }
}

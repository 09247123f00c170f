//! Resources back to YAML text, in one way: keys in the order of the schema, lists of words in one line.

use std::fmt::Display;

use crate::place::Kind;

/// What is written of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    Text(String),
    List(Vec<Out>),
    Map(Map),
}

/// Keys with values in the order in which they were set. What is empty is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map(Vec<(String, Out)>);

impl Map {
    pub fn of(kind: Kind, name: &str) -> Self {
        Self::default().set("kind", kind).set("name", name)
    }

    #[must_use]
    pub fn set(self, key: &str, value: impl Display) -> Self {
        self.put(key, Out::Text(value.to_string()))
    }

    #[must_use]
    pub fn set_if<T: Display>(self, key: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    #[must_use]
    pub fn put(mut self, key: &str, value: Out) -> Self {
        let is_empty = match &value {
            Out::Text(_) => false,
            Out::List(items) => items.is_empty(),
            Out::Map(map) => map.0.is_empty(),
        };
        if !is_empty {
            self.0.push((key.to_owned(), value));
        }
        self
    }

    #[must_use]
    pub fn list<T: Display>(self, key: &str, items: impl IntoIterator<Item = T>) -> Self {
        let items = items.into_iter().map(|item| Out::Text(item.to_string()));
        self.put(key, Out::List(items.collect()))
    }

    #[must_use]
    pub fn maps(self, key: &str, items: impl IntoIterator<Item = Map>) -> Self {
        let items = items.into_iter().map(Out::Map);
        self.put(key, Out::List(items.collect()))
    }

    #[must_use]
    pub fn map(self, key: &str, map: Map) -> Self {
        self.put(key, Out::Map(map))
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, indent: usize) {
        for (nth, (key, value)) in self.0.iter().enumerate() {
            // The first key of a list's entry stands behind its dash.
            if nth > 0 || !out.ends_with("- ") {
                out.push_str(&" ".repeat(indent));
            }
            out.push_str(&quoted(key));
            out.push(':');
            write_value(out, value, indent);
        }
    }
}

fn write_value(out: &mut String, value: &Out, indent: usize) {
    match value {
        Out::Text(text) => {
            out.push(' ');
            out.push_str(&quoted(text));
            out.push('\n');
        }
        Out::Map(map) => {
            out.push('\n');
            map.write(out, indent + 2);
        }
        Out::List(items) if items.iter().all(|item| matches!(item, Out::Text(_))) => {
            let words = items.iter().filter_map(|item| match item {
                Out::Text(text) => Some(quoted(text)),
                _ => None,
            });
            let words: Vec<String> = words.collect();
            out.push_str(&format!(" [{}]\n", words.join(", ")));
        }
        Out::List(items) => {
            out.push('\n');
            for item in items {
                out.push_str(&" ".repeat(indent + 2));
                out.push_str("- ");
                match item {
                    Out::Map(map) => map.write(out, indent + 4),
                    other => write_value(out, other, indent + 2),
                }
            }
        }
    }
}

/// As it is where YAML reads it so everywhere, else in quotes.
fn quoted(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_' | '-' | ' ');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
    let ends_well = !text.ends_with(' ');
    let is_a_marker = matches!(text, "null" | "...");
    if starts_well && ends_well && text.chars().all(is_word) && !is_a_marker {
        return text.to_owned();
    }
    let needs_escapes =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.chars().any(needs_escapes) {
        return escaped(text);
    }
    format!("'{}'", text.replace('\'', "''"))
}

fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::{Value, documents};

    #[test]
    fn resources_are_written_in_one_way() {
        let member = |ip: &str, weight: u32| Map::default().set("ip", ip).set("weight", weight);
        let map = Map::of(Kind::Pool, "news")
            .maps("members", [member("a1", 1), member("a2", 5)])
            .list("words", ["a", "*.b", ""])
            .map("limits", Map::default().set("message_rate", "20/s"))
            .map("empty", Map::default())
            .set_if("overflow", None::<u32>)
            .set("match", r"it's \d");
        let expected = "\
kind: pool
name: news
members:
  - ip: a1
    weight: 1
  - ip: a2
    weight: 5
words: [a, '*.b', '']
limits:
  message_rate: 20/s
match: 'it''s \\d'
";
        assert_eq!(map.text(), expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(key in "\\PC{1,20}", text in "\\PC{0,40}|[ -~\n\t\r\u{85}\u{2028}]{0,40}") {
            let written = Map::default()
                .set(&key, &text)
                .list("list", [&text, &text])
                .maps("maps", [Map::default().set("x", &text)])
                .text();
            let (documents, fault) = documents(&written);
            prop_assert_eq!(fault, None, "{}", &written);
            let Value::Map(entries) = &documents[0].value else { panic!("not a map") };
            prop_assert_eq!(&entries[0].key, &key, "{}", &written);
            let read = |node: &crate::yaml::Node| match &node.value {
                Value::Scalar { text, .. } if !node.is_null() => text.clone(),
                other => panic!("{other:?} in {written}"),
            };
            prop_assert_eq!(&read(&entries[0].node), &text, "{}", &written);
            let Value::List(items) = &entries[1].node.value else { panic!("not a list") };
            prop_assert_eq!(&read(&items[1]), &text, "{}", &written);
            let Value::List(items) = &entries[2].node.value else { panic!("not a list") };
            let Value::Map(inner) = &items[0].value else { panic!("not a map") };
            prop_assert_eq!(&read(&inner[0].node), &text, "{}", &written);
        }
    }
}

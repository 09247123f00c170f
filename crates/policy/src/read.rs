//! Reads the keys of a resource and collects all that is wrong with them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use crate::nearest::did_you_mean;
use crate::place::{At, Kind, Origin, Place, Problem};
use crate::shown::shown;
use crate::yaml::{Entry, Node, Value};

/// The resource that is being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Reader {
    pub kind: Kind,
    pub name: Arc<str>,
    /// The line at which the resource begins.
    pub place: Place,
    pub problems: Vec<Problem>,
}

impl Reader {
    pub fn new(kind: Kind, name: &str, place: Place) -> Self {
        Self {
            kind,
            name: name.into(),
            place,
            problems: Vec::new(),
        }
    }

    /// `key` may be empty when the resource as a whole is meant.
    pub fn fault(&mut self, line: u32, key: &str, message: impl Display) {
        let origin = self.origin(line, key);
        self.problems.push(problem(&origin, message));
    }

    pub fn origin(&self, line: u32, key: &str) -> Origin {
        Origin {
            kind: self.kind,
            name: Arc::clone(&self.name),
            key: key.to_owned(),
            place: Place {
                source: Arc::clone(&self.place.source),
                line,
            },
        }
    }

    fn at<T>(&self, line: u32, key: &str, value: T) -> At<T> {
        let origin = Arc::new(self.origin(line, key));
        At { value, origin }
    }
}

/// `provider "google": per_ip.connections: must be ...`, at its place.
pub(crate) fn problem(origin: &Origin, message: impl Display) -> Problem {
    let Origin {
        kind,
        name,
        key,
        place,
    } = origin;
    let message = match key.as_str() {
        "" => format!("{kind} {name:?}: {message}"),
        key => format!("{kind} {name:?}: {key}: {message}"),
    };
    let place = place.clone();
    Problem { place, message }
}

/// The keys of one map. Each key that is asked for is known; what else is there is a fault.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    pub line: u32,
    path: String,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    pub fn new(reader: &mut Reader, path: String, node: &'a Node) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.fault(
                node.line,
                &path,
                "must be keys with values, such as key: value",
            );
            return None;
        };
        let mut seen = BTreeSet::new();
        for entry in entries.iter().filter(|entry| !seen.insert(&entry.key)) {
            let key = join(&path, &shown(&entry.key));
            reader.fault(entry.line, &key, "is given twice: leave one out");
        }
        Some(Self {
            line: node.line,
            path,
            entries,
            asked: Vec::new(),
        })
    }

    pub fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// A key without a value is as one that is not there.
    fn entry(&self, key: &str) -> Option<&'a Entry> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.filter(|entry| !entry.node.is_null())
    }

    /// The value of a key, if it has one.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.entry(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    pub fn is_empty_list(&self, key: &str) -> bool {
        self.entry(key)
            .is_some_and(|entry| entry.node.value == Value::List(Vec::new()))
    }

    pub fn line_of(&self, key: &str) -> Option<u32> {
        self.entry(key).map(|entry| entry.line)
    }

    /// A value that `parse` understands. Its error says what to write.
    pub fn value<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let entry = self.take(key)?;
        let path = self.path(key);
        let value = scalar(reader, &path, &entry.node, parse)?;
        Some(reader.at(entry.line, &path, value))
    }

    /// Like [`Self::value`], and a fault when it is not there.
    pub fn need<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let value = self.value(reader, key, parse);
        if self.take(key).is_none() {
            let path = self.path(key);
            reader.fault(self.line, &path, "is missing: give it");
        }
        value
    }

    pub fn whole<T: FromStr + PartialOrd + Display>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<At<T>> {
        self.value(reader, key, |text| whole(text, &range))
    }

    pub fn is_set(&mut self, reader: &mut Reader, key: &'static str) -> bool {
        let flag = self.value(reader, key, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".into()),
        });
        flag.is_some_and(|flag| flag.value)
    }

    /// `state`: active, which is what it is when nothing is said, or suspended.
    pub fn is_suspended(&mut self, reader: &mut Reader) -> bool {
        let state = self.value(reader, "state", |text| match text {
            "active" => Ok(false),
            "suspended" => Ok(true),
            _ => Err("must be active or suspended".into()),
        });
        state.is_some_and(|state| state.value)
    }

    /// One value, or a list of at most `max`.
    pub fn list<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        max: usize,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<At<T>>> {
        let entry = self.take(key)?;
        let path = self.path(key);
        let items = items(reader, &path, entry, max);
        let read = items.iter().filter_map(|item| {
            let value = scalar(reader, &path, item, &parse)?;
            // A single value stands at its key.
            let line = match entry.node.value {
                Value::List(_) => item.line,
                _ => entry.line,
            };
            Some(reader.at(line, &path, value))
        });
        Some(read.collect())
    }

    pub fn map(&mut self, reader: &mut Reader, key: &'static str) -> Option<Keys<'a>> {
        let entry = self.take(key)?;
        Keys::new(reader, self.path(key), &entry.node)
    }

    /// A list of at most `max` maps.
    pub fn maps(&mut self, reader: &mut Reader, key: &'static str, max: usize) -> Vec<Keys<'a>> {
        let Some(entry) = self.take(key) else {
            return Vec::new();
        };
        let path = self.path(key);
        let Value::List(_) = &entry.node.value else {
            reader.fault(
                entry.line,
                &path,
                "must be a list: begin each entry with \"- \"",
            );
            return Vec::new();
        };
        let items = items(reader, &path, entry, max);
        let keys = items.iter().enumerate();
        keys.filter_map(|(nth, item)| Keys::new(reader, format!("{path}[{}]", nth + 1), item))
            .collect()
    }

    /// All entries, for a map whose keys are names.
    pub fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    pub fn finish(self, reader: &mut Reader) {
        let unknown = self
            .entries
            .iter()
            .filter(|entry| !self.asked.contains(&entry.key.as_str()));
        for entry in unknown {
            let mut known = self.asked.clone();
            known.dedup();
            known.retain(|key| !matches!(*key, "kind" | "name"));
            let meant = did_you_mean(&entry.key, known.iter().copied());
            let known = known.join(", ");
            let key = self.path(&shown(&entry.key));
            let message = format!("is no known key: there are {known}{meant}");
            reader.fault(entry.line, &key, message);
        }
    }
}

fn items<'a>(reader: &mut Reader, path: &str, entry: &'a Entry, max: usize) -> &'a [Node] {
    let items = match &entry.node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    if items.len() > max {
        reader.fault(
            entry.line,
            path,
            format!("has {} entries: {max} at most", items.len()),
        );
    }
    &items[..items.len().min(max)]
}

/// A text of `node` as `parse` understands it.
pub(crate) fn scalar<T>(
    reader: &mut Reader,
    path: &str,
    node: &Node,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let Value::Scalar { text, .. } = &node.value else {
        reader.fault(node.line, path, "must be a single value");
        return None;
    };
    if node.is_null() {
        reader.fault(
            node.line,
            path,
            "has no value: give it, or leave the key out",
        );
        return None;
    }
    parse(text)
        .map_err(|message| reader.fault(node.line, path, message))
        .ok()
}

pub(crate) fn whole<T: FromStr + PartialOrd + Display>(
    text: &str,
    range: &RangeInclusive<T>,
) -> Result<T, String> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("must be a whole number from {least} to {most}")
        })
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

//! Settings before they are read into types: each value with where it comes from.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::reference::resolve;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// A line of the file, from 1.
    Line(usize),
    /// A variable of the environment.
    Environment(String),
    /// A key given on the command line.
    Set(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set(key) => write!(f, "--set {key}"),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Node {
    pub value: Value,
    pub origin: Origin,
}

pub type Table = BTreeMap<String, Node>;

#[derive(Debug, Clone)]
pub enum Value {
    Table(Table),
    List(Vec<Node>),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Of no type: it is read as the key's type asks.
    Text(String),
}

/// The settings of a file, its references replaced; and which lines of TOML text they are on if it is one.
pub fn of_file(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Table, Fault> {
    let root = DeTable::parse(text).map_err(|error| Fault::whole(error.to_string().trim_end()))?;
    let reader = Reader {
        text: Some(text),
        otherwise: Origin::Default,
        lookup,
    };
    reader.table(root.get_ref())
}

/// A value that is written in TOML within one of no type. What is in it is taken as it is.
pub fn of_value(text: &str, origin: &Origin) -> Result<Node, Fault> {
    let parsed = DeValue::parse(text).map_err(|error| Fault::of(error.message()))?;
    let reader = Reader {
        text: None,
        otherwise: origin.clone(),
        lookup: &|_| None,
    };
    let value = reader.value(parsed.get_ref(), origin.clone());
    value.map(|value| Node {
        value,
        origin: origin.clone(),
    })
}

struct Reader<'t> {
    /// References are looked for in a file only.
    text: Option<&'t str>,
    otherwise: Origin,
    lookup: &'t dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.and_then(|text| text.get(..at));
        before.map_or(self.otherwise.clone(), |before| {
            Origin::Line(before.matches('\n').count() + 1)
        })
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Table, Fault> {
        let entries = table.iter().map(|(name, value)| {
            let origin = self.origin(name.span().start);
            let value = self.value(value.get_ref(), origin.clone());
            let name = name.get_ref().to_string();
            let value = value.map_err(|fault| fault.within(&name))?;
            Ok((name, Node { value, origin }))
        });
        entries.collect()
    }

    fn value(&self, value: &DeValue<'_>, origin: Origin) -> Result<Value, Fault> {
        let fault = |message: String| Fault::of(message).at(&origin);
        Ok(match value {
            DeValue::Table(table) => Value::Table(self.table(table)?),
            DeValue::Array(list) => {
                let items = (1..).zip(list.iter()).map(|(nth, item)| {
                    let origin = self.origin(item.span().start);
                    let value = self.value(item.get_ref(), origin.clone());
                    let value = value.map_err(|fault| fault.within_list(nth))?;
                    Ok(Node { value, origin })
                });
                Value::List(items.collect::<Result<_, Fault>>()?)
            }
            DeValue::String(text) if self.text.is_some() => {
                let resolved = resolve(text, self.lookup);
                let resolved = resolved.map_err(|error| fault(error.to_string()))?;
                match resolved.has_references {
                    true => Value::Text(resolved.text.into_owned()),
                    false => Value::String(resolved.text.into_owned()),
                }
            }
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => {
                let read = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(
                    read.map_err(|_| fault(format!("{} is too large", number.as_str())))?,
                )
            }
            DeValue::Float(number) => {
                let read = number.as_str().parse();
                Value::Float(read.map_err(|_| fault(format!("{} is no number", number.as_str())))?)
            }
            DeValue::Boolean(is) => Value::Boolean(*is),
            DeValue::Datetime(time) => Value::String(time.to_string()),
        })
    }
}

/// Puts a value in the place of what a key has, if it has anything.
///
/// # Errors
/// The key leads into a value that has no keys.
pub fn set(table: &mut Table, key: &str, value: &str, origin: &Origin) -> Result<(), Fault> {
    let node = Node {
        value: Value::Text(value.to_owned()),
        origin: origin.clone(),
    };
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), node);
        return Ok(());
    };
    let inner = table.entry(first.to_owned()).or_insert_with(|| Node {
        value: Value::Table(Table::new()),
        origin: origin.clone(),
    });
    match &mut inner.value {
        Value::Table(inner) => set(inner, rest, value, origin).map_err(|fault| fault.within(first)),
        Value::List(_) => Err(Fault::of(
            "is a list, which is set as a whole, such as '[{address = \"0.0.0.0:2525\"}]'",
        )
        .within(first)
        .at(origin)),
        _ => Err(Fault::of("is a value and has no keys of its own")
            .within(first)
            .at(origin)),
    }
}

/// Where the setting comes from that an error begins with, as in `cluster.listen: not here` or `smtp.listener[2].tls: none`,
/// entries of a list counted from 1; of the section, if the key is left out.
pub fn origin_of(table: &Table, error: &str) -> Option<Origin> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.[]".contains(c);
    let key = error.split(|c| !is_part(c)).next()?;
    let (mut table, mut found) = (table, None);
    for part in key.split('.') {
        let (part, nth) = entry(part);
        let Some(mut node) = table.get(part) else {
            break;
        };
        found = Some(&node.origin);
        if let (Some(nth), Value::List(list)) = (nth, &node.value) {
            let Some(item) = list.get(nth) else { break };
            found = Some(&item.origin);
            node = item;
        }
        let Value::Table(inner) = &node.value else {
            break;
        };
        table = inner;
    }
    found.cloned()
}

/// `listener[2]` is the entry 1 of `listener`.
fn entry(part: &str) -> (&str, Option<usize>) {
    let split = part.strip_suffix(']').and_then(|part| part.split_once('['));
    let Some((name, nth)) = split else {
        return (part, None);
    };
    (
        name,
        nth.parse::<usize>().ok().and_then(|nth| nth.checked_sub(1)),
    )
}

/// All keys that are given, such as `smtp.limits.recipients`; those of lists of tables without their numbers.
pub fn keys(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    collect(table, "", &mut found);
    found
}

fn collect(table: &Table, path: &str, found: &mut Vec<String>) {
    for (name, node) in table {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        found.push(path.clone());
        match &node.value {
            Value::Table(inner) => collect(inner, &path, found),
            Value::List(list) => {
                for item in list {
                    if let Value::Table(inner) = &item.value {
                        collect(inner, &path, found);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn read(text: &str) -> Table {
        of_file(text, &|_| None).unwrap()
    }

    #[test]
    fn keys_are_found_and_sections_where_they_are_left_out() {
        let text = "role = \"all\"\n[smtp]\nhostname = \"a\"\n[smtp.limits]\n\nrecipients = 1\n\
                    [[smtp.listener]]\naddress = \"a\"\n[[smtp.listener]]\naddress = \"b\"\ntls = \"none\"\n";
        let mut table = read(text);
        let origin = Origin::Environment("SKEIN_HTTP__LISTEN".to_owned());
        set(&mut table, "http.listen", "x", &origin).unwrap();
        for (error, line) in [
            ("smtp.hostname: no", Some(3)),
            ("smtp.limits.recipients: too few", Some(6)),
            ("smtp.limits: both", Some(4)),
            ("smtp.tls: missing", Some(2)),
            ("smtp.listener[2].tls: none", Some(11)),
            ("smtp.listener[2].address: wrong", Some(10)),
            ("smtp.listener[1].tls: left out", Some(7)),
            ("smtp.listener[9].tls: not there", Some(7)),
            ("cluster.listen: missing", None),
            ("Nothing of a key", None),
        ] {
            assert_eq!(origin_of(&table, error), line.map(Origin::Line), "{error}");
        }
        assert_eq!(origin_of(&table, "http.listen: no"), Some(origin));
    }

    #[test]
    fn all_keys_of_a_file_are_known() {
        let text = "role = \"all\"\n[smtp]\nhostname = \"a\"\n[[smtp.listener]]\naddress = \"a\"\n";
        let expected = [
            "role",
            "smtp",
            "smtp.hostname",
            "smtp.listener",
            "smtp.listener.address",
        ];
        let mut found = keys(&read(text));
        found.sort();
        assert_eq!(found, expected);
        assert!(of_file("= no", &|_| None).is_err());
    }
}

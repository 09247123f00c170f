//! Resources as lists of keys with single values, for comparing and showing.

use crate::yaml::{Documents, Node, Value};

/// The values of a resource's text, each with the keys around it, such as `members[1].ip`, in their order. Nothing for a text
/// that is no YAML.
pub(crate) fn flat(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for document in Documents::new(text, text.len()).flatten() {
        add(&mut found, String::new(), &document);
    }
    found
}

fn add(found: &mut Vec<(String, String)>, path: String, node: &Node) {
    match &node.value {
        Value::Scalar { text, .. } => found.push((path, text.clone())),
        // Words are compared together: one that is put first moves no other.
        Value::List(items) => match words(items) {
            Some(words) => found.push((path, format!("[{}]", words.join(", ")))),
            None => {
                for (nth, item) in items.iter().enumerate() {
                    add(found, format!("{path}[{}]", nth + 1), item);
                }
            }
        },
        Value::Map(entries) => {
            for entry in entries {
                let key = match entry.key.contains(['.', '[', ']', '"']) {
                    true => format!("{:?}", entry.key),
                    false => entry.key.clone(),
                };
                let path = match path.as_str() {
                    "" => key,
                    path => format!("{path}.{key}"),
                };
                add(found, path, &entry.node);
            }
        }
    }
}

fn words(items: &[Node]) -> Option<Vec<&str>> {
    let word = |item| match item {
        &Node {
            value: Value::Scalar { ref text, .. },
            ..
        } => Some(text.as_str()),
        _ => None,
    };
    items.iter().map(word).collect()
}

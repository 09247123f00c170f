//! Where in a file stands what a check refuses.

use toml::de::{DeTable, DeValue};

/// The line of the key that an error begins with, as in `cluster.listen: not here` or `smtp.listener[2].tls: none`, entries
/// of a list counted from 1; of the section, if the key is left out.
pub fn line_of(text: &str, error: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.[]".contains(c);
    let key = error.split(|c| !is_part(c)).next()?;
    let root = DeTable::parse(text).ok()?;
    let (mut table, mut start) = (root.get_ref(), None);
    for part in key.split('.') {
        let (part, nth) = entry(part);
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            break;
        };
        start = Some(name.span().start);
        let mut value = value.get_ref();
        if let (Some(nth), DeValue::Array(list)) = (nth, value) {
            let Some(item) = list.get(nth) else { break };
            start = Some(item.span().start);
            value = item.get_ref();
        }
        let DeValue::Table(inner) = value else {
            break;
        };
        table = inner;
    }
    let before = text.get(..start?)?;
    Some(before.matches('\n').count() + 1)
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

/// All keys that a file has, such as `smtp.limits.recipients`; those of lists of tables without their numbers.
pub fn keys(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(root) = DeTable::parse(text) {
        collect(root.get_ref(), "", &mut found);
    }
    found
}

fn collect(table: &DeTable<'_>, path: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = match path {
            "" => name.get_ref().to_string(),
            path => format!("{path}.{}", name.get_ref()),
        };
        found.push(path.clone());
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &path, found),
            DeValue::Array(list) => {
                for item in list {
                    if let DeValue::Table(inner) = item.get_ref() {
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
    use super::*;

    #[test]
    fn keys_are_found_and_sections_where_they_are_left_out() {
        let text = "role = \"all\"\n[smtp]\nhostname = \"a\"\n[smtp.limits]\n\nrecipients = 1\n\
                    [[smtp.listener]]\naddress = \"a\"\n[[smtp.listener]]\naddress = \"b\"\ntls = \"none\"\n";
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
            assert_eq!(line_of(text, error), line, "{error}");
        }
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
        let mut found = keys(text);
        found.sort();
        assert_eq!(found, expected);
        assert!(keys("= no").is_empty());
    }
}

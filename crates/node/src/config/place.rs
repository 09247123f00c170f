//! Where in a file stands what a check refuses.

use toml::de::{DeTable, DeValue};

/// The line of the key that an error begins with, as in `cluster.listen: not here`; of the section, if the key is left out.
pub fn line_of(text: &str, error: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let key = error.split(|c| !is_part(c)).next()?;
    let root = DeTable::parse(text).ok()?;
    let (mut table, mut start) = (root.get_ref(), None);
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            break;
        };
        start = Some(name.span().start);
        let DeValue::Table(inner) = value.get_ref() else {
            break;
        };
        table = inner;
    }
    let before = text.get(..start?)?;
    Some(before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_sections_where_they_are_left_out() {
        let text = "role = \"all\"\n[smtp]\nhostname = \"a\"\n[smtp.limits]\n\nrecipients = 1\n";
        for (error, line) in [
            ("smtp.hostname: no", Some(3)),
            ("smtp.limits.recipients: too few", Some(6)),
            ("smtp.limits: both", Some(4)),
            ("smtp.tls: missing", Some(2)),
            ("cluster.listen: missing", None),
            ("Nothing of a key", None),
        ] {
            assert_eq!(line_of(text, error), line, "{error}");
        }
    }
}

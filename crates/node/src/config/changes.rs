//! What differs between two configurations.

use std::collections::BTreeSet;

use super::Config;

impl Config {
    /// The keys whose values differ, such as `smtp.listener`.
    pub fn changed(&self, other: &Self) -> anyhow::Result<BTreeSet<String>> {
        let (one, other) = (self.shown(true)?, other.shown(true)?);
        let mut found = BTreeSet::new();
        collect(&one, &other, "", &mut found);
        collect(&other, &one, "", &mut found);
        Ok(found)
    }
}

fn collect(one: &toml::Table, other: &toml::Table, path: &str, found: &mut BTreeSet<String>) {
    for (name, value) in one {
        let path = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match (value, other.get(name)) {
            (toml::Value::Table(one), Some(toml::Value::Table(other))) => {
                collect(one, other, &path, found);
            }
            (value, Some(other)) if value == other => {}
            _ => {
                found.insert(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn each_key_that_differs_is_named_whichever_side_has_it() {
        let read = |text: &str| Config::parse(text).unwrap();
        let one = "[log]\nlevel = \"debug\"\n[[smtp.listener]]\naddress = \"127.0.0.1:1\"\n";
        let other = "[[smtp.listener]]\naddress = \"127.0.0.1:2\"\n[cluster]\nname = \"n\"\n";
        let (one, other) = (read(one), read(other));
        let expected = ["cluster.name", "log.level", "smtp.listener"];
        for (one, other) in [(&one, &other), (&other, &one)] {
            let found: Vec<String> = one.changed(other).unwrap().into_iter().collect();
            assert_eq!(found, expected);
        }
        assert!(one.changed(&one).unwrap().is_empty());
    }
}

//! What two texts of a resource differ in.

use std::collections::BTreeMap;

use crate::flat::flat;
use crate::ip::MASK;

/// One key of a resource that is another one than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// With the keys around it, such as `members[1].weight`. Empty where the texts differ in how they are written alone.
    pub key: String,
    /// None: it was not there.
    pub before: Option<String>,
    /// None: it is not there.
    pub after: Option<String>,
}

/// The keys that differ, in the order of the later text; those that are gone come last. None for equal texts, and some for any
/// others. Passwords are [`MASK`].
pub fn diff(before: &str, after: &str) -> Vec<KeyChange> {
    if before == after {
        return Vec::new();
    }
    let (was, is) = (flat(before), flat(after));
    let old: BTreeMap<&str, &str> = was.iter().map(|(key, value)| (&**key, &**value)).collect();
    let new: BTreeMap<&str, &str> = is.iter().map(|(key, value)| (&**key, &**value)).collect();
    let kept = is.iter().map(|(key, _)| key);
    let gone = was.iter().map(|(key, _)| key);
    let gone = gone.filter(|key| !new.contains_key(key.as_str()));
    let mut changes = Vec::new();
    for key in kept.chain(gone) {
        let (before, after) = (old.get(key.as_str()), new.get(key.as_str()));
        if before != after {
            let shown = |value: Option<&&str>| value.map(|value| shown(key, value));
            changes.push(KeyChange {
                key: key.clone(),
                before: shown(before),
                after: shown(after),
            });
        }
    }
    if changes.is_empty() {
        let one_line = |text: &str| Some(text.trim_end().replace('\n', " | "));
        changes.push(KeyChange {
            key: String::new(),
            before: one_line(before).filter(|_| !has_password(before)),
            after: one_line(after).filter(|_| !has_password(after)),
        });
    }
    changes
}

fn is_password(key: &str) -> bool {
    let last = key.rsplit('.').next();
    matches!(last, Some("password" | "signing_secret" | "headers"))
}

fn has_password(text: &str) -> bool {
    flat(text).iter().any(|(key, _)| is_password(key))
}

fn shown(key: &str, value: &str) -> String {
    match is_password(key) {
        true => MASK.to_owned(),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::place::Kind;
    use crate::write::Map;

    fn changes(before: &str, after: &str) -> Vec<(String, String, String)> {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let changes = diff(before, after).into_iter();
        changes
            .map(|one| (one.key, or_none(one.before), or_none(one.after)))
            .collect()
    }

    #[test]
    fn each_key_is_told_with_what_it_was() {
        let before = "kind: pool\nname: p\nmembers:\n  - ip: a\n  - ip: b\n    weight: 3\nlimits:\n  connections: 5\n";
        let after = "kind: pool\nname: p\nmembers:\n  - ip: a\n    weight: 2\n  - ip: c\n    weight: 3\noverflow: q\n";
        let told = changes(before, after);
        let told: Vec<(&str, &str, &str)> =
            told.iter().map(|(a, b, c)| (&**a, &**b, &**c)).collect();
        assert_eq!(
            told,
            [
                ("members[1].weight", "-", "2"),
                ("members[2].ip", "b", "c"),
                ("overflow", "-", "q"),
                ("limits.connections", "5", "-"),
            ]
        );
        let told = changes("ips: [a, b]\n", "ips: [b, a]\n");
        assert_eq!(told, [("ips".into(), "[a, b]".into(), "[b, a]".into())]);
        assert_eq!(
            changes("a: 1\n", "a:  1\n").len(),
            1,
            "no text is equal to another"
        );
    }

    #[test]
    fn passwords_are_not_told() {
        let text = |password: &str| format!("name: a\nproxy:\n  user: u\n  password: {password}\n");
        for (before, after) in [
            (text("secret1"), text("secret2")),
            (String::new(), text("secret1")),
            (text("secret1"), text("secret1").replace("a\n", "a \n")),
        ] {
            let told = format!("{:?}", diff(&before, &after));
            assert!(!told.contains("secret") && told.len() > 2, "{told}");
        }
    }

    fn map() -> impl Strategy<Value = Map> {
        let value = "[a-z0-9.:/ \\[\\],\"]{0,6}";
        let leaf = proptest::collection::vec(("[a-z.\\[\\]\"]{1,3}", value), 0..4);
        let maps = proptest::collection::vec(leaf.clone(), 0..3);
        let words = proptest::collection::vec(value, 0..3);
        (leaf.clone(), maps, words, leaf).prop_map(|(top, maps, words, inner)| {
            let of = |leaf: Vec<(String, String)>| {
                let mut seen = std::collections::BTreeSet::new();
                let leaf = leaf.into_iter().filter(|(key, _)| seen.insert(key.clone()));
                leaf.fold(Map::default(), |map, (key, value)| map.set(&key, value))
            };
            let map = Map::of(Kind::Pool, "p").map("top", of(top));
            map.maps("maps", maps.into_iter().map(of))
                .list("words", words)
                .map("inner", of(inner))
        })
    }

    proptest! {
        #[test]
        fn there_is_none_for_equal_texts_and_some_for_others(a in map(), b in map()) {
            prop_assert_eq!(diff(&a.text(), &a.text()), []);
            prop_assert_eq!(diff(&a.text(), &b.text()).is_empty(), a.text() == b.text());
            let (forth, back) = (diff(&a.text(), &b.text()), diff(&b.text(), &a.text()));
            prop_assert_eq!(forth.len(), back.len());
        }
    }
}

//! Names of resources, hosts and domains, and which pattern of them matches.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// As in `skein_model::meta::is_tenant_name`: names stand in tables, in files and on the wire.
const NAME_BYTES_MAX: usize = 64;
/// RFC 1035 2.3.4.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Whether a resource can have this name.
pub fn is_resource_name(text: &str) -> bool {
    resource_name(text).is_ok()
}

pub(crate) fn resource_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(is_plain);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match is_name && begins_well {
        true => Ok(text.to_owned()),
        false => Err("must be up to 64 letters, digits, \".\", \"-\" or \"_\", beginning with a letter or digit".into()),
    }
}

/// What a node is called: in Kubernetes a DNS name (RFC 1123), elsewhere what its operator likes.
pub(crate) fn node_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match (1..=HOST_BYTES_MAX).contains(&text.len()) && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("must be the name of a node: letters, digits, \".\", \"-\" or \"_\"".into()),
    }
}

/// A host or domain name in lower case and as A-labels, without a dot at its end.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !text.is_ascii() {
        return Err("must be in ASCII: write a name in other letters as A-labels (xn--...)".into());
    }
    match text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("must be a host name such as mail.example.com".into()),
    }
}

/// Which names a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    Exact(String),
    /// All names below this one, and not the name itself.
    Below(String),
}

impl Pattern {
    /// `.google.com`, or the name of one host.
    pub(crate) fn of_hosts(text: &str) -> Result<Self, String> {
        match text.strip_prefix('.') {
            Some(rest) => host_name(rest).map(Self::Below),
            None => host_name(text).map(Self::Exact),
        }
        .map_err(|message| format!("{message}, or .example.com for all hosts below it"))
    }

    /// `*.example.com`, or one domain.
    pub(crate) fn of_domains(text: &str) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(rest) => host_name(rest).map(Self::Below),
            None => host_name(text).map(Self::Exact),
        }
        .map_err(|message| format!("{message}, or *.example.com for all domains below it"))
    }

    pub(crate) fn host_text(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Below(name) => format!(".{name}"),
        }
    }

    pub fn domain_text(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Below(name) => format!("*.{name}"),
        }
    }
}

/// What patterns lead to, found by a name's labels and not by trying each pattern.
#[derive(Debug, Clone)]
pub(crate) struct Names<T> {
    exact: BTreeMap<String, T>,
    below: BTreeMap<String, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        let (exact, below) = (BTreeMap::new(), BTreeMap::new());
        Self { exact, below }
    }
}

impl<T> Names<T> {
    /// The value that the pattern has already, if it has one: it stays.
    pub fn insert(&mut self, pattern: &Pattern, value: T) -> Option<&T> {
        let (map, name) = match pattern {
            Pattern::Exact(name) => (&mut self.exact, name),
            Pattern::Below(name) => (&mut self.below, name),
        };
        if map.contains_key(name) {
            return map.get(name);
        }
        map.insert(name.clone(), value);
        None
    }

    /// All that match, the most specific first.
    pub fn matches(&self, name: &str) -> impl Iterator<Item = &T> {
        let name = plain(name);
        let mut at = 0;
        let exact = self.exact.get(name.as_ref());
        let below = std::iter::from_fn(move || {
            while let Some(dot) = name.get(at..).and_then(|rest| rest.find('.')) {
                at += dot + 1;
                if let Some(found) = self.below.get(&name[at..]) {
                    return Some(found);
                }
            }
            None
        });
        exact.into_iter().chain(below)
    }

    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    pub fn best(&self, name: &str) -> Option<&T> {
        self.matches(name).next()
    }
}

fn plain(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_checked() {
        let long = "a".repeat(64);
        for (name, is_good) in [
            ("google", true),
            ("163", true),
            ("a.b-c_d", true),
            (&*long, true),
            (&*format!("{long}a"), false),
            ("", false),
            (".a", false),
            ("-a", false),
            ("a b", false),
            ("ä", false),
        ] {
            assert_eq!(resource_name(name).is_ok(), is_good, "{name}");
        }
        assert!(
            node_name("ip-10-0-0-1.eu-central-1.compute.internal.a-long-name-of-a-cloud.example")
                .is_ok()
        );
        assert!(node_name("a node").is_err() && node_name("").is_err());
        for (name, is_good) in [
            ("mail.example.com", true),
            ("localhost", true),
            ("_dmarc.example", true),
            ("a..b", false),
            (".a", false),
            ("a.", false),
            ("-a.b", false),
            ("a b", false),
            ("bücher.example", false),
            (&*format!("{long}.b"), false),
            ("", false),
        ] {
            assert_eq!(host_name(name).is_ok(), is_good, "{name}");
        }
    }

    #[test]
    fn the_longest_pattern_comes_first() {
        let mut names = Names::default();
        for pattern in [
            "*.example",
            "*.mail.example",
            "mail.example",
            "a.mail.example",
        ] {
            let parsed = Pattern::of_domains(pattern).expect(pattern);
            assert_eq!(names.insert(&parsed, pattern), None);
            assert_eq!(names.insert(&parsed, "again"), Some(&pattern));
        }
        for (name, expected) in [
            ("example", ""),
            ("other.example", "*.example"),
            ("mail.example", "mail.example *.example"),
            ("A.Mail.Example.", "a.mail.example *.mail.example *.example"),
            ("b.mail.example", "*.mail.example *.example"),
            ("xmail.example", "*.example"),
            ("", ""),
            (".", ""),
            ("é.example", "*.example"),
        ] {
            let found: Vec<&str> = names.matches(name).copied().collect();
            assert_eq!(found.join(" "), expected, "{name}");
            assert_eq!(names.best(name), found.first());
        }
    }

    proptest! {
        #[test]
        fn looking_up_agrees_with_trying_each(
            patterns in proptest::collection::vec("(\\*\\.)?[ab](\\.[ab]){0,3}", 0..20),
            name in "[ab](\\.[ab]){0,4}",
        ) {
            let mut names = Names::default();
            for text in &patterns {
                names.insert(&Pattern::of_domains(text).expect("made so"), text.as_str());
            }
            let mut tried: Vec<&str> = patterns.iter().map(String::as_str).filter(|pattern| match pattern.strip_prefix('*') {
                Some(rest) => name.ends_with(rest),
                None => *pattern == name,
            }).collect();
            tried.sort_by_key(|pattern| (pattern.starts_with('*'), std::cmp::Reverse(pattern.len())));
            tried.dedup();
            prop_assert_eq!(names.matches(&name).copied().collect::<Vec<_>>(), tried);
        }
    }
}

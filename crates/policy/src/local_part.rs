//! The part of an address before its @, as a resource names it.

use std::collections::BTreeMap;
use std::fmt;

/// RFC 5321 4.5.3.1.3: what a path leaves for it.
const BYTES_MAX: usize = 254;

/// What is claimed of the addresses of a domain. In lower case, without quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalPart {
    Exact(String),
    /// `prefix*`: all that begin so and go on.
    Begins(String),
    /// `*`: all others.
    All,
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Begins(prefix) => write!(f, "{prefix}*"),
            Self::All => f.write_str("*"),
        }
    }
}

impl LocalPart {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let form = "must be what stands before the @: postmaster, 'b+*' for all that begin with b+, or '*' for all others";
        if let Some((local, domain)) = text.rsplit_once('@') {
            return Err(format!("{form}; write {local}, and {domain} under domains"));
        }
        let (body, is_open) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text, false),
        };
        let is_plain =
            |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '*' | '"' | '\\');
        if text.len() > BYTES_MAX || !body.chars().all(is_plain) || is_relayed(body) {
            return Err(form.into());
        }
        match (body, is_open) {
            ("", true) => Ok(Self::All),
            ("", false) => Err(form.into()),
            (prefix, true) => Ok(Self::Begins(prefix.to_lowercase())),
            (exact, false) => Ok(Self::Exact(exact.to_lowercase())),
        }
    }
}

/// Whether some host behind us would take a local part for a route to elsewhere (`victim%other.test`, `other.test!victim`): no
/// pattern stands for such an address.
fn is_relayed(local: &str) -> bool {
    local.contains(['%', '!', '@'])
}

/// What local parts lead to.
#[derive(Debug, Clone)]
pub(crate) struct LocalParts<T> {
    exact: BTreeMap<String, T>,
    begins: BTreeMap<String, T>,
    all: Option<T>,
}

impl<T> Default for LocalParts<T> {
    fn default() -> Self {
        let (exact, begins) = (BTreeMap::new(), BTreeMap::new());
        Self {
            exact,
            begins,
            all: None,
        }
    }
}

impl<T> LocalParts<T> {
    /// Whether it is new; else what was there stays.
    pub fn insert(&mut self, part: &LocalPart, value: T) -> bool {
        let (map, name) = match part {
            LocalPart::Exact(name) => (&mut self.exact, name),
            LocalPart::Begins(name) => (&mut self.begins, name),
            LocalPart::All => {
                let is_new = self.all.is_none();
                self.all.get_or_insert(value);
                return is_new;
            }
        };
        let is_new = !map.contains_key(name);
        if is_new {
            map.insert(name.clone(), value);
        }
        is_new
    }

    /// For a local part without quotes, in any case: the exact one, else that with the longest beginning, else that of all.
    pub fn find(&self, local: &str) -> Option<&T> {
        let local = local.to_lowercase();
        if let Some(found) = self.exact.get(&local) {
            return Some(found);
        }
        if local.is_empty() || is_relayed(&local) {
            return None;
        }
        let ends = local.char_indices().rev().map(|(at, _)| at);
        let mut begins = ends.filter_map(|end| self.begins.get(&local[..end]));
        begins.next().or(self.all.as_ref())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_most_specific_claim_decides() {
        let mut parts = LocalParts::default();
        for text in ["postmaster", "b+*", "b+big*", "B+one"] {
            let part = LocalPart::parse(text).unwrap();
            assert!(parts.insert(&part, text), "{text}");
            assert!(!parts.insert(&part, "again"), "{text}");
        }
        let rows = [
            ("postmaster", Some("postmaster")),
            ("PostMaster", Some("postmaster")),
            ("postmasters", None),
            ("b+", None),
            ("b+x", Some("b+*")),
            ("B+Bigger", Some("b+big*")),
            ("b+big", Some("b+*")),
            ("b+one", Some("B+one")),
            ("b", None),
            ("", None),
            ("b+victim%other.test", None),
            ("b+other.test!victim", None),
            ("b+x@other.test", None),
        ];
        for (local, expected) in rows {
            assert_eq!(parts.find(local).copied(), expected, "{local}");
        }
        parts.insert(&LocalPart::All, "*");
        assert_eq!(parts.find("anybody"), Some(&"*"));
        assert_eq!(parts.find("victim%other.test"), None);
    }

    #[test]
    fn what_is_no_local_part_is_refused() {
        for text in [
            "", "a b", "a@b.test", "a*b", "\"a\"", "a%b", "a!b", "**", "a\u{7}",
        ] {
            assert!(LocalPart::parse(text).is_err(), "{text:?}");
        }
        for text in ["*", "a*", "bounce+*", "ümlaut", "a.b=c"] {
            assert_eq!(LocalPart::parse(text).unwrap().to_string(), text);
        }
    }
}

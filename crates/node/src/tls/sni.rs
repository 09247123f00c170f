//! Which certificate a client is shown: by the server name that it asks for (RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Which of several things a name stands for; the first one is for all other names.
#[derive(Debug, Default)]
struct Index {
    exact: HashMap<String, usize>,
    /// `example.com` for `*.example.com`: one label in place of the star.
    below: HashMap<String, usize>,
}

impl Index {
    /// A name that several have is that of the first.
    fn new<'n>(names: impl IntoIterator<Item = &'n [String]>) -> Self {
        let mut found = Self::default();
        for (nth, names) in names.into_iter().enumerate() {
            for name in names {
                let name = name.to_ascii_lowercase();
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut found.below, parent.to_owned()),
                    None => (&mut found.exact, name),
                };
                map.entry(name).or_insert(nth);
            }
        }
        found
    }

    fn choose(&self, asked: Option<&str>) -> usize {
        let Some(asked) = asked else { return 0 };
        let asked = asked.to_ascii_lowercase();
        let asked = asked.strip_suffix('.').unwrap_or(&asked);
        if let Some(nth) = self.exact.get(asked) {
            return *nth;
        }
        let parent = asked.split_once('.').map(|(_, parent)| parent);
        let below = parent.and_then(|parent| self.below.get(parent));
        below.copied().unwrap_or(0)
    }
}

/// A certificate, and the names that it is shown for.
#[derive(Debug, Clone)]
pub struct Shown {
    pub key: Arc<CertifiedKey>,
    pub names: Vec<String>,
}

/// The certificates that handshakes use now.
#[derive(Debug)]
pub struct Certificates(RwLock<Table>);

#[derive(Debug)]
struct Table {
    shown: Vec<Shown>,
    index: Index,
}

impl Table {
    fn new(shown: Vec<Shown>) -> Self {
        let index = Index::new(shown.iter().map(|one| one.names.as_slice()));
        Self { shown, index }
    }
}

impl Certificates {
    /// The first one is for clients that ask for no name, or for one that no certificate is for: mail clients go on all the
    /// same, and those that verify find out by themselves.
    pub fn new(shown: Vec<Shown>) -> Self {
        Self(RwLock::new(Table::new(shown)))
    }

    /// The `nth` is another one from here on.
    pub fn replace(&self, nth: usize, new: Shown) {
        let mut table = self.0.write();
        let mut shown = std::mem::take(&mut table.shown);
        if let Some(place) = shown.get_mut(nth) {
            *place = new;
        }
        *table = Table::new(shown);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.read();
        let nth = table.index.choose(hello.server_name());
        table.shown.get(nth).map(|one| one.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_certificate_that_is_for_it_or_the_first() {
        let names =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let all = [
            names("mx.a.test"),
            names("*.b.test b.test"),
            names("Special.B.test"),
            names("mx.a.test *.c.test"),
        ];
        let index = Index::new(all.iter().map(Vec::as_slice));
        for (asked, nth) in [
            (None, 0),
            (Some(""), 0),
            (Some("mx.a.test"), 0),
            (Some("MX.A.TEST"), 0),
            (Some("a.test"), 0),
            (Some("b.test"), 1),
            (Some("any.b.test"), 1),
            (Some("any.b.test."), 1),
            (Some("two.labels.b.test"), 0),
            (Some("special.b.test"), 2),
            (Some("x.c.test"), 3),
            (Some("c.test"), 0),
            (Some("*.b.test"), 1),
            (Some("unknown.test"), 0),
        ] {
            assert_eq!(index.choose(asked), nth, "{asked:?}");
        }
        assert_eq!(Index::new([]).choose(Some("a.test")), 0);
    }
}

//! Which keys a kind of resource may have, and which values: recorded from the very calls that read it, so that neither can
//! have what the other has not.
//!
//! What keys mean together is not in a shape: a resource that has this shape may still be refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::credential::CredentialGiven;
use crate::ip::Ip;
use crate::names::resource_name;
use crate::place::{Kind, Place};
use crate::pool::Pool;
use crate::provider::ProviderGiven;
use crate::read::{Keys, Reader};
use crate::route::Route;
use crate::tenant::Tenant;
use crate::warmup::Warmup;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Map(MapShape),
    /// So many at most.
    List {
        of: Box<Shape>,
        max: usize,
        /// A single one needs no list.
        or_one: bool,
    },
    /// A whole number.
    Whole {
        least: u64,
        most: u64,
    },
    Flag,
    /// One of these.
    Word(Vec<String>),
    /// A text or number, with what the reader says of one that it does not take.
    Text(String),
    /// Any of these.
    Any(Vec<Shape>),
}

/// Keys with values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapShape {
    pub keys: Vec<(String, Shape)>,
    /// Keys that must be there.
    pub needed: Vec<String>,
    /// The values of all other keys, which are names; none: there are no others.
    pub others: Option<Box<Shape>>,
}

/// The keys of one map, as they are asked for.
pub(crate) type Recorder = Rc<RefCell<Recorded>>;

#[derive(Debug, Default)]
pub(crate) struct Recorded {
    keys: Vec<(String, Part)>,
    needed: Vec<String>,
    others: Option<Shape>,
}

#[derive(Debug)]
enum Part {
    Shape(Shape),
    Map(Recorder),
    Maps(Recorder, usize),
    /// A map, or one of these.
    Or(Recorder, Shape),
}

impl Recorded {
    /// What is said first of a key holds: later calls for it are of a more general kind.
    fn add(&mut self, key: &str, part: Part) {
        if !self.keys.iter().any(|(known, _)| known == key) {
            self.keys.push((key.to_owned(), part));
        }
    }

    pub fn shape(&mut self, key: &str, shape: Shape) {
        self.add(key, Part::Shape(shape));
    }

    pub fn map(&mut self, key: &str) -> Recorder {
        let inner = Recorder::default();
        self.add(key, Part::Map(inner.clone()));
        inner
    }

    pub fn maps(&mut self, key: &str, max: usize) -> Recorder {
        let inner = Recorder::default();
        self.add(key, Part::Maps(inner.clone(), max));
        inner
    }

    pub fn map_or(&mut self, key: &str, other: Shape) -> Recorder {
        let inner = Recorder::default();
        self.add(key, Part::Or(inner.clone(), other));
        inner
    }

    pub fn need(&mut self, key: &str) {
        self.needed.push(key.to_owned());
    }

    pub fn others(&mut self, shape: Shape) {
        self.others = Some(shape);
    }

    fn done(&self) -> MapShape {
        let keys = self.keys.iter().map(|(key, part)| {
            let shape = match part {
                Part::Shape(shape) => shape.clone(),
                Part::Map(inner) => Shape::Map(inner.borrow().done()),
                Part::Maps(inner, max) => Shape::List {
                    of: Box::new(Shape::Map(inner.borrow().done())),
                    max: *max,
                    or_one: false,
                },
                Part::Or(inner, other) => {
                    Shape::Any(vec![other.clone(), Shape::Map(inner.borrow().done())])
                }
            };
            (key.clone(), shape)
        });
        MapShape {
            keys: keys.collect(),
            needed: self.needed.clone(),
            others: self.others.clone().map(Box::new),
        }
    }
}

/// What no parser takes that takes not everything.
const NO_VALUE: &str = "\u{1}";

impl Shape {
    /// What a parser takes: its words, if its refusal lists them and it takes each.
    pub(crate) fn of_parser<T>(parse: impl Fn(&str) -> Result<T, String>) -> Self {
        let says = parse(NO_VALUE).err().unwrap_or_default();
        // Some begin with what they were given.
        let says = says
            .strip_prefix(&format!("{NO_VALUE:?} "))
            .map_or(says.clone(), str::to_owned);
        if let Some((least, most)) = whole_range(&says) {
            return Self::Whole { least, most };
        }
        let list = says.strip_prefix("must be ").unwrap_or(&says);
        let list = list
            .strip_prefix("of ")
            .unwrap_or(list)
            .replace(" or ", ", ");
        let words = list
            .split(", ")
            .map(|part| part.split(" (").next().unwrap_or(part));
        let words: Vec<&str> = words.collect();
        let is_word = |word: &&str| {
            word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && parse(word).is_ok()
        };
        match words.len() > 1 && words.iter().all(is_word) {
            true => Self::Word(words.into_iter().map(str::to_owned).collect()),
            false => Self::Text(says),
        }
    }
}

/// The bounds in what is said of a text that is no whole number within them.
fn whole_range(says: &str) -> Option<(u64, u64)> {
    let range = says.strip_prefix("must be a whole number from ")?;
    let (least, most) = range.split_once(" to ")?;
    Some((least.parse().ok()?, most.parse().ok()?))
}

impl Shape {
    pub(crate) fn of_words(words: &[&str]) -> Self {
        Self::Word(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl Kind {
    /// What a resource of this kind looks like, with `kind` and `name`.
    pub fn shape(self) -> MapShape {
        let recorder = Recorder::default();
        let place = Place {
            source: Arc::from("shape"),
            line: 1,
        };
        let mut reader = Reader::new(self, "shape", place);
        let mut keys = Keys::recording(recorder.clone());
        {
            let mut top = recorder.borrow_mut();
            top.shape("kind", Shape::Word(vec![self.name().to_owned()]));
            top.shape("name", Shape::of_parser(resource_name));
            top.need("kind");
            top.need("name");
        }
        match self {
            Self::Credential => drop(CredentialGiven::read(&mut reader, &mut keys)),
            Self::Ip => drop(Ip::read(&mut reader, &mut keys)),
            Self::Pool => drop(Pool::read(&mut reader, &mut keys)),
            Self::Provider => drop(ProviderGiven::read(&mut reader, &mut keys)),
            Self::Route => drop(Route::read(&mut reader, &mut keys)),
            Self::Tenant => drop(Tenant::read(&mut reader, &mut keys)),
            Self::Warmup => drop(Warmup::read(&mut reader, &mut keys)),
        }
        let shape = recorder.borrow().done();
        shape
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Source;
    use crate::draft::Draft;

    fn at<'s>(shape: &'s MapShape, path: &str) -> Option<&'s Shape> {
        let (key, rest) = path.split_once('.').unwrap_or((path, ""));
        let found = &shape.keys.iter().find(|(known, _)| known == key)?.1;
        match (rest, found) {
            ("", found) => Some(found),
            (rest, Shape::Map(inner)) => at(inner, rest),
            (rest, Shape::List { of, .. }) => match &**of {
                Shape::Map(inner) => at(inner, rest),
                _ => None,
            },
            (rest, Shape::Any(shapes)) => shapes.iter().find_map(|shape| match shape {
                Shape::Map(inner) => at(inner, rest),
                _ => None,
            }),
            _ => None,
        }
    }

    #[test]
    fn shapes_say_what_the_readers_take() {
        let words = Shape::of_words;
        let whole = |least, most| Shape::Whole { least, most };
        for (kind, path, expected) in [
            (
                Kind::Provider,
                "tls",
                words(&["opportunistic", "require", "disable"]),
            ),
            (Kind::Provider, "per_ip.connections", whole(1, 65_535)),
            (Kind::Provider, "extends", Shape::Flag),
            (
                Kind::Provider,
                "automation.scope",
                words(&["site", "tenant", "pool"]),
            ),
            (
                Kind::Provider,
                "automation.action.connections",
                whole(1, 65_535),
            ),
            (Kind::Ip, "state", words(&["active", "suspended"])),
            (Kind::Pool, "members.weight", whole(1, 1000)),
            (
                Kind::Warmup,
                "schedule.formula.factor_percent",
                whole(101, 1000),
            ),
        ] {
            assert_eq!(at(&kind.shape(), path), Some(&expected), "{kind} {path}");
        }
        for (kind, path) in [
            (Kind::Ip, "bind"),
            (Kind::Ip, "proxy.socks5"),
            (Kind::Provider, "timeouts.dot"),
            (Kind::Provider, "total.message_rate"),
            (Kind::Provider, "mx"),
            (Kind::Route, "pools"),
            (Kind::Tenant, "limits.message_rate"),
            (Kind::Warmup, "schedule.table"),
            (Kind::Warmup, "utc_offset"),
        ] {
            assert!(at(&kind.shape(), path).is_some(), "{kind} {path}");
        }
        assert_eq!(Kind::Ip.shape().needed, ["kind", "name", "bind", "ehlo"]);
    }

    /// What the reader lists as the keys that there are when it meets one that there is not.
    #[test]
    fn the_keys_are_those_that_the_reader_names() {
        for kind in Kind::ALL {
            let text = format!("kind: {kind}\nname: x\nno_such_key: 1\n");
            let problems = Draft::read(&[Source {
                name: "t",
                text: &text,
            }])
            .into_problems();
            let said = problems
                .iter()
                .find(|problem| problem.message.contains("no_such_key"));
            let (_, listed) = said.unwrap().message.split_once("there are ").unwrap();
            let listed = listed.split(" (did you mean").next().unwrap();
            let mut listed: Vec<&str> = listed.split(", ").collect();
            listed.extend(["kind", "name"]);
            let shape = kind.shape();
            let mut keys: Vec<&str> = shape.keys.iter().map(|(key, _)| key.as_str()).collect();
            listed.sort_unstable();
            listed.dedup();
            keys.sort_unstable();
            assert_eq!(keys, listed, "{kind}");
        }
    }
}

//! Which keys a kind of resource may have, and which values: recorded from the very calls that read it, so that neither can
//! have what the other has not.
//!
//! What keys mean together is not in a shape: a resource that has this shape may still be refused.

use std::cell::RefCell;
use std::rc::Rc;

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

    pub fn done(&self) -> MapShape {
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

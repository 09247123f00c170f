//! CBOR (RFC 8949) as a tree, to be changed a little.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::id::mix(self.0)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Of time: mostly none or little, now and then days.
    pub fn step(&mut self) -> u64 {
        [0, 1, 1_000, 3_600_000, 86_400_000][self.below(5)]
    }
}

#[derive(Debug, Clone)]
pub enum Item {
    Number(u64),
    Negative(i64),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Item>),
    Map(Vec<(Item, Item)>),
    Bool(bool),
    Null,
}

/// Near the ends of what integers, slots, times and counts can be.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    7,
    255,
    256,
    1023,
    1024,
    65_535,
    65_536,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    1 << 48,
    1 << 63,
    253_402_300_799_999,
    u64::MAX - 1,
    u64::MAX,
];
const TEXTS: [&str; 9] = [
    "",
    " ",
    "a",
    "bad host:1",
    "127.0.0.1:7000",
    "a\r\nb",
    "ä\u{202e}ö",
    "google",
    "\0",
];

impl Item {
    pub fn read(bytes: &[u8]) -> Self {
        Self::next(&mut Decoder::new(bytes))
    }

    fn next(from: &mut Decoder<'_>) -> Self {
        match from.datatype().unwrap() {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Self::Number(from.u64().unwrap()),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => Self::Negative(from.i64().unwrap()),
            Type::Bytes => Self::Bytes(from.bytes().unwrap().to_vec()),
            Type::String => Self::Text(from.str().unwrap().to_owned()),
            Type::Bool => Self::Bool(from.bool().unwrap()),
            Type::Null => {
                from.null().unwrap();
                Self::Null
            }
            Type::Array => {
                let items = from.array().unwrap().unwrap();
                Self::List((0..items).map(|_| Self::next(from)).collect())
            }
            Type::Map => {
                let items = from.map().unwrap().unwrap();
                let pair = |_| (Self::next(from), Self::next(from));
                Self::Map((0..items).map(pair).collect())
            }
            other => unreachable!("no command has {other}"),
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut to = Encoder::new(Vec::new());
        self.write_to(&mut to);
        to.into_writer()
    }

    fn write_to(&self, to: &mut Encoder<Vec<u8>>) {
        match self {
            Self::Number(n) => drop(to.u64(*n).unwrap()),
            Self::Negative(n) => drop(to.i64(*n).unwrap()),
            Self::Bytes(bytes) => drop(to.bytes(bytes).unwrap()),
            Self::Text(text) => drop(to.str(text).unwrap()),
            Self::Bool(one) => drop(to.bool(*one).unwrap()),
            Self::Null => drop(to.null().unwrap()),
            Self::List(items) => {
                to.array(items.len() as u64).unwrap();
                items.iter().for_each(|item| item.write_to(to));
            }
            Self::Map(items) => {
                to.map(items.len() as u64).unwrap();
                for (key, value) in items {
                    key.write_to(to);
                    value.write_to(to);
                }
            }
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::List(items) => items.iter().map(Self::count).sum(),
            Self::Map(items) => items.iter().map(|(k, v)| k.count() + v.count()).sum(),
            _ => 0,
        }
    }

    /// Changes one of its parts, any with the same chance.
    pub fn mutate(&mut self, random: &mut Random) {
        let nth = random.below(self.count());
        self.mutate_nth(nth, random);
    }

    fn mutate_nth(&mut self, nth: usize, random: &mut Random) {
        if nth == 0 {
            return self.change(random);
        }
        let mut before = 1;
        let parts: Vec<&mut Self> = match self {
            Self::List(items) => items.iter_mut().collect(),
            Self::Map(items) => items.iter_mut().flat_map(|(k, v)| [k, v]).collect(),
            _ => Vec::new(),
        };
        for part in parts {
            let count = part.count();
            if nth < before + count {
                return part.mutate_nth(nth - before, random);
            }
            before += count;
        }
    }

    fn change(&mut self, random: &mut Random) {
        match self {
            Self::Number(n) => {
                *n = match random.below(3) {
                    0 => random.next(),
                    1 => n.wrapping_add(1),
                    _ => NUMBERS[random.below(NUMBERS.len())],
                }
            }
            Self::Negative(n) => *n = [i64::MIN, -1, -721][random.below(3)],
            Self::Text(text) if random.below(4) == 0 => {
                *text = "x".repeat([64, 65, 255, 256, 5000][random.below(5)]);
            }
            Self::Text(text) => TEXTS[random.below(TEXTS.len())].clone_into(text),
            Self::Bytes(bytes) if random.below(2) == 0 && !bytes.is_empty() => {
                let place = random.below(bytes.len());
                bytes[place] = random.next() as u8;
            }
            Self::Bytes(bytes) => {
                let length = random.below(40);
                bytes.resize(length, 7);
            }
            Self::Bool(one) => *one = !*one,
            Self::List(items) if !items.is_empty() => {
                let place = random.below(items.len());
                match random.below(4) {
                    0 => drop(items.remove(place)),
                    1 => items.push(items[place].clone()),
                    2 => items.swap(place, 0),
                    _ => items[place] = Self::any(random),
                }
            }
            Self::Map(items) if !items.is_empty() => {
                let place = random.below(items.len());
                match random.below(2) {
                    0 => drop(items.remove(place)),
                    _ => items.push(items[place].clone()),
                }
            }
            Self::List(_) | Self::Map(_) | Self::Null => *self = Self::any(random),
        }
    }

    fn any(random: &mut Random) -> Self {
        match random.below(6) {
            0 => Self::Null,
            1 => Self::Number(NUMBERS[random.below(NUMBERS.len())]),
            2 => Self::Text(TEXTS[random.below(TEXTS.len())].to_owned()),
            3 => Self::Bytes(vec![1; 16]),
            4 => Self::List(Vec::new()),
            _ => Self::Bool(true),
        }
    }
}

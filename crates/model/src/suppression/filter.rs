//! Which keys have entries, as a sender has it in memory: it asks the control plane only for recipients that may be suppressed.

use std::fmt;

/// Each has 150 hashes of ten million: as few as fit into some lines of a processor's cache, so that a new one moves little.
const SHARDS: usize = 1 << 16;
/// A shard that is full grows by this part of itself, so that of all its room a ninth at most is empty.
const GROWTH: usize = 8;

/// The lower 48 bits of a hash; the upper 16 are the shard's.
type Rest = [u8; 6];

/// The hashes of keys ([`Key::hash`](super::Key::hash)): a set, exact in itself. Ten million have 65 MB, 78 with what the
/// allocator adds, and an empty one has 1.5.
///
/// Two keys may have the same hash, so whoever finds one asks. Six keys are looked up for a recipient, and of ten million hashes
/// one is met by chance for one in 300 billion recipients.
///
/// The set says no where it should say yes only if two suppressed keys have the same hash and one of them is removed: of ten million
/// keys, any two are such with a chance of 3 in a million.
pub struct Filter {
    /// Each in order.
    shards: Vec<Vec<Rest>>,
    len: usize,
}

fn divide(hash: u64) -> (usize, Rest) {
    let [a, b, rest @ ..] = hash.to_be_bytes();
    (usize::from(u16::from_be_bytes([a, b])), rest)
}

fn number([a, b, c, d, e, f]: Rest) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn place(shard: &[Rest], rest: Rest) -> Result<usize, usize> {
    shard.binary_search_by_key(&number(rest), |one| number(*one))
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            shards: vec![Vec::new(); SHARDS],
            len: 0,
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Sets are the same if their hashes are, in whatever order these came.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.shards == other.shards
    }
}

impl Eq for Filter {}

impl Filter {
    pub fn contains(&self, hash: u64) -> bool {
        let (shard, rest) = divide(hash);
        place(&self.shards[shard], rest).is_ok()
    }

    /// False: it was there.
    pub fn insert(&mut self, hash: u64) -> bool {
        let (shard, rest) = divide(hash);
        let shard = &mut self.shards[shard];
        let Err(place) = place(shard, rest) else {
            return false;
        };
        if shard.len() == shard.capacity() {
            shard.reserve_exact(1 + shard.len() / GROWTH);
        }
        shard.insert(place, rest);
        self.len += 1;
        true
    }

    /// False: it was not there.
    pub fn remove(&mut self, hash: u64) -> bool {
        let (shard, rest) = divide(hash);
        let shard = &mut self.shards[shard];
        let Ok(place) = place(shard, rest) else {
            return false;
        };
        shard.remove(place);
        self.len -= 1;
        // Twice what it grows by, so that one that comes and goes costs nothing.
        if shard.capacity() > 2 + shard.len() + shard.len() / (GROWTH / 2) {
            shard.shrink_to(1 + shard.len() + shard.len() / GROWTH);
        }
        true
    }

    /// How many hashes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it takes of memory, beside what the allocator needs for itself.
    pub fn bytes(&self) -> usize {
        let shards = self.shards.iter().map(Vec::capacity);
        SHARDS * size_of::<Vec<Rest>>() + shards.sum::<usize>() * size_of::<Rest>()
    }
}

impl Extend<u64> for Filter {
    fn extend<I: IntoIterator<Item = u64>>(&mut self, hashes: I) {
        for hash in hashes {
            self.insert(hash);
        }
    }
}

impl FromIterator<u64> for Filter {
    fn from_iter<I: IntoIterator<Item = u64>>(hashes: I) -> Self {
        let mut filter = Self::default();
        filter.extend(hashes);
        filter
    }
}

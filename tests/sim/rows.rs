//! Rows of a replica, with a hash of all of them that costs nothing to keep.

use skein_model::rows::{MemoryRows, Rows};

#[derive(Debug, Clone, Default)]
pub struct HashedRows {
    rows: MemoryRows,
    hash: u64,
}

impl HashedRows {
    /// Equal for equal rows, whatever order they were written in.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn toggle(&mut self, key: &[u8], value: &[u8]) {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in key.iter().chain(&[0xff]).chain(value) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash ^= hash ^ (hash >> 29);
    }
}

impl Rows for HashedRows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        Rows::get(&self.rows, key)
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if let Some(before) = Rows::get(&self.rows, &key) {
            self.toggle(&key, &before);
        }
        self.toggle(&key, &value);
        self.rows.put(key, value);
    }

    fn delete(&mut self, key: Vec<u8>) {
        if let Some(before) = Rows::get(&self.rows, &key) {
            self.toggle(&key, &before);
        }
        self.rows.delete(key);
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        Rows::scan(&self.rows, prefix, from, visit);
    }
}

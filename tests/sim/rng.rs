//! All chance of a run, from its seed.

/// SplitMix64: small, good enough, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// From `from` up to, not including, `end`.
    pub fn range(&mut self, from: u64, end: u64) -> u64 {
        from + self.below(end.saturating_sub(from))
    }

    pub fn in_thousand(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let place = self.below(from.len() as u64) as usize;
        from.get(place).copied()
    }
}

//! How many at once.

/// At most `limit` at once: connections, mostly.
///
/// Those of a dead predecessor are closed by its kernel, or never again heard of; they are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concurrency {
    limit: u64,
    out: u64,
}

impl Concurrency {
    pub fn new(limit: u64) -> Self {
        Self { limit, out: 0 }
    }

    /// Holds for what is opened from now on; what is open stays.
    pub fn set(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How many there are.
    pub fn out(&self) -> u64 {
        self.out
    }

    /// Counts one more if there may be one. It must be given back by [`Self::ended`].
    #[must_use]
    pub fn take(&mut self) -> bool {
        let is_open = self.is_open();
        self.out += u64::from(is_open);
        is_open
    }

    /// # Panics
    /// There is none.
    pub fn ended(&mut self) {
        let left = self.out.checked_sub(1);
        self.out = left.expect("what ends was counted");
    }

    /// Otherwise not before one ends.
    pub fn is_open(&self) -> bool {
        self.out < self.limit
    }

    pub fn is_idle(&self) -> bool {
        self.out == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_the_limit_and_a_lower_one_closes_nothing() {
        let mut limit = Concurrency::new(2);
        assert!(limit.take() && limit.take());
        assert!(!limit.take());
        limit.set(1);
        limit.ended();
        assert!(!limit.take(), "one is still there");
        assert_eq!((limit.out(), limit.is_idle()), (1, false));
        limit.ended();
        assert!(limit.take());
        assert!(!Concurrency::new(0).take());
    }

    #[test]
    #[should_panic(expected = "what ends was counted")]
    fn nothing_ends_twice() {
        Concurrency::new(1).ended();
    }
}

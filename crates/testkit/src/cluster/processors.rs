//! How busy the machine's processors are, as Linux counts it.

use std::fs;

/// Time of all processors together since the machine started, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processors {
    idle: u64,
    all: u64,
}

impl Processors {
    /// Nothing has passed where the kernel does not tell.
    pub fn now() -> Self {
        Self::of(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// The first line of proc_stat(5): user, nice, system, idle, iowait and others.
    fn of(stat: &str) -> Self {
        let first = stat.lines().next().unwrap_or_default();
        let ticks = first.split_ascii_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.map_while(|one| one.parse().ok()).collect();
        let [nice, idle, iowait] = [1, 3, 4].map(|at| ticks.get(at).copied().unwrap_or_default());
        Self {
            idle: nice + idle + iowait,
            // Those of guests are counted with user and nice.
            all: ticks.iter().take(8).sum(),
        }
    }

    /// The part of the time since then in which they had nothing to do but for what gives way, in percent; none if no time
    /// has passed.
    pub fn idle_percent_since(self, earlier: Self) -> Option<u64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.idle.saturating_sub(earlier.idle) * 100 / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_that_of_nothing_to_do_of_waiting_for_disks_and_of_what_gives_way() {
        let before = Processors::of("cpu  100 7 50 1000 10 0 5 0 0 0\ncpu0 1 2 3\n");
        let after = Processors::of("cpu  160 17 70 1010 10 0 5 0 0 0\n");
        assert_eq!(after.idle_percent_since(before), Some(20));
        assert_eq!(after.idle_percent_since(after), None);
        assert_eq!(
            Processors::of("").idle_percent_since(Processors::of("")),
            None
        );
    }
}

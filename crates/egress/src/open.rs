//! How many tunnels are open, by IP and epoch.

use std::collections::BTreeMap;

/// Tunnels of an IP under one epoch; those of an IP that moved away are in it until their sockets are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTunnels {
    pub ip: String,
    pub epoch: u64,
    pub tunnels: u32,
}

/// Counts of tunnels, from when they are admitted. One entry for each (IP, epoch) that has any: no more than tunnels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    counts: BTreeMap<(String, u64), u32>,
    total: u32,
}

impl Open {
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Tunnels of an IP, under whatever epoch: the cap is about what destinations see.
    pub fn of(&self, ip: &str) -> u32 {
        self.up_to(ip, u64::MAX)
    }

    /// Tunnels of an IP under this epoch and earlier ones.
    pub fn up_to(&self, ip: &str, epoch: u64) -> u32 {
        let range = (ip.to_owned(), 0)..=(ip.to_owned(), epoch);
        self.counts.range(range).map(|(_, tunnels)| tunnels).sum()
    }

    pub fn list(&self) -> Vec<OpenTunnels> {
        let tunnels = self.counts.iter();
        tunnels
            .map(|((ip, epoch), tunnels)| OpenTunnels {
                ip: ip.clone(),
                epoch: *epoch,
                tunnels: *tunnels,
            })
            .collect()
    }

    pub fn enter(&mut self, ip: &str, epoch: u64) {
        *self.counts.entry((ip.to_owned(), epoch)).or_default() += 1;
        self.total += 1;
    }

    /// # Panics
    /// Nothing is open there: a tunnel that leaves has entered.
    pub fn leave(&mut self, ip: &str, epoch: u64) {
        let key = (ip.to_owned(), epoch);
        let tunnels = self
            .counts
            .get_mut(&key)
            .expect("whoever leaves has entered");
        *tunnels -= 1;
        if *tunnels == 0 {
            self.counts.remove(&key);
        }
        self.total -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_counted_by_ip_and_by_epoch_and_nothing_is_left_behind() {
        let mut open = Open::default();
        for (ip, epoch) in [("a", 1), ("a", 1), ("a", 3), ("ab", 2)] {
            open.enter(ip, epoch);
        }
        assert_eq!((open.total(), open.of("a"), open.of("ab")), (4, 3, 1));
        assert_eq!((open.up_to("a", 0), open.up_to("a", 1)), (0, 2));
        assert_eq!((open.up_to("a", 2), open.up_to("a", 3)), (2, 3));
        open.leave("a", 1);
        assert_eq!(
            open.list()
                .iter()
                .map(|it| (it.ip.as_str(), it.epoch, it.tunnels))
                .collect::<Vec<_>>(),
            [("a", 1, 1), ("a", 3, 1), ("ab", 2, 1)]
        );
        for (ip, epoch) in [("a", 1), ("a", 3), ("ab", 2)] {
            open.leave(ip, epoch);
        }
        assert_eq!(open, Open::default());
    }
}

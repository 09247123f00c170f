//! The network of a run: addresses, ways in, and links that can be cut.

use std::path::PathBuf;

use super::host::{Addresses, Host};
use super::namespaces::{self, Namespaces};
use super::{Result, system};

/// From whom, to whom.
pub type Link = (Host, Host);

#[derive(Debug)]
pub struct Net {
    pub addresses: Addresses,
    /// None where the machine does not allow them.
    namespaces: Option<Namespaces>,
}

impl Net {
    /// Namespaces if the machine allows them, else an address on the loopback for each host; why, in that case.
    pub fn make(sites: u8) -> (Self, Option<String>) {
        let addresses = Addresses([10, 77]);
        match Namespaces::make(addresses, sites) {
            Ok(namespaces) => {
                let namespaces = Some(namespaces);
                (
                    Self {
                        addresses,
                        namespaces,
                    },
                    None,
                )
            }
            Err(error) => {
                // Runs of the same time do not meet.
                let low = u8::try_from(std::process::id() % 120).unwrap_or_default();
                let net = Self {
                    addresses: Addresses([127, 100 + low]),
                    namespaces: None,
                };
                (net, Some(error.to_string()))
            }
        }
    }

    pub fn can_cut(&self) -> bool {
        self.namespaces.is_some()
    }

    pub fn namespace(&self, host: Host) -> Option<PathBuf> {
        Some(self.namespaces.as_ref()?.path(host))
    }

    /// Does something at a host, such as starting a process.
    pub fn inside<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.namespace(host);
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                namespace.map_or(Ok(()), |namespace| namespaces::enter(&namespace))?;
                Ok(work())
            });
            there
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// What the first of a pair says does not reach the second any more.
    pub fn cut(&self, links: &[Link]) -> Result<()> {
        links.iter().try_for_each(|link| self.rule("-A", *link))
    }

    /// Undoes a cut, and tells how many packets it swallowed.
    pub fn heal(&self, links: &[Link]) -> Result<u64> {
        let mut swallowed = 0;
        for link in links {
            swallowed += self.swallowed(*link)?;
            self.rule("-D", *link)?;
        }
        Ok(swallowed)
    }

    fn rule(&self, what: &str, (from, to): Link) -> Result<()> {
        let Some(namespaces) = &self.namespaces else {
            return Ok(());
        };
        let (inside, from) = (namespaces.of(to), self.addresses.of(from).to_string());
        let rule = ["iptables", "-w", what, "INPUT", "-s", &from, "-j", "DROP"];
        let args = [&["netns", "exec", &inside], &rule[..]].concat();
        system("ip", &args).map(|_| ())
    }

    fn swallowed(&self, (from, to): Link) -> Result<u64> {
        let Some(namespaces) = &self.namespaces else {
            return Ok(0);
        };
        let inside = namespaces.of(to);
        let list = ["iptables", "-w", "-nvxL", "INPUT"];
        let listed = system("ip", &[&["netns", "exec", &inside], &list[..]].concat())?;
        let from = self.addresses.of(from).to_string();
        let rules = listed.lines().filter(|line| line.contains("DROP"));
        let mut rules = rules.map(|line| line.split_whitespace().collect::<Vec<_>>());
        let rule = rules.find(|words| words.contains(&from.as_str()));
        let packets = rule.and_then(|words| words.first()?.parse().ok());
        Ok(packets.unwrap_or(0))
    }
}

//! Network namespaces: a network of its own for each host, joined by a bridge that is in yet another one. Nothing of it
//! is seen by the rest of the machine.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::host::{Addresses, Host};
use super::{Result, io_error, system};

const FOLDER: &str = "/run/netns";
/// The id of the process follows, so that what a dead run left can be told from what a living one uses.
const PREFIX: &str = "skeinfaults";

/// Removed with everything in them when dropped.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
}

impl Namespaces {
    /// One for each host, with its addresses; `sites` of them for the sinks.
    ///
    /// # Errors
    /// The machine does not allow it, or lacks the tools.
    pub fn make(addresses: Addresses, sites: u8) -> Result<Self> {
        remove_leftovers();
        let made = Self {
            prefix: format!("{PREFIX}-{}-", std::process::id()),
        };
        let hub = made.name("hub");
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        for host in Host::nodes().chain([Host::Sinks, Host::Clients]) {
            made.join(&hub, host, addresses.of(host).to_string())?;
        }
        let sinks = made.of(Host::Sinks);
        for number in 0..sites {
            let address = format!("{}/16", addresses.site(number));
            ip(&["-n", &sinks, "address", "add", &address, "dev", "net"])?;
        }
        // The rules of a cut will work too.
        system("ip", &["netns", "exec", &hub, "iptables", "-w", "-S"])?;
        Ok(made)
    }

    fn join(&self, hub: &str, host: Host, address: String) -> Result<()> {
        let (name, port) = (self.of(host), format!("to-{host}"));
        ip(&["netns", "add", &name])?;
        let pair = ["-n", hub, "link", "add", &port, "type", "veth"];
        ip(&[&pair[..], &["peer", "name", "net", "netns", &name]].concat())?;
        ip(&["-n", hub, "link", "set", &port, "master", "hub", "up"])?;
        let address = format!("{address}/16");
        ip(&["-n", &name, "address", "add", &address, "dev", "net"])?;
        ip(&["-n", &name, "link", "set", "net", "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])
    }

    fn name(&self, of: &str) -> String {
        format!("{}{of}", self.prefix)
    }

    pub fn of(&self, host: Host) -> String {
        self.name(&host.to_string())
    }

    pub fn path(&self, host: Host) -> PathBuf {
        Path::new(FOLDER).join(self.of(host))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        remove(|name| name.starts_with(&self.prefix));
    }
}

/// Moves the calling thread, and what it starts from now on, into a namespace.
///
/// # Errors
/// There is none, or the process may not.
pub fn enter(namespace: &Path) -> Result<()> {
    let doing = || format!("entering {}", namespace.display());
    let file = File::open(namespace).map_err(io_error(doing()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| io_error(doing())(error.into()))
}

fn ip(args: &[&str]) -> Result<()> {
    system("ip", args).map(|_| ())
}

fn remove_leftovers() {
    remove(|name| {
        let rest = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-'));
        let process = rest.and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    });
}

fn remove(is_wanted: impl Fn(&str) -> bool) {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_wanted(&name) {
            // The next run tries again.
            let _ = ip(&["netns", "delete", &name]);
        }
    }
}

//! Whose socket it is that a sink sees: the kernel's own table, looked at again and again.
//!
//! All nodes of a test share the addresses of the loopback, so neither address nor EHLO name tells them apart. The kernel
//! knows which process owns each connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(5);
/// The kernel notes arrivals in ticks of up to 10 ms.
const TICKS: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Socket {
    inode: u64,
    /// When it was first seen.
    since: Instant,
    owner: String,
}

#[derive(Debug, Default)]
struct Seen {
    /// By the address of the connection's side that is not the sink's: its sockets, one after another. The kernel gives a
    /// port again.
    owners: BTreeMap<SocketAddr, Vec<Socket>>,
    /// Nodes that had sockets of one address at the same time.
    at_once: BTreeMap<Ipv4Addr, BTreeSet<String>>,
    looks: u64,
    /// Connections at the latest look.
    now: usize,
}

/// Looks as long as it lives.
pub struct Sockets {
    seen: Arc<Mutex<Seen>>,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Sockets {
    pub fn watch(sink: SocketAddr, pids: BTreeMap<String, u32>) -> Self {
        let (seen, pids) = (Arc::<Mutex<Seen>>::default(), Arc::new(Mutex::new(pids)));
        let stop = Arc::<AtomicBool>::default();
        let (notes, known, stopped) = (seen.clone(), pids.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let pids = known.lock().unwrap().clone();
                look(sink, &pids, &notes);
                std::thread::sleep(LOOK);
            }
        });
        Self {
            seen,
            pids,
            stop,
            thread: Some(thread),
        }
    }

    /// One that has ended must not be taken for another process of its number.
    pub fn forget(&self, name: &str) {
        self.pids.lock().unwrap().remove(name);
    }

    /// The node that a connection was of which stood since then.
    pub fn owner(&self, peer: SocketAddr, stood_since: Instant) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        let sockets = seen.owners.get(&peer)?;
        // A socket is seen when it stands, and the next one of its port after that.
        let next = sockets.iter().find(|one| one.since + TICKS >= stood_since);
        next.or(sockets.last()).map(|one| one.owner.clone())
    }

    /// Connections that a node has at this moment.
    pub fn now(&self) -> usize {
        self.seen.lock().unwrap().now
    }

    pub fn looks(&self) -> u64 {
        self.seen.lock().unwrap().looks
    }

    /// Addresses that several nodes had connections from at the same time, and which nodes.
    pub fn shared(&self) -> BTreeMap<Ipv4Addr, BTreeSet<String>> {
        self.seen.lock().unwrap().at_once.clone()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(sink: SocketAddr, pids: &BTreeMap<String, u32>, seen: &Mutex<Seen>) {
    // Sockets first: one that is not in the table yet is found by the next look.
    let owners: BTreeMap<u64, &String> = pids
        .iter()
        .flat_map(|(name, pid)| inodes(*pid).into_iter().map(move |inode| (inode, name)))
        .collect();
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else {
        return;
    };
    let mut by_address: BTreeMap<Ipv4Addr, BTreeSet<String>> = BTreeMap::new();
    let mut seen = seen.lock().unwrap();
    seen.looks += 1;
    let mut now = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(remote)) = (address(fields[1]), address(fields[2])) else {
            continue;
        };
        if remote != sink {
            continue;
        }
        // Without an owner it is the kernel's, which ends it.
        let inode: u64 = fields[9].parse().unwrap_or(0);
        let Some(owner) = owners.get(&inode) else {
            continue;
        };
        now += 1;
        let owned = seen.owners.entry(local).or_default();
        if owned.last().is_none_or(|last| last.inode != inode) {
            owned.push(Socket {
                inode,
                since: Instant::now(),
                owner: (*owner).clone(),
            });
        }
        if let SocketAddr::V4(local) = local {
            by_address
                .entry(*local.ip())
                .or_default()
                .insert((*owner).clone());
        }
    }
    seen.now = now;
    for (address, nodes) in by_address {
        if nodes.len() > 1 {
            seen.at_once.entry(address).or_default().extend(nodes);
        }
    }
}

fn inodes(pid: u32) -> Vec<u64> {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let links = files
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok());
    let inodes = links.filter_map(|link| {
        let link = link.to_string_lossy().into_owned();
        link.strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    });
    inodes.collect()
}

/// As in `/proc/net/tcp`: `0100007F:0050`.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((Ipv4Addr::from(ip.to_le_bytes()), port).into())
}

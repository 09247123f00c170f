//! Which user of this machine holds the other end of a connection.
//!
//! The kernel says so in its table of TCP sockets: `SO_PEERCRED` for connections over loopback. No user needs a secret or has
//! to find one: the user that runs the node may use it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fs, io};

/// By address family. An IPv4 connection of an IPv6 socket is in the second.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
const USERS: &str = "/etc/passwd";
/// While sockets come and go, a reading of the table may pass one over.
const LOOKS: u32 = 4;
const ROOT: u32 = 0;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUser {
    pub uid: u32,
    /// As the machine knows it; none if it does not.
    pub name: Option<String>,
}

impl LocalUser {
    fn of(uid: u32) -> Self {
        let users = fs::read_to_string(USERS).unwrap_or_default();
        Self {
            uid,
            name: name_of(&users, uid),
        }
    }

    /// The user that this process runs as.
    pub fn own() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    /// The user that runs the node may do with it what the node can, and root may do everything anyway.
    pub fn is_trusted(&self) -> bool {
        self.uid == ROOT || self.uid == rustix::process::geteuid().as_raw()
    }
}

impl fmt::Display for LocalUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (local user)"),
            None => write!(f, "uid {} (local user)", self.uid),
        }
    }
}

/// Why it is not known who holds the other end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookUp {
    #[error("the kernel's table of sockets cannot be read: {0}")]
    Table(String),
    #[error("the kernel has no socket of this machine for it")]
    Unknown,
}

/// A connection between two sockets of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The address of the other one.
    client: SocketAddr,
    server: SocketAddr,
}

impl Ends {
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Self {
            client: canonical(client),
            server: canonical(server),
        }
    }
}

/// The users that hold the other ends of these connections; an end without one is none of this machine. Reads files as long
/// as the machine has sockets, however many connections are asked about.
///
/// # Errors
/// The kernel does not say.
pub fn users_at(asked: &BTreeSet<Ends>) -> Result<BTreeMap<Ends, LocalUser>, LookUp> {
    let table = |error: io::Error| LookUp::Table(error.to_string());
    let names = fs::read_to_string(USERS).unwrap_or_default();
    let (mut open, mut found) = (asked.clone(), BTreeMap::new());
    for _ in 0..LOOKS {
        // A socket that its process has closed is shown as root's while what it sent is on its way. One that was attached at
        // the second look was so at the first, whose user is therefore the right one.
        let first = look(&open).map_err(table)?;
        let second = look(&open).map_err(table)?;
        for (ends, uid) in first {
            if second.get(&ends) == Some(&uid) {
                open.remove(&ends);
                let name = name_of(&names, uid);
                found.insert(ends, LocalUser { uid, name });
            }
        }
        if open.is_empty() {
            break;
        }
    }
    Ok(found)
}

fn look(asked: &BTreeSet<Ends>) -> io::Result<BTreeMap<Ends, u32>> {
    let mut found = BTreeMap::new();
    for table in TABLES {
        match fs::read_to_string(table) {
            Ok(table) => found.extend(uids_in(&table, asked)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table == TABLES[1] => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The owners of the sockets that are connected so; none of a socket that no process holds.
fn uids_in(table: &str, asked: &BTreeSet<Ends>) -> BTreeMap<Ends, u32> {
    let ports: HashSet<u16> = asked.iter().map(|ends| ends.client.port()).collect();
    let read = |line: &str| -> Option<(Ends, u32)> {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        let (_, port) = local.split_once(':')?;
        if !ports.contains(&u16::from_str_radix(port, 16).ok()?) {
            return None;
        }
        let ends = Ends::new(address(local)?, address(fields.next()?)?);
        let uid = fields.nth(4)?.parse().ok()?;
        let inode: u64 = fields.nth(1)?.parse().ok()?;
        (inode != 0 && asked.contains(&ends)).then_some((ends, uid))
    };
    table.lines().filter_map(read).collect()
}

/// `0100007F:1B59`: words as they lie in memory, and a port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| -> Option<[u8; 4]> {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (at, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn name_of(users: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let mut users = users.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        let is_it = fields.nth(1)? == uid && !name.is_empty();
        is_it.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1B59 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 37976 1 0 100 0 0 10 0
   1: 0100007F:D916 0100007F:1B59 01 00000000:00000000 00:00000000 00000000 65534        0 36989 2 0 20 0 0 11 -1
   2: 0100007F:1B59 0100007F:D916 01 00000000:00000001 00:00000000 00000000     0        0 37977 1 0 20 4 30 10 -1
   3: 0100007F:D917 0100007F:1B59 05 00000000:00000000 00:00000000 00000000     0        0 0 2 0 20 0 0 11 -1
   4: 0200007F:D918 0100007F:1B59 08 00000000:00000000 00:00000000 00000000  1000        0 36991 2 0 20 0 0 11 -1
   5: 00000000000000000000000001000000:D919 00000000000000000000000001000000:1B59 01 0:0 00:0 0 1001 0 36992 2
   6: 0000000000000000FFFF00000100007F:D91A 0000000000000000FFFF00000100007F:1B59 01 0:0 00:0 0 1002 0 36993 2
   7: what is this
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_owner_of_the_other_end_is_read_from_the_kernels_table() {
        for (client, server, expected) in [
            ("127.0.0.1:55574", "127.0.0.1:7001", Some(65534)),
            // Closed by its process: whose it was is not known any more.
            ("127.0.0.1:55575", "127.0.0.1:7001", None),
            ("127.0.0.2:55576", "127.0.0.1:7001", Some(1000)),
            ("127.0.0.1:55576", "127.0.0.1:7001", None),
            ("127.0.0.1:55574", "127.0.0.1:7002", None),
            ("[::1]:55577", "[::1]:7001", Some(1001)),
            ("127.0.0.1:55578", "127.0.0.1:7001", Some(1002)),
            (
                "[::ffff:127.0.0.1]:55574",
                "[::ffff:127.0.0.1]:7001",
                Some(65534),
            ),
        ] {
            let ends = Ends::new(client.parse().unwrap(), server.parse().unwrap());
            let found = uids_in(TABLE, &BTreeSet::from([ends]));
            assert_eq!(found.get(&ends).copied(), expected, "{client} to {server}");
        }
    }

    #[test]
    fn users_have_names() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n# a comment\nann:x:1000:1000::/:\n::7:\nbroken\n";
        for (uid, name) in [
            (0, Some("root")),
            (1000, Some("ann")),
            (100, None),
            (7, None),
        ] {
            assert_eq!(name_of(users, uid).as_deref(), name, "{uid}");
        }
        let nameless = LocalUser {
            uid: 12,
            name: None,
        };
        assert_eq!(nameless.to_string(), "uid 12 (local user)");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_told_who_connects_to_it_over_either_family() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(listen) else {
                continue; // A machine without IPv6.
            };
            let server = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(server).unwrap();
            let client_address = client.local_addr().unwrap();
            let ends = Ends::new(client_address, server);
            let found = || users_at(&BTreeSet::from([ends])).unwrap().remove(&ends);
            assert_eq!(found(), Some(LocalUser::own()));
            assert!(LocalUser::own().is_trusted());
            let (accepted, _) = listener.accept().unwrap();
            drop(client);
            assert_eq!(found(), None);
            drop(accepted);
        }
    }
}

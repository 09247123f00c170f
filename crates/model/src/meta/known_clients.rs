//! From where accounts have logged in, so that strangers do not lock them out there after all nodes were stopped.
//!
//! The leader of the group knows it in memory, and has it written at most once an hour and account: one that roams costs a write an
//! hour, and everybody else one in all.
//!
//! | key | value |
//! |---|---|
//! | `Kr` user | [`KnownRow`] |
//! | `Kq` time, user | nothing: the order in which rows were last written |
//! | `Kn` | how many there are |

use minicbor::{Decode, Encode};

use crate::lockout::KnownClient;
use crate::proposal::{self, Invalid};
use crate::rows::{ReadRows, Rows, load, put_row};
use crate::time::{DurationMs, UnixMs};

/// Accounts that are known; the one that was written first gives way. With all their networks each has 600 bytes, so all of them are
/// 3 MB of a snapshot at most.
pub const ACCOUNTS_MAX: u64 = 5_000;
/// Networks of one account; the one that was noted first gives way. Offices, homes and servers of one account are fewer.
pub const CLIENTS_MAX: usize = 8;
/// Accounts of one command.
pub const AT_ONCE_MAX: usize = 500;
/// An account is written again after this time.
pub const WRITE_EVERY: DurationMs = DurationMs::from_secs(3600);
/// An IPv6 network as text has 43.
const CLIENT_BYTES_MAX: usize = 64;

const COUNT: &[u8] = b"Kn";

/// From where an account has logged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct KnownRow {
    #[n(0)]
    pub written_at: UnixMs,
    /// Networks, the latest last.
    #[n(1)]
    pub clients: Vec<String>,
}

fn row_key(user: &str) -> Vec<u8> {
    [b"Kr", user.as_bytes()].concat()
}

fn order_key(at: UnixMs, user: &str) -> Vec<u8> {
    [b"Kq", &at.0.to_be_bytes()[..], user.as_bytes()].concat()
}

pub(super) fn check(accounts: &[(String, Vec<String>)]) -> Result<(), Invalid> {
    if accounts.len() > AT_ONCE_MAX {
        return Err(Invalid::field("accounts", "are too many for one command"));
    }
    accounts.iter().try_for_each(|(user, clients)| {
        proposal::name("user", user)?;
        if clients.len() > CLIENTS_MAX {
            return Err(Invalid::field(
                "clients",
                "are more than an account may have",
            ));
        }
        let mut clients = clients.iter();
        clients.try_for_each(|client| proposal::text("client", client, 1..=CLIENT_BYTES_MAX))
    })
}

pub fn known_client_row(rows: &(impl ReadRows + ?Sized), user: &str) -> Option<KnownRow> {
    load(rows, &row_key(user))
}

/// All that is known, of accounts that were written last first.
pub fn known_clients(rows: &(impl ReadRows + ?Sized)) -> Vec<KnownClient> {
    let mut users = Vec::new();
    rows.scan(b"Kq", &[], &mut |key, _| {
        users.push(String::from_utf8_lossy(&key[10..]).into_owned());
        true
    });
    let mut found = Vec::new();
    for user in users.into_iter().rev() {
        let row = known_client_row(rows, &user).unwrap_or_default();
        let clients = row.clients.into_iter().rev();
        found.extend(clients.map(|client| KnownClient {
            user: user.clone(),
            client,
        }));
    }
    found
}

pub(super) fn apply<R: Rows>(rows: &mut R, now: UnixMs, accounts: &[(String, Vec<String>)]) {
    for (user, clients) in accounts {
        note(rows, now, user, clients);
    }
}

fn note<R: Rows>(rows: &mut R, now: UnixMs, user: &str, clients: &[String]) {
    let before = known_client_row(rows, user);
    let mut count: u64 = load(rows, COUNT).unwrap_or(0);
    match &before {
        Some(row) => rows.delete(order_key(row.written_at, user)),
        None if count >= ACCOUNTS_MAX => forget_first(rows),
        None => count += 1,
    }
    let mut row = before.unwrap_or_default();
    row.written_at = now;
    row.clients.retain(|known| !clients.contains(known));
    row.clients.extend(clients.iter().cloned());
    let extra = row.clients.len().saturating_sub(CLIENTS_MAX);
    row.clients.drain(..extra);
    put_row(rows, row_key(user), &row);
    rows.put(order_key(now, user), Vec::new());
    put_row(rows, COUNT.to_vec(), &count);
}

fn forget_first<R: Rows>(rows: &mut R) {
    let mut first = None;
    Rows::scan(rows, b"Kq", &[], &mut |key, _| {
        first = Some(key.to_vec());
        false
    });
    if let Some(key) = first {
        let user = String::from_utf8_lossy(&key[10..]).into_owned();
        rows.delete(row_key(&user));
        rows.delete(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{self, Command, Response};
    use crate::rows::MemoryRows;

    fn write(rows: &mut MemoryRows, at: u64, accounts: &[(&str, &[&str])]) {
        let accounts = accounts.iter().map(|(user, clients)| {
            let clients = clients.iter().map(|&client| client.to_owned());
            ((*user).to_owned(), clients.collect())
        });
        let command = Command::KnownClients(accounts.collect());
        assert!(meta::read_proposed(&crate::codec::encode(&command)).is_ok());
        let answer = meta::apply(rows, UnixMs(at), &command);
        assert_eq!(answer, Response::Done);
    }

    fn known(rows: &MemoryRows) -> Vec<String> {
        let all = known_clients(rows).into_iter();
        all.map(|one| format!("{} {}", one.user, one.client))
            .collect()
    }

    #[test]
    fn accounts_keep_their_latest_networks_and_the_latest_come_first() {
        let mut rows = MemoryRows::default();
        write(&mut rows, 5, &[("ann", &["a", "b"]), ("bob", &["c"])]);
        assert_eq!(known(&rows), ["bob c", "ann b", "ann a"]);
        write(&mut rows, 9, &[("ann", &["a", "d"])]);
        assert_eq!(known(&rows), ["ann d", "ann a", "ann b", "bob c"]);
        assert_eq!(
            known_client_row(&rows, "ann").map(|row| row.written_at),
            Some(UnixMs(9))
        );
        let many: Vec<String> = (0..CLIENTS_MAX).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        write(&mut rows, 10, &[("ann", &many)]);
        write(&mut rows, 11, &[("ann", &["e"])]);
        let row = known_client_row(&rows, "ann").unwrap_or_default();
        assert_eq!(row.clients.len(), CLIENTS_MAX);
        assert_eq!(row.clients[CLIENTS_MAX - 1], "e");
        assert_eq!(row.clients[0], "n1");
    }

    #[test]
    fn the_account_that_was_written_first_gives_way() {
        let mut rows = MemoryRows::default();
        for n in 0..ACCOUNTS_MAX + 3 {
            let user = format!("u{n}");
            write(&mut rows, 100 + n, &[(&user, &["a"])]);
            if n % 1000 == 0 {
                write(&mut rows, 100 + n, &[("kept", &["b"])]);
            }
        }
        let all = known_clients(&rows);
        assert_eq!(all.len() as u64, ACCOUNTS_MAX);
        assert_eq!(
            rows.0.keys().filter(|key| key.starts_with(b"Kq")).count() as u64,
            ACCOUNTS_MAX
        );
        let has = |user: &str| all.iter().any(|one| one.user == user);
        assert!(
            has("kept") && !has("u0") && !has("u3") && has("u4"),
            "{}",
            all.len()
        );
    }

    #[test]
    fn more_than_there_may_be_is_not_proposed() {
        let user = |n: usize| (format!("u{n}"), vec!["a".to_owned()]);
        assert!(check(&(0..AT_ONCE_MAX).map(user).collect::<Vec<_>>()).is_ok());
        assert!(check(&(0..=AT_ONCE_MAX).map(user).collect::<Vec<_>>()).is_err());
        let clients = |count: usize| [("u".to_owned(), vec!["a".to_owned(); count])];
        assert!(check(&clients(CLIENTS_MAX)).is_ok() && check(&clients(CLIENTS_MAX + 1)).is_err());
        assert!(check(&[("u".to_owned(), vec!["x".repeat(65)])]).is_err());
        assert!(check(&[(String::new(), vec![])]).is_err());
    }
}

//! From where accounts have logged in, kept by the meta group: the leader begins with what was written, and has what is new written at
//! most once an hour and account.

use std::collections::BTreeMap;
use std::time::Duration;

use skein_model::lockout::KnownClient;
use skein_model::meta::{self, Command};
use tonic::Code;

use super::SessionsService;
use crate::clock;

/// What is learnt in this time is written together. A stop of all nodes within it loses what was learnt.
const GATHER: Duration = Duration::from_secs(2);
/// After a write that failed, or while a control node is of an older version.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Writes as long as the process runs, while this node leads.
pub async fn keep(service: SessionsService) {
    loop {
        tokio::time::sleep(GATHER).await;
        if !service.meta.is_leader() {
            service.guesses.leads_no_more();
            continue;
        }
        let unwritten = service.guesses.unwritten();
        let (due, there) = due(unwritten, clock::now(), |user| {
            meta::known_client_row(&service.reader, user)
        });
        service.guesses.are_written(&there);
        if due.is_empty() {
            continue;
        }
        let command = Command::KnownClients(due.clone().into_iter().collect());
        match service.propose(command).await {
            Ok(_) => {
                tracing::info!(
                    accounts = due.len(),
                    "networks of accounts are written down"
                );
                service.guesses.are_written(&flat(due));
            }
            // A sender told what no account can be called.
            Err(error) if error.code() == Code::InvalidArgument => {
                tracing::warn!(
                    why = error.message(),
                    "networks of accounts are not written"
                );
                service.guesses.are_written(&flat(due));
            }
            Err(error) => {
                tracing::info!(
                    why = error.message(),
                    "networks of accounts are not written yet"
                );
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Networks by account.
type Accounts = BTreeMap<String, Vec<String>>;

/// What is to be written now, and what is written already. An account that was written within the hour waits.
fn due(
    unwritten: Vec<KnownClient>,
    now: skein_model::UnixMs,
    row: impl Fn(&str) -> Option<meta::KnownRow>,
) -> (Accounts, Vec<KnownClient>) {
    let mut of_users = Accounts::new();
    for KnownClient { user, client } in unwritten {
        of_users.entry(user).or_default().push(client);
    }
    let (mut due, mut there) = (Accounts::new(), Vec::new());
    for (user, clients) in of_users {
        let known = row(&user);
        let is_there = |client: &String| {
            let clients = known.as_ref().map(|known| &known.clients);
            clients.is_some_and(|clients| clients.contains(client))
        };
        let (written, mut new): (Vec<_>, Vec<_>) = clients.into_iter().partition(is_there);
        there.extend(written.into_iter().map(|client| KnownClient {
            user: user.clone(),
            client,
        }));
        let may_be_written = known
            .as_ref()
            .is_none_or(|known| now.since(known.written_at) >= meta::KNOWN_WRITE_EVERY);
        if may_be_written && !new.is_empty() && due.len() < meta::KNOWN_AT_ONCE_MAX {
            new.truncate(meta::KNOWN_CLIENTS_MAX);
            due.insert(user, new);
        }
    }
    (due, there)
}

fn flat(accounts: Accounts) -> Vec<KnownClient> {
    let all = accounts.into_iter().flat_map(|(user, clients)| {
        let of_user = clients.into_iter();
        of_user.map(move |client| KnownClient {
            user: user.clone(),
            client,
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use skein_model::UnixMs;
    use skein_model::meta::KnownRow;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn known(user: &str, client: &str) -> KnownClient {
        KnownClient {
            user: user.into(),
            client: client.into(),
        }
    }

    fn check(unwritten: &[(&str, &str)], now: u64, expected: &[(&str, &[&str])], written: usize) {
        let unwritten = unwritten.iter().map(|(user, client)| known(user, client));
        let rows = |user: &str| {
            (user == "ann").then(|| KnownRow {
                written_at: UnixMs(10 * HOUR),
                clients: vec!["home".into(), "work".into()],
            })
        };
        let (due, there) = due(unwritten.collect(), UnixMs(now), rows);
        let due: Vec<(&str, Vec<&str>)> = due
            .iter()
            .map(|(user, clients)| (user.as_str(), clients.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> = expected
            .iter()
            .map(|(user, clients)| (*user, clients.to_vec()))
            .collect();
        assert_eq!((due, there.len()), (expected, written));
    }

    #[test]
    fn an_account_is_written_at_once_and_again_after_an_hour() {
        let at = 10 * HOUR;
        check(
            &[("bob", "x"), ("bob", "y")],
            at,
            &[("bob", &["x", "y"])],
            0,
        );
        check(&[("ann", "home")], at + 9 * HOUR, &[], 1);
        check(&[("ann", "new")], at + HOUR - 1, &[], 0);
        check(
            &[("ann", "new"), ("ann", "work")],
            at + HOUR,
            &[("ann", &["new"])],
            1,
        );
        // A clock that is behind writes nothing more often.
        check(&[("ann", "new")], at - HOUR, &[], 0);
    }

    #[test]
    fn one_command_is_bounded() {
        let many = (0..meta::KNOWN_AT_ONCE_MAX + 9).map(|n| known(&format!("u{n}"), "x"));
        let networks = (0..99).map(|n| known("u0", &format!("n{n}")));
        let (due, _) = due(many.chain(networks).collect(), UnixMs(0), |_| None);
        assert_eq!(due.len(), meta::KNOWN_AT_ONCE_MAX);
        assert_eq!(due["u0"].len(), meta::KNOWN_CLIENTS_MAX);
        let command = Command::KnownClients(due.into_iter().collect());
        assert!(meta::read_proposed(&skein_model::codec::encode(&command)).is_ok());
    }
}

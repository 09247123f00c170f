//! Clients and users that failed too often at logins or at relaying, as lines of the event log of the node that saw it.

use serde::Serialize;
use skein_ingress::{Locked, Lockout, Lockouts};

use crate::events::{Sink, time};

/// Writes lockouts until the listeners are gone.
pub async fn write(sink: Sink, mut lockouts: Lockouts) {
    while let Some(lockout) = lockouts.recv().await {
        sink.write_lines(line(&lockout)).await;
    }
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    /// "login" or "relaying".
    what: &'static str,
    /// Locked out: this network, this user, or this user from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// Where the last failure came from.
    address: String,
    failures: u32,
    until: String,
}

fn line(lockout: &Lockout) -> Vec<u8> {
    let (client, user) = match &lockout.lock.locked {
        Locked::Client(client) => (Some(client), None),
        Locked::User(user) => (None, Some(user)),
        Locked::UserAtClient(user, client) => (Some(client), Some(user)),
    };
    let line = Line {
        time: time(lockout.at),
        event: "lockout",
        what: lockout.what.name(),
        client: client.map(ToString::to_string),
        user: user.map(String::as_str),
        address: lockout.address.to_string(),
        failures: lockout.lock.failures,
        until: time(lockout.at + lockout.lock.time.into()),
    };
    let mut out = serde_json::to_vec(&line).expect("a line has only strings and numbers");
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use skein_ingress::{Attempt, Lock};
    use skein_model::UnixMs;

    use super::*;

    fn lockout(locked: Locked) -> Lockout {
        Lockout {
            at: UnixMs(1000),
            what: Attempt::Login,
            address: "2001:db8::1".parse().unwrap(),
            lock: Lock {
                locked,
                failures: 20,
                time: Duration::from_secs(300),
            },
        }
    }

    fn told(locked: Locked) -> serde_json::Value {
        serde_json::from_slice(&line(&lockout(locked))).unwrap()
    }

    #[tokio::test]
    async fn lockouts_of_a_sender_are_lines_of_its_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (tell, lockouts) = tokio::sync::mpsc::channel(2);
        for user in ["ann", "bob"] {
            tell.try_send(lockout(Locked::User(user.to_owned())))
                .unwrap();
        }
        drop(tell);
        write(Sink::of_sender(path.clone()), lockouts).await;
        let written = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = written.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].contains(r#""user":"bob""#), "{written}");
    }

    #[test]
    fn a_lockout_names_who_may_not_come_until_when() {
        let client = "2001:db8::/64".parse().unwrap();
        let of_user = told(Locked::User("a\n\"b".to_owned()));
        assert_eq!(
            (&of_user["user"], &of_user["client"]),
            (&"a\n\"b".into(), &serde_json::Value::Null)
        );
        let of_client = told(Locked::Client(client));
        assert_eq!(of_client["client"], "2001:db8::/64");
        assert_eq!(of_client["until"], "1970-01-01T00:05:01.000Z");
        let of_both = told(Locked::UserAtClient("ann".to_owned(), client));
        assert_eq!(
            (&of_both["user"], &of_both["client"]),
            (&"ann".into(), &"2001:db8::/64".into())
        );
    }
}

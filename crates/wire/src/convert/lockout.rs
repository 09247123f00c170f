//! Failed logins between nodes and the leader that adds them up.

use std::time::Duration;

use skein_model::lockout::{Heard, KnownClient, SHARED_MAX, Standing, Subject, Told};

use super::BadMessage;
use crate::internal::{self, FailedLogins, TellGuessesReply, TellGuessesRequest};

/// As RFC 4616 allows for a user.
const USER_BYTES_MAX: usize = 255;
/// More than a network of IPv6 as text has.
const CLIENT_BYTES_MAX: usize = 64;

/// What a node tells.
///
/// # Errors
/// It names nobody, or is longer than a node makes it.
pub fn guesses(request: TellGuessesRequest) -> Result<Told, BadMessage> {
    let failed = request.failed.into_iter().take(SHARED_MAX);
    let failed = failed.map(|one| Ok((subject(&one)?, one.failures)));
    let known = request.known.into_iter().take(SHARED_MAX);
    let standings = request.standings.into_iter().take(SHARED_MAX);
    Ok(Told {
        version: request.version,
        failed: failed.collect::<Result<_, BadMessage>>()?,
        known: known.map(known_client).collect::<Result<_, _>>()?,
        standings: standings.map(standing).collect::<Result<_, _>>()?,
    })
}

pub fn guesses_told(told: &Told) -> TellGuessesRequest {
    let failed = told.failed.iter().map(|(subject, failures)| FailedLogins {
        failures: *failures,
        ..named(subject)
    });
    TellGuessesRequest {
        version: told.version,
        failed: failed.collect(),
        known: told.known.iter().map(known_told).collect(),
        standings: told.standings.iter().map(standing_told).collect(),
    }
}

/// What a node hears.
///
/// # Errors
/// It names nobody, or is longer than a leader makes it.
pub fn guesses_heard(reply: TellGuessesReply) -> Result<Heard, BadMessage> {
    let cleared = reply.cleared.iter().map(subject);
    Ok(Heard {
        version: reply.version,
        is_new: reply.is_new,
        standings: reply
            .standings
            .into_iter()
            .map(standing)
            .collect::<Result<_, _>>()?,
        known: reply
            .known
            .into_iter()
            .map(known_client)
            .collect::<Result<_, _>>()?,
        cleared: cleared.collect::<Result<_, _>>()?,
    })
}

pub fn guesses_reply(heard: &Heard) -> TellGuessesReply {
    TellGuessesReply {
        version: heard.version,
        is_new: heard.is_new,
        standings: heard.standings.iter().map(standing_told).collect(),
        known: heard.known.iter().map(known_told).collect(),
        cleared: heard.cleared.iter().map(named).collect(),
    }
}

pub fn standing_told(standing: &Standing) -> FailedLogins {
    let locked_for = standing.locked_for.as_millis();
    FailedLogins {
        failures: standing.failures,
        locked_for_ms: u64::try_from(locked_for).unwrap_or(u64::MAX),
        ..named(&standing.subject)
    }
}

fn standing(told: FailedLogins) -> Result<Standing, BadMessage> {
    Ok(Standing {
        subject: subject(&told)?,
        failures: told.failures,
        locked_for: Duration::from_millis(told.locked_for_ms),
    })
}

fn named(subject: &Subject) -> FailedLogins {
    let (client, user) = match subject.clone() {
        Subject::Client(client) => (client, String::new()),
        Subject::User(user) => (String::new(), user),
        Subject::UserAtClient(known) => (known.client, known.user),
    };
    FailedLogins {
        client,
        user,
        ..FailedLogins::default()
    }
}

fn subject(told: &FailedLogins) -> Result<Subject, BadMessage> {
    let FailedLogins { client, user, .. } = told;
    check(client, user)?;
    Ok(match (client.is_empty(), user.is_empty()) {
        (true, true) => return Err(BadMessage::Guess),
        (false, true) => Subject::Client(client.clone()),
        (true, false) => Subject::User(user.clone()),
        (false, false) => Subject::UserAtClient(KnownClient {
            user: user.clone(),
            client: client.clone(),
        }),
    })
}

fn known_client(told: internal::KnownClient) -> Result<KnownClient, BadMessage> {
    let internal::KnownClient { client, user } = told;
    check(&client, &user)?;
    Ok(KnownClient { user, client })
}

fn known_told(known: &KnownClient) -> internal::KnownClient {
    internal::KnownClient {
        client: known.client.clone(),
        user: known.user.clone(),
    }
}

fn check(client: &str, user: &str) -> Result<(), BadMessage> {
    match client.len() <= CLIENT_BYTES_MAX && user.len() <= USER_BYTES_MAX {
        true => Ok(()),
        false => Err(BadMessage::Guess),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_and_what_names_nobody_is_refused() {
        let at_home = KnownClient {
            user: "ann".into(),
            client: "192.0.2.1/32".into(),
        };
        let subjects = [
            Subject::Client("192.0.2.1/32".into()),
            Subject::User("ann".into()),
            Subject::UserAtClient(at_home.clone()),
        ];
        let standings = subjects.clone().map(|subject| Standing {
            subject,
            failures: 9,
            locked_for: Duration::from_secs(3),
        });
        let told = Told {
            version: 7,
            failed: subjects.iter().map(|one| (one.clone(), 2)).collect(),
            known: vec![at_home.clone()],
            standings: standings.to_vec(),
        };
        assert_eq!(guesses(guesses_told(&told)).ok(), Some(told.clone()));
        let heard = Heard {
            version: 8,
            is_new: true,
            standings: standings.to_vec(),
            known: vec![at_home],
            cleared: subjects.to_vec(),
        };
        assert_eq!(guesses_heard(guesses_reply(&heard)).ok(), Some(heard));
        for (client, user) in [("", ""), (&"x".repeat(65)[..], ""), ("", &"u".repeat(256))] {
            let mut request = guesses_told(&told);
            request.failed[0] = FailedLogins {
                client: client.into(),
                user: user.into(),
                ..FailedLogins::default()
            };
            assert!(guesses(request).is_err(), "{client:?} {user:?}");
        }
    }
}

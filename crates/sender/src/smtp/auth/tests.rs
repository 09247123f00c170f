//! Logins at servers that say what a script has them say.
#![expect(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::login::LoginSecret;

const LIMIT: Duration = Duration::from_secs(20);
const SECRET: &str = "s3cret-token";

/// What came of a login, and the lines that the server got.
struct Outcome {
    result: Result<(), LoginError>,
    sent: Vec<String>,
}

/// Logs in at a server that answers each line with the next of these replies, and then closes the connection.
async fn log_in_at(mechanisms: &str, only: Option<Mechanism>, replies: &[&[u8]]) -> Outcome {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (mut read, mut write) = tokio::io::split(theirs);
    let replies: Vec<Vec<u8>> = replies.iter().map(|reply| reply.to_vec()).collect();
    let server = tokio::spawn(async move {
        let mut sent = Vec::new();
        for reply in replies {
            let mut bytes = [0; 4096];
            let count = read.read(&mut bytes).await.unwrap();
            sent.push(String::from_utf8(bytes[..count].to_vec()).unwrap());
            // The client may be gone in the middle.
            let _ = write.write_all(&reply).await;
        }
        sent
    });
    let auth = mechanisms.split_whitespace().map(str::to_owned);
    let capabilities = Capabilities {
        auth: auth.collect(),
        ..Capabilities::default()
    };
    let takes_token = mechanisms.contains("OAUTH") || only.is_some_and(Mechanism::takes_token);
    let login = Login {
        user: "ann@a.test".into(),
        secret: match takes_token {
            true => LoginSecret::TokenFile("/unread".into()),
            false => LoginSecret::Password(Secret::new(SECRET)),
        },
        mechanism: only,
        allow_plaintext: false,
    };
    let host = host();
    let secret = Secret::new(SECRET);
    let session = Session::new(ours);
    let result = log_in(session, &host, &capabilities, &login, &secret, LIMIT).await;
    let result = result.map(|session| assert!(!session.has_surplus()));
    let sent = server.await.unwrap();
    Outcome { result, sent }
}

fn is_hidden(text: &str) -> bool {
    let encoded = STANDARD.encode(SECRET);
    !text.contains(SECRET) && !text.contains(&encoded)
}

fn with_password() -> Login {
    Login {
        user: "ann".into(),
        secret: LoginSecret::Password(Secret::new(SECRET)),
        mechanism: None,
        allow_plaintext: false,
    }
}

fn host() -> Host {
    Host {
        name: "mx.a.test".into(),
        address: [127, 0, 0, 1].into(),
        port: 587,
    }
}

#[tokio::test]
async fn each_mechanism_sends_what_its_standard_says() {
    let plain = format!(
        "AUTH PLAIN {}",
        STANDARD.encode(format!("\0ann@a.test\0{SECRET}"))
    );
    let user = STANDARD.encode("ann@a.test");
    let password = STANDARD.encode(SECRET);
    let xoauth2 = format!("user=ann@a.test\u{1}auth=Bearer {SECRET}\u{1}\u{1}");
    let xoauth2 = format!("AUTH XOAUTH2 {}", STANDARD.encode(xoauth2));
    let bearer = format!(
        "n,a=ann@a.test,\u{1}host=mx.a.test\u{1}port=587\u{1}auth=Bearer {SECRET}\u{1}\u{1}"
    );
    let bearer = format!("AUTH OAUTHBEARER {}", STANDARD.encode(bearer));
    let welcome: &[u8] = b"235 2.7.0 welcome\r\n";
    for (offered, replies, sent) in [
        ("LOGIN PLAIN", vec![welcome], vec![&*plain]),
        // Some servers do not take what comes with the command, and ask for it.
        (
            "PLAIN",
            vec![b"334 \r\n", welcome],
            vec![&plain, &plain[11..]],
        ),
        (
            "LOGIN",
            vec![b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", welcome],
            vec!["AUTH LOGIN", &user, &password],
        ),
        (
            "LOGIN",
            vec![b"334 bmFtZQ==\r\n", b"334 who knows?\r\n", welcome],
            vec!["AUTH LOGIN", &user, &password],
        ),
        (
            "LOGIN",
            vec![b"334\r\n", b"334 \r\n", welcome],
            vec!["AUTH LOGIN", &user, &password],
        ),
        ("XOAUTH2", vec![welcome], vec![&xoauth2]),
        ("PLAIN XOAUTH2 OAUTHBEARER", vec![welcome], vec![&bearer]),
        (
            "OAUTHBEARER",
            vec![b"235-2.7.0 wel\r\n235 2.7.0 come\r\n"],
            vec![&bearer],
        ),
    ] {
        let outcome = log_in_at(offered, None, &replies).await;
        outcome.result.unwrap();
        let lines: Vec<String> = sent.iter().map(|line| format!("{line}\r\n")).collect();
        assert_eq!(outcome.sent, lines, "{offered}");
    }
}

/// What each mechanism makes of what a server may do instead of letting us in.
#[tokio::test]
async fn whatever_a_server_does_a_login_ends_without_telling_its_secret() {
    let huge = [b"535 ".as_slice(), &[b'x'; 5000], b"\r\n"].concat();
    let endless = b"235-a\r\n".repeat(40_000);
    // What the library by itself would keep without end.
    let empty = b"334-\n".repeat(100_000);
    let echo = [
        format!("535 5.7.8 {SECRET}: no\r\n").into_bytes(),
        format!(
            "501 what is {}?\r\n",
            STANDARD.encode(format!("\0ann@a.test\0{SECRET}"))
        )
        .into_bytes(),
    ];
    let challenge: &[u8] = b"334 \r\n";
    let again = [challenge; 5];
    let refused_token: &[u8] = b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n";
    // All in one, the code where a reply is told, and a part of the words.
    let rows: &[(&str, &[&[u8]], Option<u16>, &str)] = &[
        ("any", &[b"535 5.7.8 wrong\r\n"], Some(535), "wrong"),
        ("any", &[b"454 4.7.0 later\r\n"], Some(454), "later"),
        ("any", &[b"421 4.3.2 closing\r\n"], Some(421), "closing"),
        ("any", &[b"504 5.5.4 unknown\r\n"], Some(504), "unknown"),
        (
            "any",
            &[b"530 5.7.0 STARTTLS first\r\n"],
            Some(530),
            "STARTTLS",
        ),
        ("any", &[b""], None, "closed"),
        ("any", &[b"53"], None, "closed"),
        ("any", &[b"535-5.7.8 wr\r\n"], None, "closed"),
        ("any", &[b"hello\r\n"], None, "cannot be read"),
        (
            "any",
            &[b"\x16\x03\x01\x02\x00\r\n"],
            None,
            "cannot be read",
        ),
        ("any", &[&huge], None, "4096"),
        ("any", &[&endless], None, "128 lines"),
        ("any", &[&empty], None, "cannot be read"),
        (
            "any",
            &[b"235 2.7.0 welcome\r\n250 2.0.0 and more\r\n"],
            None,
            "octets follow",
        ),
        ("any", &[b"250 2.0.0 fine\r\n"], None, "no end of a login"),
        ("any", &[b"354 go ahead\r\n"], None, "no end of a login"),
        ("any", &[&echo[0]], Some(535), "***: no"),
        ("PLAIN", &[&echo[1]], Some(501), "what is ***?"),
        ("PLAIN", &again, None, "no end of a login"),
        ("LOGIN", &again, None, "no end of a login"),
        (
            "LOGIN",
            &[challenge, b"535 5.7.8 who?\r\n"],
            Some(535),
            "who?",
        ),
        (
            "LOGIN",
            &[challenge, challenge, b"535 5.7.8 no\r\n"],
            Some(535),
            "no",
        ),
        ("LOGIN", &[challenge, b""], None, "closed"),
        (
            "XOAUTH2",
            &[refused_token, b"535 5.7.3 unsuccessful\r\n"],
            Some(535),
            "{\"status\":\"401\"}",
        ),
        (
            "OAUTHBEARER",
            &[refused_token, b"535 5.7.8 no\r\n"],
            Some(535),
            "{\"status\":\"401\"}",
        ),
        (
            "OAUTHBEARER",
            &[b"334 ?\r\n", b"535 5.7.8 no\r\n"],
            Some(535),
            "no",
        ),
        ("XOAUTH2", &again, None, "no end of a login"),
        ("OAUTHBEARER", &again, None, "no end of a login"),
    ];
    for (which, replies, code, part) in rows {
        let all = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"];
        for mechanism in all.into_iter().filter(|one| ["any", one].contains(which)) {
            // A script longer than the dialogue would wait for a line that does not come, so the client's end counts.
            let outcome = log_in_at(mechanism, None, replies).await;
            let error = outcome.result.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(part), "{mechanism} {which}: {text}");
            assert!(is_hidden(&text), "{text}");
            assert!(is_hidden(&format!("{error:?}")), "{error:?}");
            let found = match &error {
                LoginError::Refused(reply) => Some(reply.code),
                LoginError::Session(_) | LoginError::NoMechanism { .. } => None,
            };
            assert_eq!(found, *code, "{mechanism}: {text}");
        }
    }
}

#[tokio::test]
async fn a_refused_token_is_not_sent_again() {
    let challenge: &[u8] = b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n";
    let refused: &[u8] = b"535 5.7.8 no\r\n";
    for (mechanism, answer) in [("XOAUTH2", "\r\n"), ("OAUTHBEARER", "AQ==\r\n")] {
        let outcome = log_in_at(mechanism, None, &[challenge, refused]).await;
        outcome.result.unwrap_err();
        assert_eq!(outcome.sent[1], answer, "{mechanism}");
    }
}

#[tokio::test]
async fn without_a_mechanism_that_we_speak_nothing_is_sent() {
    for (offered, only, part) in [
        ("", None, "but none"),
        ("CRAM-MD5", None, "(PLAIN, LOGIN), but CRAM-MD5"),
        ("CRAM-MD5 DIGEST-MD5 SCRAM-SHA-256", None, "SCRAM-SHA-256"),
        ("PLAIN", Some(Mechanism::Login), "(LOGIN), but PLAIN"),
        ("PLAIN", Some(Mechanism::XOAuth2), "(XOAUTH2), but PLAIN"),
    ] {
        let outcome = log_in_at(offered, only, &[]).await;
        let error = outcome.result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(outcome.sent.is_empty());
    }
}

/// A server that says nothing, or a little now and then, has one limit for the whole login.
#[tokio::test]
async fn a_slow_server_has_the_limit_once() {
    let limit = Duration::from_millis(500);
    for each in [Duration::from_secs(60), Duration::from_millis(200)] {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            loop {
                tokio::time::sleep(each).await;
                if theirs.write_all(b"334 \r\n").await.is_err() {
                    return;
                }
            }
        });
        let capabilities = Capabilities {
            auth: vec!["LOGIN".into()],
            ..Capabilities::default()
        };
        let (login, host) = (with_password(), host());
        let began = tokio::time::Instant::now();
        let secret = Secret::new(SECRET);
        let session = Session::new(ours);
        let result = log_in(session, &host, &capabilities, &login, &secret, limit).await;
        let error = result.map(|_| ()).unwrap_err();
        assert!(
            matches!(error, LoginError::Session(SessionError::Timeout(_))),
            "{error}"
        );
        // A loaded machine is late, but not by another limit for each reply.
        assert!(began.elapsed() >= limit);
        server.abort();
    }
}

#[tokio::test]
async fn what_came_before_the_login_is_not_taken_for_its_answer() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    theirs
        .write_all(b"250 hi\r\n235 2.7.0 welcome\r\n")
        .await
        .unwrap();
    let mut session = Session::new(ours);
    session.reply(LIMIT).await.unwrap();
    let capabilities = Capabilities {
        auth: vec!["PLAIN".into()],
        ..Capabilities::default()
    };
    let (login, host) = (with_password(), host());
    let secret = Secret::new(SECRET);
    let error = log_in(session, &host, &capabilities, &login, &secret, LIMIT).await;
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("reply to EHLO"), "{error}");
}

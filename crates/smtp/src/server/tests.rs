use std::sync::Arc;

use super::*;

pub(super) fn config() -> Config {
    Config {
        hostname: "mx.test".into(),
        starttls: true,
        auth: true,
        scram: false,
        auth_required: false,
        line_ends: LineEnds::Refuse,
        limits: Limits {
            message_bytes: 1000,
            recipients: 2,
            ..Limits::default()
        },
    }
}

/// Says everything, agrees to everything, and returns codes of the replies and the bodies that came whole.
pub(super) fn talk_with(
    config: Config,
    tls: bool,
    input: &[u8],
    chunk: usize,
) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut session = ServerSession::new(Arc::new(config), tls);
    let (mut out, mut body, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    let mut written = Vec::new();
    'input: for piece in input.chunks(chunk) {
        session.feed(piece.to_vec());
        loop {
            match session.step(&mut out) {
                Step::NeedInput => break,
                Step::Write => written.append(&mut out),
                Step::Close => break 'input,
                Step::Event(Event::Body(bytes)) => body.extend(bytes),
                Step::Event(Event::BodyAborted) => body.clear(),
                Step::Event(Event::StartTls) => session.tls_started(),
                Step::Event(Event::BodyEnd) => {
                    bodies.push(std::mem::take(&mut body));
                    session.answer(None, &mut out);
                }
                Step::Event(Event::Auth { user, password }) => {
                    let right = user == "u" && password.matches(b"p");
                    session.answer((!right).then(|| Reply::new(535, (5, 7, 8), "No")), &mut out);
                }
                Step::Event(_) => session.answer(None, &mut out),
            }
        }
    }
    written.append(&mut out);
    let text = String::from_utf8_lossy(&written).into_owned();
    let last_lines = text
        .lines()
        .filter(|line| line.as_bytes().get(3) != Some(&b'-'));
    (
        last_lines.map(|line| line[..3].to_owned()).collect(),
        bodies,
    )
}

pub(super) fn check(
    config: fn() -> Config,
    tls: bool,
    input: &str,
    codes: &[&str],
    bodies: &[&str],
) {
    for chunk in [1, 2, 7, 10_000] {
        if chunk < 10_000 && input.contains("STARTTLS\r\nNOOP") {
            continue;
        }
        let (got, got_bodies) = talk_with(config(), tls, input.as_bytes(), chunk);
        assert_eq!(got, codes, "{input:?} in pieces of {chunk}");
        let wanted: Vec<Vec<u8>> = bodies.iter().map(|body| body.as_bytes().to_vec()).collect();
        assert_eq!(got_bodies, wanted, "{input:?} in pieces of {chunk}");
    }
}

pub(super) const OPEN: &str = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n";

#[test]
fn messages_come_through() {
    let data = format!("{OPEN}DATA\r\nSubject: x\r\n\r\n..hi\r\n.\r\nQUIT\r\n");
    check(
        config,
        false,
        &data,
        &["250", "250", "250", "354", "250", "221"],
        &["Subject: x\r\n\r\n.hi\r\n"],
    );
    let empty = format!("{OPEN}DATA\r\n.\r\nMAIL FROM:<>\r\n");
    check(
        config,
        false,
        &empty,
        &["250", "250", "250", "354", "250", "250"],
        &[""],
    );
    let bdat = format!("{OPEN}BDAT 4\r\nab\r\nBDAT 2 LAST\r\ncdBDAT 0 LAST\r\n");
    check(
        config,
        false,
        &bdat,
        &["250", "250", "250", "250", "250", "503"],
        &["ab\r\ncd"],
    );
    let last = format!("{OPEN}BDAT 2\r\nabBDAT 0 LAST\r\nNOOP\r\n");
    check(
        config,
        false,
        &last,
        &["250", "250", "250", "250", "250", "250"],
        &["ab"],
    );
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_lost_of_the_session() {
    for (input, codes) in [
        ("MAIL FROM:<a@b.test>\r\n", &["503"][..]),
        (
            "EHLO c\r\nRCPT TO:<a@b.test>\r\nDATA\r\n",
            &["250", "503", "503"],
        ),
        (
            "EHLO c\r\nMAIL FROM:<a@b.test> SIZE=1001\r\n",
            &["250", "552"],
        ),
        (
            "EHLO c\r\nMAIL FROM:<>\r\nDATA\r\nRSET\r\nVRFY x\r\n",
            &["250", "250", "554", "250", "252"],
        ),
        (
            "EHLO c\r\nBDAT 4 LAST\r\nabcdNOOP\r\n",
            &["250", "503", "250"],
        ),
        ("EHLO c\r\nAUTH PLAIN AHUAcA==\r\n", &["250", "538"]),
        (
            "EHLO c\r\nMAIL FROM:<a@b.test> REQUIRETLS\r\n",
            &["250", "530"],
        ),
        ("NOOP\n", &["500"]),
    ] {
        check(config, false, input, codes, &[]);
    }
    let many = format!("{OPEN}RCPT TO:<e@d.test>\r\nRCPT TO:<f@d.test>\r\n");
    check(
        config,
        false,
        &many,
        &["250", "250", "250", "250", "452"],
        &[],
    );
    let big = format!("{OPEN}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(1001));
    check(
        config,
        false,
        &big,
        &["250", "250", "250", "354", "552", "250"],
        &[],
    );
}

#[test]
fn a_smuggled_end_is_refused_once_and_carries_no_second_message() {
    for end in ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n"] {
        let input = format!("{OPEN}DATA\r\nx{end}MAIL FROM:<evil@b.test>\r\n\r\n.\r\nNOOP\r\n");
        check(
            config,
            false,
            &input,
            &["250", "250", "250", "354", "550", "250"],
            &[],
        );
    }
}

#[test]
fn logins_need_tls_and_the_right_password() {
    for (input, codes) in [
        ("EHLO c\r\nAUTH PLAIN AHUAcA==\r\n", &["250", "235"][..]),
        (
            "EHLO c\r\nAUTH PLAIN\r\nAHUAcA==\r\n",
            &["250", "334", "235"],
        ),
        (
            "EHLO c\r\nAUTH LOGIN\r\ndQ==\r\ncA==\r\nAUTH LOGIN\r\n",
            &["250", "334", "334", "235", "503"],
        ),
        (
            "EHLO c\r\nAUTH LOGIN dQ==\r\neA==\r\n",
            &["250", "334", "535"],
        ),
        (
            "EHLO c\r\nAUTH PLAIN\r\n*\r\nNOOP\r\n",
            &["250", "334", "501", "250"],
        ),
        ("EHLO c\r\nAUTH PLAIN !\r\n", &["250", "501"]),
        ("EHLO c\r\nAUTH CRAM-MD5\r\n", &["250", "504"]),
        // u NUL u NUL p: who names himself acts for himself.
        ("EHLO c\r\nAUTH PLAIN dQB1AHA=\r\n", &["250", "235"]),
        // x NUL u NUL p: the right password of u does not make anybody x (RFC 4616 2).
        ("EHLO c\r\nAUTH PLAIN eAB1AHA=\r\n", &["250", "535"]),
    ] {
        check(config, true, input, codes, &[]);
    }
    let submission = || Config {
        auth_required: true,
        ..config()
    };
    check(
        submission,
        true,
        "EHLO c\r\nMAIL FROM:<a@b.test>\r\n",
        &["250", "530"],
        &[],
    );
    let mut admitted = ServerSession::new(Arc::new(submission()), true);
    admitted.admit();
    admitted.feed(b"EHLO c\r\nMAIL FROM:<a@b.test>\r\n".to_vec());
    let mut out = Vec::new();
    let step = admitted.step(&mut out);
    assert!(matches!(step, Step::Event(Event::Mail(_))), "{step:?}");
    let wrong =
        "EHLO c\r\nAUTH PLAIN AHUAeA==\r\nAUTH PLAIN AHUAeA==\r\nAUTH PLAIN AHUAeA==\r\nNOOP\r\n";
    check(
        config,
        true,
        wrong,
        &["250", "535", "535", "535", "421"],
        &[],
    );
}

#[test]
fn plaintext_behind_starttls_closes_the_session() {
    check(
        config,
        false,
        "EHLO c\r\nSTARTTLS\r\nNOOP\r\n",
        &["250", "554"],
        &[],
    );
    check(config, true, "EHLO c\r\nSTARTTLS\r\n", &["250", "502"], &[]);
}

#[test]
fn a_drain_lets_the_open_transaction_finish() {
    let mut session = ServerSession::new(Arc::new(config()), false);
    let mut out = Vec::new();
    session.feed(format!("{OPEN}DATA\r\n").into_bytes());
    while let Step::Event(_) = session.step(&mut out) {
        session.answer(None, &mut out);
    }
    session.shutdown();
    out.clear();
    session.feed(b"x\r\n.\r\nMAIL FROM:<a@b.test>\r\n".to_vec());
    assert!(matches!(
        session.step(&mut out),
        Step::Event(Event::Body(_))
    ));
    assert!(matches!(
        session.step(&mut out),
        Step::Event(Event::BodyEnd)
    ));
    session.answer(None, &mut out);
    assert!(matches!(session.step(&mut out), Step::Close));
    assert_eq!(
        String::from_utf8_lossy(&out),
        "250 2.0.0 OK\r\n421 4.3.2 Shutting down, try again soon\r\n"
    );
}

/// What is said back to each line under TLS, and the mode of the answers: the shell agrees to a first message of `first` and to
/// a proof of `proof`.
fn scram(lines: &[&str]) -> (Vec<String>, Option<String>) {
    let config = Config {
        scram: true,
        ..config()
    };
    let mut session = ServerSession::new(Arc::new(config), true);
    let mut said = Vec::new();
    for line in lines {
        let mut out = Vec::new();
        session.feed(format!("{line}\r\n").into_bytes());
        loop {
            let refusal = Some(Reply::new(535, (5, 7, 8), "No"));
            match session.step(&mut out) {
                Step::NeedInput | Step::Write | Step::Close => break,
                Step::Event(Event::ScramFirst(message)) if message == b"first" => {
                    session.scram_challenge("challenge", &mut out);
                }
                Step::Event(Event::ScramProof(message)) if message == b"proof" => {
                    session.scram_verified("ann".into(), "verifier", &mut out);
                }
                Step::Event(Event::ScramFirst(_) | Event::ScramProof(_)) => {
                    session.answer(refusal, &mut out);
                }
                Step::Event(other) => panic!("{other:?}"),
            }
        }
        let text = String::from_utf8_lossy(&out).into_owned();
        let last = text.lines().last().unwrap_or_default();
        said.push(last.to_owned());
    }
    (said, session.user().map(str::to_owned))
}

#[test]
fn a_client_logs_in_by_scram_without_sending_its_secret() {
    // "first", "proof" and "wrong" in base64.
    let (first, proof, wrong) = ("Zmlyc3Q=", "cHJvb2Y=", "d3Jvbmc=");
    let begin = format!("AUTH SCRAM-SHA-256 {first}");
    for (lines, codes, is_in) in [
        (
            vec![begin.as_str(), proof, ""],
            vec!["334", "334", "235"],
            true,
        ),
        (vec![&begin, proof, "="], vec!["334", "334", "235"], true),
        (
            vec!["auth scram-sha-256", first, proof, ""],
            vec!["334", "334", "334", "235"],
            true,
        ),
        (
            vec![&begin, wrong, "NOOP"],
            vec!["334", "535", "250"],
            false,
        ),
        (vec![&begin, "*", "NOOP"], vec!["334", "501", "250"], false),
        (vec![&begin, proof, "*"], vec!["334", "334", "501"], false),
        (vec![&begin, proof, first], vec!["334", "334", "501"], false),
        (vec![&begin, "?"], vec!["334", "501"], false),
        (vec!["AUTH SCRAM-SHA-256 d3Jvbmc="], vec!["535"], false),
        (
            vec!["AUTH SCRAM-SHA-256-PLUS", first],
            vec!["504", "500"],
            false,
        ),
    ] {
        let (said, user) = scram(&lines);
        let said: Vec<&str> = said.iter().map(|line| &line[..3]).collect();
        assert_eq!(said, codes, "{lines:?}");
        assert_eq!(user.is_some(), is_in, "{lines:?}");
    }
    let (said, _) = scram(&[&begin, proof]);
    assert_eq!(said, ["334 Y2hhbGxlbmdl", "334 dmVyaWZpZXI="]);
    let (said, _) = scram(&["EHLO c"]);
    assert_eq!(said, ["250 AUTH PLAIN LOGIN SCRAM-SHA-256"]);
    let offered = talk_with(config(), true, b"AUTH SCRAM-SHA-256 Zmlyc3Q=\r\n", 1000);
    assert_eq!(offered.0, ["504"], "not where nobody has it");
}

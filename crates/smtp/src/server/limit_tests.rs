//! Limits hold whatever the commands are, and wherever they are refused.

use super::tests::{OPEN, check, config, talk_with};
use super::*;

/// A session whose shell refuses every command of these kinds; returns the codes of all replies.
fn refusing(refused: fn(&Event) -> Option<Reply>, input: &str, limits: Limits) -> Vec<String> {
    let config = Config { limits, ..config() };
    let mut session = ServerSession::new(Arc::new(config), true);
    let (mut out, mut written) = (Vec::new(), Vec::new());
    session.feed(input.as_bytes().to_vec());
    loop {
        match session.step(&mut out) {
            Step::NeedInput | Step::Close => break,
            Step::Write => written.append(&mut out),
            Step::Event(Event::Body(_) | Event::BodyAborted | Event::StartTls) => {}
            Step::Event(event) => session.answer(refused(&event), &mut out),
        }
    }
    written.append(&mut out);
    let text = String::from_utf8_lossy(&written).into_owned();
    let last_lines = text.lines().filter(|line| line.as_bytes()[3] != b'-');
    last_lines.map(|line| line[..3].to_owned()).collect()
}

#[test]
fn refusals_by_policy_end_a_session_as_those_of_the_dialogue_do() {
    let few = || Limits {
        errors: 3,
        deferrals: 5,
        ..Limits::default()
    };
    let refusal = || Some(Reply::new(550, (5, 7, 1), "No"));
    let message = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n";
    let chunk = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 1 LAST\r\nx";
    for (what, refused, again) in [
        (
            "MAIL",
            (|event| matches!(event, Event::Mail(_)).then(|| Reply::new(550, (5, 7, 1), "No")))
                as fn(&Event) -> Option<Reply>,
            "MAIL FROM:<a@b.test>\r\n",
        ),
        (
            "RCPT",
            |event| matches!(event, Event::Rcpt(_)).then(|| Reply::new(550, (5, 7, 1), "No")),
            "RCPT TO:<c@d.test>\r\n",
        ),
        (
            "DATA",
            |event| matches!(event, Event::BodyStart).then(|| Reply::new(554, (5, 7, 1), "No")),
            "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n",
        ),
        (
            "BDAT",
            |event| matches!(event, Event::BodyStart).then(|| Reply::new(554, (5, 7, 1), "No")),
            chunk,
        ),
        (
            "the body",
            |event| matches!(event, Event::BodyEnd).then(|| Reply::new(550, (5, 6, 0), "No")),
            message,
        ),
    ] {
        let input = format!("EHLO c\r\nMAIL FROM:<a@b.test>\r\n{}", again.repeat(50));
        let input = match what {
            "RCPT" => input,
            _ => input.replacen("MAIL FROM:<a@b.test>\r\n", "", 1),
        };
        let codes = refusing(refused, &input, few());
        let refusals = codes.iter().filter(|code| code.starts_with("55")).count();
        assert_eq!(refusals, 4, "{what}: {codes:?}");
        assert_eq!(codes.last().map(String::as_str), Some("421"), "{what}");
    }
    assert!(refusal().is_some_and(|reply| reply.is_permanent()));
}

#[test]
fn what_is_refused_for_the_time_being_has_a_limit_of_its_own() {
    let limits = Limits {
        errors: 3,
        deferrals: 5,
        recipients: 1,
        ..Limits::default()
    };
    let input = format!("{OPEN}{}", "RCPT TO:<e@d.test>\r\n".repeat(50));
    let codes = refusing(|_| None, &input, limits);
    let deferrals = codes.iter().filter(|code| *code == "452").count();
    assert_eq!(
        (deferrals, codes.last().map(String::as_str)),
        (5, Some("421"))
    );
}

#[test]
fn a_421_of_the_shell_ends_the_session() {
    let locked = |event: &Event| {
        matches!(event, Event::Rcpt(_)).then(|| Reply::new(421, (4, 7, 0), "Come again later"))
    };
    let codes = refusing(locked, &format!("{OPEN}NOOP\r\n"), Limits::default());
    assert_eq!(codes, ["250", "250", "421"]);
}

#[test]
fn commands_without_mail_are_few() {
    let limits = || Config {
        limits: Limits {
            idle_commands: 10,
            errors: 3,
            ..Limits::default()
        },
        ..config()
    };
    for flood in [
        "NOOP\r\n",
        "RSET\r\n",
        "VRFY x\r\n",
        "HELP\r\n",
        "EHLO c\r\n",
        "HELO c\r\n",
        "RSET\r\nMAIL FROM:<a@b.test>\r\n",
        "RSET\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n",
    ] {
        let input = format!("EHLO c\r\n{}", flood.repeat(200));
        let (codes, _) = talk_with(limits(), false, input.as_bytes(), 100);
        let last = codes.last().map(String::as_str);
        assert!(
            codes.len() < 30 && last == Some("421"),
            "{flood:?}: {codes:?}"
        );
    }
    // Mail pays for the commands between.
    let message = "RSET\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n.\r\nNOOP\r\n";
    let input = format!("EHLO c\r\n{}QUIT\r\n", message.repeat(100));
    let (codes, bodies) = talk_with(limits(), false, input.as_bytes(), 1000);
    assert_eq!(
        (bodies.len(), codes.last().map(String::as_str)),
        (100, Some("221"))
    );
}

#[test]
fn lines_that_are_too_long_or_end_badly_get_500_and_the_session_goes_on() {
    let long = |bytes: usize| "x".repeat(bytes);
    for (bytes, codes) in [
        (2048, &["500", "250"][..]),
        (2049, &["500", "250"]),
        (5000, &["500", "250"]),
        (60_000, &["500", "250"]),
        (70_000, &["500"]),
    ] {
        check(
            config,
            false,
            &format!("{}\r\nNOOP\r\n", long(bytes)),
            codes,
            &[],
        );
    }
    check(
        config,
        false,
        &format!("{}\nNOOP\r\n", long(5000)),
        &["500", "250"],
        &[],
    );
    check(
        config,
        false,
        "NOOP\nNOOP\r\n\nNOOP\r\n",
        &["500", "250", "500", "250"],
        &[],
    );
    let auth = format!("EHLO c\r\nAUTH PLAIN\r\n{}\r\nNOOP\r\n", long(13_000));
    check(config, true, &auth, &["250", "334", "500", "250"], &[]);
    check(
        config,
        true,
        "EHLO c\r\nAUTH PLAIN\r\nAHUAcA==\nNOOP\r\n",
        &["250", "334", "500", "250"],
        &[],
    );
    let (codes, _) = talk_with(config(), false, "x\n".repeat(100).as_bytes(), 7);
    assert_eq!(
        (codes.len(), codes.last().map(String::as_str)),
        (21, Some("421"))
    );
}

#[test]
fn replies_are_written_before_more_is_done() {
    let mut session = ServerSession::new(Arc::new(config()), false);
    let mut out = Vec::new();
    session.feed("EHLO a\r\n".repeat(4000).into_bytes());
    let mut writes = 0;
    loop {
        match session.step(&mut out) {
            Step::Write => {
                assert!((OUT_BYTES_MAX..OUT_BYTES_MAX + 1000).contains(&out.len()));
                out.clear();
                writes += 1;
            }
            Step::Close => break,
            step => panic!("{step:?}"),
        }
    }
    assert!(writes > 0);
    // What a burst needed is given back when the session waits.
    let mut session = ServerSession::new(Arc::new(config()), false);
    session.feed("NOOP\r\n".repeat(90).into_bytes());
    session.feed(vec![b'x'; 30_000]);
    while !matches!(session.step(&mut out), Step::NeedInput) {
        out.clear();
    }
    assert!(
        session.held_bytes() <= 2 * SPARE_BYTES_MAX,
        "{}",
        session.held_bytes()
    );
}

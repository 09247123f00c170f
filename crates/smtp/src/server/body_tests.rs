//! A body is the same whichever way it comes in and however it is cut.

use proptest::prelude::*;

use super::tests::{OPEN, check, config, talk_with};
use super::*;

/// The body as DATA sends it, and another command behind it.
fn by_data(body: &[u8]) -> Vec<u8> {
    let mut wire = format!("{OPEN}DATA\r\n").into_bytes();
    for (at, octet) in body.iter().enumerate() {
        if *octet == b'.' && (at == 0 || body[..at].ends_with(b"\r\n")) {
            wire.push(b'.');
        }
        wire.push(*octet);
    }
    wire.extend_from_slice(b".\r\nVRFY x\r\n");
    wire
}

/// The body in chunks that are cut after so many octets each.
fn by_bdat(body: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut wire = OPEN.as_bytes().to_vec();
    let mut rest = body;
    for cut in cuts {
        let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
        wire.extend(format!("BDAT {}\r\n", chunk.len()).into_bytes());
        wire.extend_from_slice(chunk);
        rest = tail;
    }
    wire.extend(format!("BDAT {} LAST\r\n", rest.len()).into_bytes());
    wire.extend_from_slice(rest);
    wire.extend_from_slice(b"VRFY x\r\n");
    wire
}

/// What was stored or the reply that refused it. The session must go on behind it in step.
fn outcome(config: Config, wire: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let (codes, mut bodies) = talk_with(config, false, wire, size);
    assert_eq!(codes.last().map(String::as_str), Some("252"), "{codes:?}");
    match bodies.pop() {
        Some(body) => Ok(body),
        None => Err(codes[codes.len() - 2].clone()),
    }
}

const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"a",
    b"\0\xff",
    b"MAIL FROM:<ceo@bank.test>\r\n",
];

proptest! {
    #[test]
    fn data_and_bdat_store_the_same_or_refuse_alike(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..25),
        cuts in prop::collection::vec(0usize..8, 0..8),
        size in 1usize..40,
        fix in any::<bool>(),
        message_bytes in prop::sample::select(&[20u64, 60, 1000][..]),
    ) {
        let line_ends = if fix { LineEnds::Fix } else { LineEnds::Refuse };
        let mut body = pieces.concat();
        if !body.is_empty() && !body.ends_with(b"\r\n") {
            body.extend_from_slice(b"\r\n");
        }
        // A body that is dropped is read to its end here.
        prop_assume!(body.len() as u64 <= message_bytes);
        let limits = Limits { message_bytes, recipients: 2, ..Limits::default() };
        let config = || Config { line_ends, limits: limits.clone(), ..config() };
        let data = outcome(config(), &by_data(&body), size);
        let bdat = outcome(config(), &by_bdat(&body, &cuts), size);
        prop_assert_eq!(&data, &bdat);
        prop_assert_eq!(&data, &outcome(config(), &by_data(&body), 10_000));
        prop_assert_eq!(&bdat, &outcome(config(), &by_bdat(&body, &[]), 10_000));
        match data {
            Ok(stored) => {
                let text = String::from_utf8_lossy(&stored).replace("\r\n", "");
                prop_assert!(!text.contains(['\r', '\n']), "{:?}", text);
            }
            Err(code) => prop_assert!(matches!(code.as_str(), "550" | "552")),
        }
    }
}

#[test]
fn a_refused_chunk_refuses_its_message_and_no_other() {
    let good = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 3 LAST\r\nxyz";
    for (refused, codes) in [
        // Pipelined chunks behind the refused one are refused as well, up to the last.
        (
            "BDAT 2\r\na\nBDAT 1\r\nbBDAT 1 LAST\r\nc",
            &["550", "550", "550"][..],
        ),
        ("BDAT 2 LAST\r\na\r", &["550"]),
        ("BDAT 2\r\na\rBDAT 1 LAST\r\n\n", &["250", "250"]),
        ("BDAT 2\r\na\nRSET\r\n", &["550", "250"]),
        // A client that takes the reply for the end of the transaction is right too.
        ("BDAT 2\r\na\n", &["550"]),
        ("BDAT 2\r\na\nDATA\r\nRSET\r\n", &["550", "503", "250"]),
    ] {
        let input = format!("{OPEN}{refused}{good}");
        let codes = [&["250", "250", "250"], codes, &["250", "250", "250"]].concat();
        let bodies = if refused.ends_with("LAST\r\n\n") {
            &["a\r\n", "xyz"][..]
        } else {
            &["xyz"]
        };
        check(config, false, &input, &codes, bodies);
    }
}

#[test]
fn a_stray_chunk_leaves_nothing_behind() {
    for (stray, codes) in [
        ("EHLO c\r\nBDAT 3\r\na\nb", &["250", "503"][..]),
        ("EHLO c\r\nBDAT 3 LAST\r\na\nb", &["250", "503"]),
        (
            "EHLO c\r\nBDAT 0\r\nBDAT 0 LAST\r\n",
            &["250", "503", "503"],
        ),
        (
            "EHLO c\r\nMAIL FROM:<>\r\nBDAT 1\r\nxRSET\r\n",
            &["250", "250", "503", "250"],
        ),
    ] {
        let input =
            format!("{stray}MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx\r\n.\r\n");
        let codes = [codes, &["250", "250", "354", "250"]].concat();
        check(config, false, &input, &codes, &["x\r\n"]);
    }
}

#[test]
fn a_refused_body_that_goes_on_for_ever_ends_the_session() {
    // The limit is 1000 octets. Twice as much is read, so that who is a little over it hears why.
    let data = |bytes: usize| format!("{OPEN}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(bytes));
    let bare = |bytes: usize| format!("{OPEN}DATA\r\n\n{}\r\n.\r\nNOOP\r\n", "x".repeat(bytes));
    let bdat = |bytes: usize| format!("{OPEN}BDAT {bytes}\r\n{}NOOP\r\n", "x".repeat(bytes));
    let stray = |bytes: usize| format!("EHLO c\r\nBDAT {bytes}\r\n{}NOOP\r\n", "x".repeat(bytes));
    check(
        config,
        false,
        &data(1001),
        &["250", "250", "250", "354", "552", "250"],
        &[],
    );
    check(
        config,
        false,
        &data(9000),
        &["250", "250", "250", "354", "552"],
        &[],
    );
    check(
        config,
        false,
        &bare(900),
        &["250", "250", "250", "354", "550", "250"],
        &[],
    );
    check(
        config,
        false,
        &bare(9000),
        &["250", "250", "250", "354", "550"],
        &[],
    );
    check(
        config,
        false,
        &bdat(1001),
        &["250", "250", "250", "552", "250"],
        &[],
    );
    check(
        config,
        false,
        &bdat(9000),
        &["250", "250", "250", "552"],
        &[],
    );
    check(config, false, &stray(1000), &["250", "503", "250"], &[]);
    check(config, false, &stray(9000), &["250", "503"], &[]);
}

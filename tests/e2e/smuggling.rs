//! A second message hidden in the first: by DATA and by BDAT, with every end of data that some host takes for one, in one
//! packet and cut anywhere. Nothing with a bare CR or LF is taken, or all is fixed, and what arrives is never two messages.

use std::time::Duration;

use skein_testkit::load::Probe;
use skein_tests::{Bench, Extra};

/// What hosts have been seen to take for the end of data, beside CRLF.CRLF.
const ENDS: [&str; 10] = [
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\n.\r",
    "\r.\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\r\n.\r\r\n",
    "\n\n.\r\n",
];
/// Ends in the middle of a body are followed by this.
const HIDDEN: &str =
    "MAIL FROM:<ceo@bank.test>\r\nRCPT TO:<smuggled@sink.test>\r\nDATA\r\nSubject: forged\r\n\r\n";

/// Bodies with a bare CR or LF somewhere; the last octets and the first among the places.
fn bodies() -> Vec<String> {
    let mut bodies: Vec<String> = ENDS
        .iter()
        .map(|end| format!("Subject: t\r\n\r\nhello{end}{HIDDEN}"))
        .collect();
    bodies.extend(ENDS.iter().map(|end| format!("Subject: t{end}{HIDDEN}")));
    bodies.push(format!("\n.\r\n{HIDDEN}"));
    bodies.push(format!("\r{HIDDEN}"));
    bodies
}

async fn bench(policy: &str) -> Bench {
    let smtp = format!("bare_newlines = \"{policy}\"");
    let bench = Bench::with(|_| {
        Ok(Extra {
            smtp,
            // All refusals come over a few connections.
            sections: "[smtp.limits]\nerrors_per_connection = 1_000_000".into(),
            ..Extra::default()
        })
    });
    bench.await.unwrap()
}

/// Opens a transaction.
async fn envelope(probe: &mut Probe) {
    for line in ["MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>"] {
        assert_eq!(probe.cmd(line).await.unwrap().code, 250, "{line}");
    }
}

/// Sends in two packets, which are cut here.
async fn send_cut(probe: &mut Probe, bytes: &[u8], cut: usize) {
    let (head, tail) = bytes.split_at(cut.min(bytes.len()));
    probe.send(head).await.unwrap();
    // The other side is to read the first before the second is there.
    tokio::time::sleep(Duration::from_millis(1)).await;
    probe.send(tail).await.unwrap();
}

/// By DATA; the code of the reply.
async fn by_data(probe: &mut Probe, body: &str, cut: usize) -> u16 {
    envelope(probe).await;
    assert_eq!(probe.cmd("DATA").await.unwrap().code, 354);
    // The body is not stuffed: the attacker means its dots.
    let wire = format!("{body}\r\n.\r\n");
    send_cut(probe, wire.as_bytes(), cut).await;
    in_step(probe).await
}

/// By BDAT, whose chunks are cut like packets and a little before them.
async fn by_bdat(probe: &mut Probe, body: &str, cut: usize) -> u16 {
    envelope(probe).await;
    let (head, tail) = body.as_bytes().split_at(cut.min(body.len()));
    let mut wire = format!("BDAT {}\r\n", head.len()).into_bytes();
    wire.extend_from_slice(head);
    send_cut(probe, &wire, wire.len().saturating_sub(1)).await;
    let first = probe.reply().await.unwrap().code;
    let mut wire = format!("BDAT {} LAST\r\n", tail.len()).into_bytes();
    wire.extend_from_slice(tail);
    send_cut(probe, &wire, wire.len() - tail.len() / 2).await;
    let last = in_step(probe).await;
    assert!(
        first == 250 || first == last,
        "a refused chunk refuses the message: {first}, {last}"
    );
    last
}

/// The reply to a body, behind which the session goes on.
async fn in_step(probe: &mut Probe) -> u16 {
    let code = probe.reply().await.unwrap().code;
    let vrfy = probe.cmd("VRFY x").await.unwrap().code;
    assert_eq!(vrfy, 252, "the session is out of step");
    code
}

/// Where a body is cut: around each of its CRs and LFs.
fn cuts(body: &str) -> Vec<usize> {
    let ends = body.match_indices(['\r', '\n']);
    let mut cuts: Vec<usize> = ends.flat_map(|(at, _)| [at, at + 1]).take(16).collect();
    cuts.push(body.len());
    cuts.dedup();
    cuts
}

#[tokio::test(flavor = "multi_thread")]
async fn no_end_of_data_hides_a_message() {
    let bench = bench("refuse").await;
    let _node = bench.start().await.unwrap();
    for body in bodies() {
        let (mut probe, _) = Probe::greet(bench.smtp).await.unwrap();
        for cut in cuts(&body) {
            let code = by_data(&mut probe, &body, cut).await;
            assert_eq!(code, 550, "DATA {body:?} cut at {cut}");
            let code = by_bdat(&mut probe, &body, cut).await;
            assert_eq!(code, 550, "BDAT {body:?} cut at {cut}");
        }
        // A good message goes through behind all the bad ones.
        let good = "Subject: good\r\n\r\n.\r\n..\r\n";
        let code = by_bdat(&mut probe, good, 3).await;
        assert_eq!(code, 250);
    }
    let count = bodies().len();
    let arrived = || (bench.sink.records().len() >= count).then_some(());
    let within = Duration::from_secs(30);
    skein_tests::until("the good mail", within, Duration::from_millis(20), arrived)
        .await
        .unwrap();
    for record in bench.sink.records() {
        let text = String::from_utf8_lossy(&record.message);
        assert!(text.ends_with("Subject: good\r\n\r\n.\r\n..\r\n"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fixed_arrives_as_one_message_without_a_bare_line_end() {
    let bench = bench("fix").await;
    let _node = bench.start().await.unwrap();
    let mut count = 0;
    for body in bodies() {
        let (mut probe, _) = Probe::greet(bench.smtp).await.unwrap();
        for cut in [7, body.len() - HIDDEN.len() - 1] {
            assert_eq!(by_data(&mut probe, &body, cut).await, 250, "DATA {body:?}");
            assert_eq!(by_bdat(&mut probe, &body, cut).await, 250, "BDAT {body:?}");
            count += 2;
        }
    }
    let arrived = || (bench.sink.records().len() >= count).then_some(());
    let within = Duration::from_secs(60);
    skein_tests::until("all mail", within, Duration::from_millis(20), arrived)
        .await
        .unwrap();
    assert_eq!(bench.sink.records().len(), count);
    for record in bench.sink.records() {
        let text = String::from_utf8_lossy(&record.message);
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
        assert!(
            text.contains("Subject: forged"),
            "it is text of the one message: {text:?}"
        );
        assert_eq!(record.sender(), "a@b.test");
    }
}

//! What goes wrong on the way of a message into a node, and what is said of it.

use std::sync::Arc;

use skein_testkit::sink::{Act, Phase, SinkConfig};
use skein_tests::loopback;

use super::{NOBODY, send, send_to, sink};

/// Every fault of the way is told with what to do, in one line.
#[tokio::test(flavor = "multi_thread")]
async fn faults_say_what_to_do_next() {
    let said = |phase: Phase, act: Act| {
        move |config: &mut SinkConfig| {
            config.extensions.starttls = false;
            config.script = Arc::new(move |moment| match moment.phase == phase {
                true => act.clone(),
                false => Act::Accept,
            });
        }
    };
    for (phase, act, expected) in [
        (
            Phase::Connect,
            Act::reply(421, "4.3.2 Too many connections"),
            "another node",
        ),
        (
            Phase::Connect,
            Act::reply(554, "5.7.1 no mail from you"),
            "takes no mail from here",
        ),
        (Phase::Connect, Act::Drop, "is this a port for mail?"),
        (
            Phase::Connect,
            Act::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            "is this a port for mail?",
        ),
        (
            Phase::Mail,
            Act::reply(530, "5.7.0 Say STARTTLS first"),
            "use --tls starttls",
        ),
        (
            Phase::Mail,
            Act::reply(452, "4.3.1 No room"),
            "skeinctl doctor",
        ),
        (Phase::Mail, Act::Drop, "try again"),
        (Phase::Dot, Act::reply(554, "5.6.0 no"), "refused"),
        (
            Phase::AfterDot,
            Act::Drop,
            "may have been taken all the same",
        ),
    ] {
        let sink = sink(said(phase, act.clone())).await;
        let told = send_to(&sink, &[]);
        told.ends(1, &[], &[expected, &sink.address().to_string()]);
        assert_eq!(told.err.lines().count(), 1, "{act:?}: {}", told.err);
    }
    let sink = sink(|config| config.extensions.starttls = false).await;
    send_to(&sink, &["--tls", "starttls"]).ends(1, &[], &["does not offer STARTTLS"]);
    send_to(&sink, &["--tls", "implicit"]).ends(
        1,
        &[],
        &["what it sends is not TLS", "--tls none"],
    );
    let closed = loopback().unwrap();
    let told = send(NOBODY, closed, &[]);
    told.ends(
        1,
        &["connect"],
        &["nothing listens there", "port 2525", "SKEINCTL_SMTP"],
    );
    send(NOBODY, "mx.there.invalid:25", &[]).ends(1, &[], &["cannot be found", "--via"]);
    let told = send(NOBODY, sink.address(), &["--follow"]);
    told.ends(
        1,
        &["queued as"],
        &["took the message as", "no answer from http://127.0.0.1:9"],
    );
    for wrong in ["a@b.test>\r\nDATA", "no-domain", "a b@c.test"] {
        let told = send(NOBODY, closed, &["--to", wrong]);
        assert_eq!(told.code, Some(2), "{wrong:?}: {}", told.err);
    }
    let told = send(NOBODY, closed, &["--header", "X-A: b\nBcc: c"]);
    assert!(
        told.code == Some(2) && told.err.contains("control character"),
        "{}",
        told.err
    );
}

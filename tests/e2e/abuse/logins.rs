//! Passwords in the clear: by every mechanism, at every port, with and without what a client may send at once.

use super::{Ports, STRANGER, TRUSTED};

/// With ann's password where a mechanism has one.
const LINES: [&str; 16] = [
    "AUTH PLAIN AGFubgBzZWNyZXQ=",
    "auth plain AGFubgBzZWNyZXQ=",
    "AUTH PLAIN",
    "AUTH PLAIN =",
    "AUTH LOGIN",
    "AUTH LOGIN YW5u",
    "AUTH CRAM-MD5",
    "AUTH DIGEST-MD5",
    "AUTH SCRAM-SHA-1",
    "AUTH SCRAM-SHA-256 biwsbj1hbm4scj1hYmM=",
    "AUTH SCRAM-SHA-256-PLUS",
    "AUTH XOAUTH2 dXNlcj1hbm4BYXV0aD1CZWFyZXIgeAEB",
    "AUTH OAUTHBEARER",
    "AUTH EXTERNAL =",
    "AUTH ANONYMOUS",
    "AUTH GSSAPI",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_taken_in_the_clear_by_any_mechanism_at_any_port() {
    let ports = Ports::new().await;
    let mut in_the_clear = 0;
    for port in [ports.bench.smtp, ports.plain, ports.submission] {
        for source in [STRANGER, TRUSTED] {
            let mut probe = ports.greeted(source, port).await;
            for name in ["EHLO c", "HELO c"] {
                let ehlo = probe.cmd(name).await.unwrap();
                assert!(!ehlo.announces("AUTH"), "{ehlo:?}");
                for line in LINES {
                    let reply = probe.cmd(line).await.unwrap();
                    assert_eq!(reply.code, 538, "{line} at {port}: {reply:?}");
                    in_the_clear += 1;
                }
            }
            // Nobody is logged in.
            let mail = probe.cmd("MAIL FROM:<a@here.test>").await.unwrap();
            let expected = if port == ports.submission { 530 } else { 250 };
            assert_eq!(mail.code, expected, "{mail:?}");
        }
    }
    let metric = "skein_smtp_in_logins_in_clear_total";
    // A session is counted when it is over.
    let counted = async {
        while ports.metric(metric).await < in_the_clear {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let counted = tokio::time::timeout(std::time::Duration::from_secs(20), counted);
    counted.await.unwrap();
    assert_eq!(ports.metric(metric).await, in_the_clear);
    assert_eq!(ports.metric("skein_smtp_in_logins_total").await, 0);
    assert_eq!(ports.metric("skein_smtp_in_logins_failed_total").await, 0);

    // A login in the clear that stands behind STARTTLS in one packet was said by anybody.
    let mut probe = ports.greeted(STRANGER, ports.submission).await;
    probe
        .send(b"STARTTLS\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n")
        .await
        .unwrap();
    assert_eq!(probe.reply().await.unwrap().code, 554);
    // Under TLS only what is offered is a mechanism.
    for port in [ports.bench.smtp, ports.submission, ports.implicit] {
        for line in LINES {
            let mechanism = line.split(' ').nth(1).unwrap().to_ascii_uppercase();
            if ["PLAIN", "LOGIN"].contains(&mechanism.as_str()) {
                continue;
            }
            let mut probe = ports.encrypted(STRANGER, port).await;
            assert_eq!(probe.cmd(line).await.unwrap().code, 504, "{line}");
        }
        let mut probe = ports.encrypted(TRUSTED, port).await;
        assert_eq!(probe.cmd(LINES[0]).await.unwrap().code, 235);
        // Once is enough.
        assert_eq!(probe.cmd(LINES[0]).await.unwrap().code, 503);
    }
}

//! Mail that a stranger wants relayed, however the recipient is written; and the same spellings from a host that may relay, for
//! which each means one recipient, and never the one that another host would read in it.

use std::time::Duration;

use skein_testkit::load::Probe;

use super::{Ports, STRANGER, TRUSTED};

/// What stands behind `RCPT TO:`, and whom it names for a host that may relay; none: nobody.
const SPELLINGS: [(&str, Option<&str>); 48] = [
    ("<u@victim.test>", Some("u@victim.test")),
    ("<U@VICTIM.TEST>", Some("U@VICTIM.TEST")),
    (" <u@victim.test>", Some("u@victim.test")),
    // Source routes are ignored (RFC 5321 4.1.1.3).
    ("<@mx.skein.test:u@victim.test>", Some("u@victim.test")),
    (
        "<@mx.skein.test,@b.test:u@victim.test>",
        Some("u@victim.test"),
    ),
    ("<@[127.0.0.1]:u@victim.test>", Some("u@victim.test")),
    ("<@mx.skein.test:@b.test:u@victim.test>", None),
    ("<@mx.skein.test>", None),
    ("<@mx.skein.test:>", None),
    // The percent hack and its kin are local parts, and stay such.
    ("<u%victim.test@here.test>", Some("u%victim.test@here.test")),
    (
        "<u%victim.test@mx.skein.test>",
        Some("u%victim.test@mx.skein.test"),
    ),
    (
        "<u%victim.test%b.test@here.test>",
        Some("u%victim.test%b.test@here.test"),
    ),
    ("<victim.test!u@here.test>", Some("victim.test!u@here.test")),
    ("<victim.test!u>", None),
    (
        "<a!victim.test!u@here.test>",
        Some("a!victim.test!u@here.test"),
    ),
    (
        "<@here.test:victim.test!u@here.test>",
        Some("victim.test!u@here.test"),
    ),
    ("<u=victim.test@here.test>", Some("u=victim.test@here.test")),
    ("<u+victim.test@here.test>", Some("u+victim.test@here.test")),
    ("<u/victim.test@here.test>", Some("u/victim.test@here.test")),
    // Quoted.
    (
        "<\"u@victim.test\"@here.test>",
        Some("\"u@victim.test\"@here.test"),
    ),
    (
        "<\"u%victim.test\"@here.test>",
        Some("\"u%victim.test\"@here.test"),
    ),
    (
        "<\"victim.test!u\"@here.test>",
        Some("\"victim.test!u\"@here.test"),
    ),
    (
        "<\"u\\@victim.test\"@here.test>",
        Some("\"u\\@victim.test\"@here.test"),
    ),
    ("<\"u@victim.test\">", None),
    (
        "<\"<u@victim.test>\"@here.test>",
        Some("\"<u@victim.test>\"@here.test"),
    ),
    ("<\"u\"@victim.test>", Some("\"u\"@victim.test")),
    ("<\"\"@victim.test>", Some("\"\"@victim.test")),
    ("<\"u@victim.test@here.test>", None),
    // More than one at sign, or too little else.
    ("<u@victim.test@here.test>", None),
    ("<u@here.test@victim.test>", None),
    ("<u@@victim.test>", None),
    ("<@victim.test>", None),
    ("<u@>", None),
    ("<>", None),
    ("<u>", None),
    ("u@victim.test", None),
    ("<<u@victim.test>>", None),
    ("<u@victim.test", None),
    ("<u@victim.test>,<v@victim.test>", None),
    ("<u@victim.test,v@victim.test>", None),
    // Dots and literals.
    ("<u@victim.test.>", None),
    ("<u@victim..test>", None),
    ("<u.@victim.test>", None),
    ("<u@[127.0.0.1]>", Some("u@[127.0.0.1]")),
    ("<u@[IPv6:::1]>", Some("u@[IPv6:::1]")),
    ("<u@[victim.test]>", None),
    // Letters that look like others, and those that are written with SMTPUTF8 only.
    ("<u@xn--vctim-zsa.test>", Some("u@xn--vctim-zsa.test")),
    ("<u@v\u{ed}ctim.test>", None),
];

/// One recipient of a transaction of its own; the code.
async fn recipient(probe: &mut Probe, spelling: &str) -> u16 {
    let mail = probe.cmd("MAIL FROM:<a@here.test>").await.unwrap();
    if !mail.positive() {
        return mail.code;
    }
    let code = probe
        .cmd(&format!("RCPT TO:{spelling}"))
        .await
        .unwrap()
        .code;
    probe.cmd("RSET").await.unwrap();
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_relays_in_no_spelling_at_any_port() {
    let ports = Ports::new().await;
    let before = ports.metric("skein_smtp_in_relaying_refused_total").await;
    let mut refused = 0;
    // Each from an address of its own: who tries often is answered late, and not at all in the end.
    for (nth, (spelling, _)) in SPELLINGS.iter().enumerate() {
        let source = [127, 0, 1, u8::try_from(nth + 1).unwrap()].into();
        for port in [ports.bench.smtp, ports.plain] {
            let mut probe = ports.greeted(source, port).await;
            let code = recipient(&mut probe, spelling).await;
            assert!((500..600).contains(&code), "{spelling}: {code}");
            refused += u64::from(code == 550);
        }
        for port in [ports.submission, ports.implicit] {
            let mut probe = ports.encrypted(source, port).await;
            assert_eq!(recipient(&mut probe, spelling).await, 530, "{spelling}");
            let code = probe
                .cmd(&format!("RCPT TO:{spelling}"))
                .await
                .unwrap()
                .code;
            assert!(
                (500..600).contains(&code),
                "{spelling} without MAIL: {code}"
            );
        }
    }
    let after = ports.metric("skein_smtp_in_relaying_refused_total").await;
    assert_eq!(after - before, refused);
    // Nobody is trusted because of what he says that he is.
    let names = [
        "EHLO localhost",
        "EHLO mx.skein.test",
        "HELO 127.0.0.7",
        "EHLO [127.0.0.7]",
    ];
    for (nth, line) in names.into_iter().enumerate() {
        let source = [127, 0, 2, u8::try_from(nth + 1).unwrap()].into();
        let mut probe = ports.greeted(source, ports.bench.smtp).await;
        probe.cmd(line).await.unwrap();
        for mail in [
            "MAIL FROM:<a@mx.skein.test>",
            "MAIL FROM:<>",
            "MAIL FROM:<a@here.test> AUTH=<ann>",
        ] {
            assert_eq!(probe.cmd(mail).await.unwrap().code, 250, "{mail}");
            let code = probe.cmd("RCPT TO:<u@victim.test>").await.unwrap().code;
            assert_eq!(code, 550, "{line}, {mail}");
            probe.cmd("RSET").await.unwrap();
        }
    }
    for command in [
        "XCLIENT ADDR=127.0.0.7",
        "XFORWARD ADDR=127.0.0.7",
        "PROXY TCP4 127.0.0.7 127.0.0.1 1 25",
    ] {
        let mut probe = ports.greeted(STRANGER, ports.bench.smtp).await;
        assert_eq!(probe.cmd(command).await.unwrap().code, 500, "{command}");
    }
    assert_eq!(ports.bench.sink.records().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_trusted_host_a_spelling_means_what_it_says_and_nobody_else() {
    let ports = Ports::new().await;
    let mut probe = ports.greeted(TRUSTED, ports.bench.smtp).await;
    let mut expected = Vec::new();
    for (spelling, named) in SPELLINGS {
        let mail = probe.cmd("MAIL FROM:<a@here.test>").await.unwrap();
        assert_eq!(mail.code, 250, "{spelling}: {mail:?}");
        let reply = probe.cmd(&format!("RCPT TO:{spelling}")).await.unwrap();
        assert_eq!(reply.positive(), named.is_some(), "{spelling}: {reply:?}");
        let Some(named) = named else {
            assert!((500..600).contains(&reply.code), "{spelling}: {reply:?}");
            probe.cmd("RSET").await.unwrap();
            continue;
        };
        expected.push(named.to_owned());
        assert_eq!(probe.cmd("DATA").await.unwrap().code, 354);
        let reply = probe.cmd("Subject: x\r\n\r\nx\r\n.").await.unwrap();
        assert_eq!(reply.code, 250, "{spelling}: {reply:?}");
    }
    let arrived = || {
        let records = ports.bench.sink.records();
        let to = records
            .iter()
            .flat_map(|one| one.delivered_to().map(str::to_owned).collect::<Vec<_>>());
        let mut to: Vec<String> = to.collect();
        to.sort();
        (to.len() >= expected.len()).then_some(to)
    };
    let (within, every) = (Duration::from_secs(30), Duration::from_millis(50));
    let arrived = skein_tests::until("all mail", within, every, arrived)
        .await
        .unwrap();
    expected.sort();
    assert_eq!(arrived, expected);
}

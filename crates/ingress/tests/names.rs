//! Whether an address and its name agree: for addresses that are not of loopback, which resolvers answer for themselves.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};

use skein_authentication::{Authenticator, MessageHashes, Question, Word};
use skein_dns::{CheckResolver, Config};
use skein_testkit::dns::{FakeDns, Fault};

#[tokio::test]
async fn an_address_and_its_name_agree_or_do_not() {
    let dns = FakeDns::start(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = |last: u8| IpAddr::from([192, 0, 2, last]);
    dns.ptr(address(1), "one.test");
    dns.host("one.test", address(1));
    dns.ptr(address(2), "two.test");
    dns.host("two.test", address(1));
    dns.ptr(address(4), "away.test");
    dns.fault("away.test", Some(Fault::ServFail));
    let resolver = CheckResolver::new(&Config {
        servers: vec![dns.address()],
        ..Config::default()
    });
    let authenticator = Authenticator::new(resolver.unwrap());
    for (last, expected) in [
        (1, Word::Pass),
        (2, Word::Fail),
        (3, Word::PermError),
        (4, Word::TempError),
    ] {
        let message = MessageHashes::new(b"From: a@b.test\r\n\r\n", false);
        let question = Question {
            client: address(last),
            helo: "client.test",
            mail_from: "a@b.test",
            host: "mx.test",
            sealer: None,
        };
        let found = authenticator.check(message, question).await.findings;
        match last {
            // RFC 8601 2.7.3 has both for an address without a name.
            3 => assert!(
                matches!(found.iprev, Word::Fail | Word::PermError),
                "{found:?}"
            ),
            _ => assert_eq!(found.iprev, expected, "{last}: {found:?}"),
        }
    }
}

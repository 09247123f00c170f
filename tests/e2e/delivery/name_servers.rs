//! Name servers that err, beside one that does not.

use std::net::SocketAddr;

use skein_testkit::dns::{FakeDns, Fault};

use super::{World, address, assert_has, taken, wait_for};

async fn broken(fault: Fault) -> FakeDns {
    let server = FakeDns::start(SocketAddr::new(address(1), 0))
        .await
        .unwrap();
    server.break_down(Some(fault));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_where_one_good_name_server_says() {
    let mut world = World::new().await;
    let faults = [
        Fault::ServFail,
        Fault::Refused,
        Fault::NotImp,
        Fault::FormErr,
        Fault::NoAnswer,
    ];
    let mut servers = Vec::new();
    for fault in faults {
        servers.push(broken(fault).await);
    }
    world.dns_before = servers.iter().map(FakeDns::address).collect();
    let sink = world.sink(3, "there.test").await;
    world.start("", "").await;
    let id = world.send(&["b@there.test"]).await;
    taken(&sink, 1).await;
    assert_eq!(world.event(&id, "delivered").await["attempt"], 1);
    let id = world.send(&["b@nowhere.test"]).await;
    let report = world.report(&id).await;
    assert_has(
        &report,
        &["Status: 5.1.2\r\n", "nowhere.test does not exist"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_while_no_name_server_answers_and_the_reply_names_each() {
    let mut world = World::new().await;
    let first = broken(Fault::Refused).await;
    world.dns_before = vec![first.address()];
    world.dns.break_down(Some(Fault::ServFail));
    let sink = world.sink(3, "there.test").await;
    let retry = "[delivery.retry]\nfirst = \"500ms\"\ncap = \"1s\"\n";
    world.start("", retry).await;
    let id = world.send(&["b@there.test"]).await;
    let deferred = world.event(&id, "deferred").await;
    let reply = deferred["reply"].as_str().unwrap();
    let refused = format!("{} answered REFUSED", first.address());
    let failed = format!("{} answered SERVFAIL", world.dns.address());
    assert_has(reply, &[&refused, &failed]);
    assert_eq!(deferred["enhanced"], "4.4.3");
    world.dns.break_down(None);
    taken(&sink, 1).await;
    wait_for("no bounce", || {
        Some(world.events_of(&id))
            .filter(|events| events.iter().any(|event| event["event"] == "delivered"))
    })
    .await;
}

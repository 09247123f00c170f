//! A node that is alone, its data, and what else it may become; what would strand its mail is refused, with what to do.

use std::time::Duration;

use skein_testkit::process::{Node, NodeConfig};
use skein_tests::operator::try_skeinctl;
use skein_tests::{Bench, Extra, READY, loopback, skein};

use super::skeinctl;

/// What a node says that ends at once.
async fn refusal(bench: &Bench, sections: &str) -> String {
    let text = std::fs::read_to_string(bench.config()).unwrap();
    let file = bench.config().with_file_name("other.toml");
    std::fs::write(&file, format!("{text}\n{sections}")).unwrap();
    let mut node = Node::start(NodeConfig::serve(&skein().unwrap(), &file, bench.http)).unwrap();
    let status = node.wait(Duration::from_secs(30)).await;
    let log = std::fs::read_to_string(file.with_extension("log")).unwrap();
    std::fs::remove_file(file.with_extension("log")).unwrap();
    assert!(status.is_ok_and(|status| !status.success()), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_alone_is_not_started_as_what_cannot_work() {
    let bench = Bench::new().await.unwrap();
    let mut node = bench.start().await.unwrap();
    let added = try_skeinctl(bench.admin, &["cluster", "add", "127.0.0.1:7777"]).unwrap();
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(
        !added.status.success() && said.contains("set cluster.listen"),
        "{said}"
    );
    node.term().unwrap();
    node.wait(Duration::from_secs(60)).await.unwrap();
    drop(node);
    let address = loopback().unwrap();
    let listen = format!("[cluster]\nlisten = \"{address}\"");
    for (sections, expected) in [
        (format!("{listen}\nspool_groups = 4"), "made with 1"),
        (format!("{listen}\npeers = [\"\"]"), "cluster.peers"),
        (
            format!("{listen}\npeers = [\"bad host:1\"]"),
            "like host:port",
        ),
        ("[cluster]\nspool_groups = 4".to_owned(), "made with 1"),
    ] {
        let log = refusal(&bench, &sections).await;
        assert!(log.contains(expected), "{sections}: {log}");
        assert!(!log.contains("panicked"), "{sections}: {log}");
    }
    // Nothing of it has changed the node.
    let _node = bench.start().await.unwrap();
    assert!(!skeinctl(&bench, &["status"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_refused_everywhere() {
    let cluster = loopback().unwrap();
    let sections = format!("[cluster]\nlisten = \"{cluster}\"\npeers = [\"{cluster}\"]\n");
    let bench = Bench::with(|_| {
        Ok(Extra {
            sections,
            ..Extra::default()
        })
    });
    let bench = bench.await.unwrap();
    let mut node = bench.start().await.unwrap();
    for address in [
        "bad host:1",
        "a:0",
        "a:99999",
        "user@a:1",
        "::1:7000",
        "",
        "a",
    ] {
        let added = try_skeinctl(bench.admin, &["cluster", "add", address]).unwrap();
        let said = String::from_utf8_lossy(&added.stderr).into_owned();
        assert!(
            !added.status.success() && said.contains("host:port"),
            "{address}: {said}"
        );
    }
    // The group of a message is part of its id: that of another is nobody's here.
    let deleted = try_skeinctl(
        bench.admin,
        &["message", "delete", "01M8KQCMKZ0000T0CHK3EZQ9JR"],
    );
    let deleted = deleted.unwrap();
    let said = String::from_utf8_lossy(&deleted.stderr).into_owned();
    assert!(!deleted.status.success() && said.contains("id: "), "{said}");
    node.ready(READY).await.unwrap();
}

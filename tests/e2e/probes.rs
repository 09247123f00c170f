//! What `/livez`, `/startupz` and `/readyz` answer where something is missing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use skein_testkit::process::{Node, NodeConfig, http_get};
use skein_tests::{READY, loopback, skein};

fn launch(folder: &Path, name: &str, http: SocketAddr, text: &str) -> Node {
    let file = folder.join(name).with_extension("toml");
    let text = format!(
        "data_dir = \"{}/{name}\"\nhttp.listen = \"{http}\"\n{text}",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    Node::start(NodeConfig::serve(&skein().unwrap(), &file, http)).unwrap()
}

async fn get(http: SocketAddr, path: &str) -> (u16, String) {
    http_get(http, path).await.unwrap_or_default()
}

/// Waits until the process says that it has started.
async fn started(http: SocketAddr) {
    let until = tokio::time::Instant::now() + READY;
    loop {
        let (code, text) = get(http, "/startupz").await;
        if code == 200 {
            assert_eq!(text, "started\n");
            return;
        }
        // Nothing is there yet, or it says what it does.
        assert!(
            code == 0 || text.starts_with("not started: "),
            "{code} {text}"
        );
        assert!(tokio::time::Instant::now() < until, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_waits_for_the_others_has_started_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let http = loopback().unwrap();
    let peers = [(); 3].map(|()| loopback().unwrap());
    let text = format!(
        "role = \"control\"\nadmin.listen = \"{}\"\n[cluster]\nlisten = \"{}\"\npeers = [\"{}\", \"{}\", \"{}\"]\n",
        loopback().unwrap(),
        peers[0],
        peers[0],
        peers[1],
        peers[2]
    );
    let node = launch(folder.path(), "c1", http, &text);
    started(http).await;
    // It has looked for the others then.
    let until = tokio::time::Instant::now() + READY;
    loop {
        let (code, why) = get(http, "/readyz").await;
        assert!(
            code == 503 && why.starts_with("not ready: "),
            "{code} {why}"
        );
        if why.contains(&peers[1].to_string()) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < until,
            "it does not say for whom it waits: {why}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, all) = get(http, "/readyz?verbose").await;
    assert_eq!(code, 503);
    for line in [
        "[+]shutdown ok\n",
        "[+]stores ok\n",
        "[+]ports ok\n",
        "[-]cluster failed: ",
        "[-]group-1 failed: ",
        "readyz check failed\n",
    ] {
        assert!(all.contains(line), "{line:?} is not in {all}");
    }
    assert_eq!(get(http, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(http, "/healthz").await, (200, "ok\n".to_owned()));
    let expected = "[+]ping ok\n[+]groups ok\nlivez check passed\n".to_owned();
    assert_eq!(get(http, "/livez?verbose").await, (200, expected));
    let expected = "[+]stores ok\n[+]ports ok\nstartupz check passed\n".to_owned();
    assert_eq!(get(http, "/startupz?verbose").await, (200, expected));
    assert_eq!(get(http, "/metrics").await.0, 200);
    drop(node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_without_control_nodes_has_started_and_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let http = loopback().unwrap();
    let text = format!(
        "role = \"sender\"\ncluster.peers = [\"{}\"]\n[[smtp.listener]]\naddress = \"{}\"\n",
        loopback().unwrap(),
        loopback().unwrap()
    );
    let node = launch(folder.path(), "s1", http, &text);
    started(http).await;
    let expected = (503, "not ready: the sender has no session\n".to_owned());
    assert_eq!(get(http, "/readyz").await, expected);
    assert_eq!(get(http, "/livez").await.0, 200);
    drop(node);
}

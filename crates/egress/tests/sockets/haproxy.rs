//! A real HAProxy, as an operator would set it up: the source that the PROXY header names decides from which address of
//! the proxy's machine the connection goes on.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use skein_egress::via::{self, EgressRoute};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::stage::*;

struct Proxy {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

fn config(address: SocketAddr) -> String {
    format!(
        "global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend out
    bind {address} accept-proxy
    use_backend two if {{ src 198.51.100.2 }}
    use_backend three if {{ src 198.51.100.3 }}
backend two
    source 127.0.0.2
    server target 0.0.0.0
backend three
    source 127.0.0.3
    server target 0.0.0.0
"
    )
}

impl Proxy {
    async fn start() -> Self {
        // An address of this process, where nobody else takes a port.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = SocketAddr::from(([127, 77, high, low], 3128));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config(address)).unwrap();
        let program = match Path::new("/usr/sbin/haproxy").exists() {
            true => "/usr/sbin/haproxy",
            false => "haproxy",
        };
        let process = Command::new(program)
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .kill_on_drop(true)
            .spawn()
            .expect("haproxy is installed by cargo xtask setup --tests");
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, listening).await.unwrap();
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }

    fn way(&self, source: &str) -> EgressRoute {
        EgressRoute::HaProxy {
            proxy: self.address.to_string(),
            source: format!("{source}:0").parse().unwrap(),
        }
    }
}

#[tokio::test]
async fn haproxy_connects_to_the_target_from_the_source_that_is_asked_for() {
    let proxy = Proxy::start().await;
    let (listener, target) = listen("127.0.0.1").await;
    for (public, bind) in [("198.51.100.2", "127.0.0.2"), ("198.51.100.3", "127.0.0.3")] {
        let (mut stream, source) = via::connect(proxy.way(public), target, LIMIT)
            .await
            .unwrap();
        assert_eq!(source, public);
        let (mut inside, peer) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        assert_eq!(peer.ip(), ip(bind));
        inside.write_all(b"220 ready\r\n").await.unwrap();
        assert_eq!(read(&mut stream, 11).await, b"220 ready\r\n");
        stream.write_all(b"QUIT\r\n").await.unwrap();
        assert_eq!(read(&mut inside, 6).await, b"QUIT\r\n");
    }

    // A target that refuses, and a source that the proxy does not know, look alike: an end before the first byte.
    drop(listener);
    for source in ["198.51.100.2", "203.0.113.1"] {
        let way = proxy.way(source);
        assert!(way.hides_failures());
        let (mut stream, _) = via::connect(way, target, LIMIT).await.unwrap();
        expect_closed(&mut stream).await;
    }
}

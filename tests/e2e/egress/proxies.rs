//! IPs behind other people's proxies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use skein_tests::loopback;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::stage::{NO_LIMITS, PATIENCE, Plan, Stage, pool, wait_for};

const MESSAGES: usize = 200;

/// A SOCKS5 proxy with a login, which connects from this address.
async fn socks(from: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { serve(stream, from).await.ok() });
        }
    });
    address
}

async fn field(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn serve(mut stream: TcpStream, from: Ipv4Addr) -> std::io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    assert!(field(&mut stream).await?.contains(&2), "a login is offered");
    stream.write_all(&[5, 2]).await?;
    assert_eq!(stream.read_u8().await?, 1);
    let login = (field(&mut stream).await?, field(&mut stream).await?);
    let is_right = login == (b"skein".to_vec(), b"secret".to_vec());
    stream.write_all(&[1, u8::from(!is_right)]).await?;
    let mut request = [0; 10];
    stream.read_exact(&mut request).await?;
    assert_eq!(request[..4], [5, 1, 0, 1], "CONNECT to an IPv4 address");
    let [_, _, _, _, a, b, c, d, high, low] = request;
    let target = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut onward = socket.connect(SocketAddr::from(target)).await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut stream, &mut onward).await?;
    Ok(())
}

struct Haproxy {
    address: SocketAddr,
    process: Child,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As an operator sets it up: the source that the PROXY header names decides from which of its addresses it goes on.
async fn haproxy(folder: &Path) -> Haproxy {
    let address = loopback().unwrap();
    let config = format!(
        "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         frontend out\n  bind {address} accept-proxy\n  use_backend theirs if {{ src 198.51.100.2 }}\n\
         backend theirs\n  source 127.0.0.32\n  server target 0.0.0.0\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let program = match Path::new("/usr/sbin/haproxy").exists() {
        true => "/usr/sbin/haproxy",
        false => "haproxy",
    };
    let process = Command::new(program)
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .spawn();
    let process = process.expect("haproxy is installed by cargo xtask setup --tests");
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Haproxy { address, process }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_out_through_socks5_and_through_haproxy_over_starttls() {
    let plan = Plan {
        senders: 1,
        ..Plan::default()
    };
    let stage = Stage::new(plan).await;
    let socks = socks(Ipv4Addr::new(127, 0, 0, 31)).await;
    let haproxy = haproxy(stage.fleet.folder.path()).await;
    let policy = format!(
        "kind: ip\nname: socks\nbind: 198.51.100.1\nehlo: socks.here.test\n\
         proxy: {{socks5: '{socks}', user: skein, password: secret}}\n\
         ---\nkind: ip\nname: ha\nbind: 198.51.100.2\nehlo: ha.here.test\nproxy: {{haproxy: '{}'}}\n\
         {}{NO_LIMITS}",
        haproxy.address,
        pool("default", "{ip: socks}, {ip: ha}"),
    );
    stage.fleet.apply(&policy).unwrap();
    wait_for("the IPs to be known", || {
        let ips = stage.ips();
        (ips["socks"]["node"] == "proxy" && ips["ha"]["node"] == "proxy").then_some(())
    })
    .await;
    // Until the sender has read the policy it sends from its own address.
    let began = Instant::now();
    let mut from_proxies = 0;
    for round in 0.. {
        stage.sink.clear();
        let config = stage.injector(&format!("p{round}-"), stage.domains(4));
        stage.offer(config, MESSAGES).await;
        wait_for("all mail to arrive", || {
            (stage.sink.records().len() >= MESSAGES).then_some(())
        })
        .await;
        let records = stage.sink.records();
        let from = |address: &str| {
            records
                .iter()
                .filter(|record| record.peer.ip().to_string() == address)
                .count()
        };
        from_proxies = from("127.0.0.31") + from("127.0.0.32");
        if from_proxies == MESSAGES {
            println!(
                "of {MESSAGES} messages: SOCKS5 {}, PROXY v2 {}",
                from("127.0.0.31"),
                from("127.0.0.32")
            );
            assert!(from("127.0.0.31").abs_diff(MESSAGES / 2) <= MESSAGES / 50);
            for record in records {
                let is_socks = record.peer.ip() == Ipv4Addr::new(127, 0, 0, 31);
                let ehlo = if is_socks {
                    "socks.here.test"
                } else {
                    "ha.here.test"
                };
                assert_eq!((record.helo.as_str(), record.tls), (ehlo, true));
            }
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{from_proxies} of {MESSAGES} came through the proxies"
        );
    }
    assert_eq!(from_proxies, MESSAGES);
}

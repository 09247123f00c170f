//! SOCKS5 proxies, good and bad (RFC 1928, RFC 1929).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use skein_egress::via::{self, EgressRoute, Login, RouteFault, TargetFault, ViaError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::stage::*;

#[derive(Clone, Copy)]
enum Manner {
    /// Connects from this address.
    Works(&'static str),
    /// As above, and tells no address.
    Discreet(&'static str),
    Answers(u8),
    Silent,
    Closes,
    /// Is no SOCKS proxy.
    Babbles,
}

const LOGIN: (&str, &str) = ("skein", "correct horse");

async fn start(manner: Manner, has_login: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner, has_login));
        }
    });
    address.to_string()
}

async fn text(stream: &mut TcpStream) -> String {
    let bytes = stream.read_u8().await.unwrap();
    String::from_utf8(read(stream, bytes.into()).await).unwrap()
}

async fn serve(mut stream: TcpStream, manner: Manner, has_login: bool) -> Option<()> {
    if matches!(manner, Manner::Babbles) {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n")
            .await
            .ok()?;
        read_to_end(&mut stream).await;
        return None;
    }
    assert_eq!(stream.read_u8().await.ok()?, 5);
    let offered = stream.read_u8().await.ok()?;
    let methods = read(&mut stream, offered.into()).await;
    let method = if has_login { 2 } else { 0 };
    if !methods.contains(&method) {
        stream.write_all(&[5, 0xff]).await.ok()?;
        return None;
    }
    stream.write_all(&[5, method]).await.ok()?;
    if has_login {
        assert_eq!(stream.read_u8().await.ok()?, 1);
        let login = (text(&mut stream).await, text(&mut stream).await);
        let is_right = (login.0.as_str(), login.1.as_str()) == LOGIN;
        stream.write_all(&[1, u8::from(!is_right)]).await.ok()?;
        if !is_right {
            return None;
        }
    }
    let head = read(&mut stream, 4).await;
    assert_eq!(head, [5, 1, 0, 1], "CONNECT to an IPv4 address");
    let host: [u8; 4] = read(&mut stream, 4).await.try_into().unwrap();
    let port = stream.read_u16().await.ok()?;
    pass(stream, manner, (Ipv4Addr::from(host), port).into()).await
}

fn reply(code: u8, bound: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = bound.ip() else {
        panic!("these tests are about IPv4");
    };
    let mut reply = vec![5, code, 0, 1];
    reply.extend(ip.octets());
    reply.extend(bound.port().to_be_bytes());
    reply
}

async fn pass(mut stream: TcpStream, manner: Manner, target: SocketAddr) -> Option<()> {
    let unspecified = "0.0.0.0:0".parse().unwrap();
    let (bind, is_discreet) = match manner {
        Manner::Works(bind) => (bind, false),
        Manner::Discreet(bind) => (bind, true),
        Manner::Answers(code) => return stream.write_all(&reply(code, unspecified)).await.ok(),
        Manner::Silent => {
            read_to_end(&mut stream).await;
            return None;
        }
        Manner::Closes | Manner::Babbles => return None,
    };
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip(bind), 0).into()).unwrap();
    let Ok(mut onward) = socket.connect(target).await else {
        return stream.write_all(&reply(5, unspecified)).await.ok();
    };
    let bound = match is_discreet {
        true => unspecified,
        false => onward.local_addr().unwrap(),
    };
    // The first bytes of the target, in one packet with the reply.
    let mut answer = reply(0, bound);
    answer.extend(read(&mut onward, 5).await);
    stream.write_all(&answer).await.ok()?;
    copy_bidirectional(&mut stream, &mut onward).await.ok()?;
    Some(())
}

fn way(proxy: &str, login: Option<(&str, &str)>) -> EgressRoute {
    EgressRoute::Socks5 {
        proxy: proxy.to_owned(),
        login: login.map(|(user, password)| Login {
            user: user.into(),
            password: password.into(),
        }),
    }
}

#[tokio::test]
async fn a_connection_goes_through_a_proxy_and_nothing_is_lost() {
    let (listener, target) = listen("127.0.0.1").await;
    tokio::spawn(async move {
        while let Ok((mut stream, peer)) = listener.accept().await {
            let banner = format!("220 {}\r\n", peer.ip());
            stream.write_all(banner.as_bytes()).await.unwrap();
            let said = read_to_end(&mut stream).await;
            stream.write_all(&said).await.unwrap();
        }
    });
    for (manner, login) in [
        (Manner::Works("127.0.0.9"), None),
        (Manner::Works("127.0.0.9"), Some(LOGIN)),
        (Manner::Discreet("127.0.0.9"), None),
    ] {
        let proxy = start(manner, login.is_some()).await;
        let (mut stream, source) = via::connect(way(&proxy, login), target, LIMIT)
            .await
            .unwrap();
        match manner {
            Manner::Discreet(_) => assert_eq!(source, proxy),
            _ => assert_eq!(source, "127.0.0.9"),
        }
        stream.write_all(b"QUIT\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let heard = read_to_end(&mut stream).await;
        assert_eq!(heard, b"220 127.0.0.9\r\nQUIT\r\n");
    }
}

#[tokio::test]
async fn a_proxy_may_be_named() {
    let (listener, target) = listen("127.0.0.1").await;
    let proxy = start(Manner::Works("127.0.0.9"), false).await;
    let port = proxy.rsplit(':').next().unwrap();
    let connecting = tokio::spawn(via::connect(
        way(&format!("localhost:{port}"), None),
        target,
        LIMIT,
    ));
    let (mut inside, peer) = listener.accept().await.unwrap();
    inside.write_all(b"220 x\r\n").await.unwrap();
    assert_eq!(peer.ip(), ip("127.0.0.9"));
    connecting.await.unwrap().unwrap();
}

/// None if it is nobody's fault that one knows of.
fn fault(error: &ViaError) -> Option<Result<RouteFault, TargetFault>> {
    match error {
        ViaError::Route { fault, .. } => Some(Ok(*fault)),
        ViaError::Target { fault, .. } => Some(Err(*fault)),
        ViaError::Unclear { .. } => None,
    }
}

#[tokio::test]
async fn a_failure_is_blamed_on_the_target_only_when_the_proxy_says_so() {
    use Manner::{Answers, Babbles, Closes, Silent, Works};
    let (listener, target) = listen("127.0.0.1").await;
    drop(listener);
    let wrong = ("skein", "wrong");
    let long = "x".repeat(256);
    let works = Works("127.0.0.9");
    for (manner, has_login, login, expected) in [
        (works, false, None, Some(Err(TargetFault::Refused))),
        (Answers(1), false, None, None),
        (Answers(2), false, None, Some(Ok(RouteFault::Forbidden))),
        (Answers(3), false, None, Some(Err(TargetFault::Unreachable))),
        (Answers(4), false, None, Some(Err(TargetFault::Unreachable))),
        (
            Answers(5),
            true,
            Some(LOGIN),
            Some(Err(TargetFault::Refused)),
        ),
        (Answers(6), false, None, Some(Err(TargetFault::Timeout))),
        (Answers(7), false, None, Some(Ok(RouteFault::Protocol))),
        (Answers(8), false, None, Some(Ok(RouteFault::Family))),
        (Answers(99), false, None, Some(Ok(RouteFault::Protocol))),
        (Silent, false, None, None),
        (Closes, false, None, None),
        (Babbles, false, None, Some(Ok(RouteFault::Protocol))),
        (works, true, None, Some(Ok(RouteFault::Login))),
        (works, true, Some(wrong), Some(Ok(RouteFault::Login))),
        (works, true, Some((&long, "x")), Some(Ok(RouteFault::Login))),
        (
            works,
            true,
            Some(("skein", "")),
            Some(Ok(RouteFault::Login)),
        ),
    ] {
        let proxy = start(manner, has_login).await;
        let limit = Duration::from_millis(1_000);
        let connected = via::connect(way(&proxy, login), target, limit).await;
        let error = connected.err().unwrap();
        assert_eq!(fault(&error), expected, "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_the_fault_of_the_way() {
    let (listener, closed) = listen("127.0.0.1").await;
    drop(listener);
    let silent = Silent::start().await;
    let target = "192.0.2.1:25".parse().unwrap();
    for proxy in [
        closed.to_string(),
        silent.address.to_string(),
        "proxy.invalid:1080".to_owned(),
        "no port".to_owned(),
    ] {
        let ways = [
            way(&proxy, None),
            EgressRoute::HaProxy {
                proxy: proxy.clone(),
                source: "192.0.2.2:0".parse().unwrap(),
            },
        ];
        for way in ways {
            let limit = Duration::from_millis(500);
            let error = via::connect(way, target, limit).await.err().unwrap();
            let expected = Some(Ok(RouteFault::Unreachable));
            assert_eq!(fault(&error), expected, "{proxy}: {error}");
        }
    }
}

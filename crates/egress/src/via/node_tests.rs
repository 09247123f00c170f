#![expect(clippy::unwrap_used, reason = "tests")]

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::dial::DialError;
use crate::refused::Refused;

fn fault(error: ViaError) -> Result<RouteFault, TargetFault> {
    match error {
        ViaError::Route { fault, .. } => Ok(fault),
        ViaError::Target { fault, .. } => Err(fault),
        ViaError::Unclear { text } => panic!("an egress node always says why: {text}"),
    }
}

#[test]
fn every_refusal_of_an_egress_node_is_about_the_way() {
    let ip = || "ip-1".to_owned();
    let (bind, target) = ("192.0.2.1".parse().unwrap(), "::1".parse().unwrap());
    let (asked, held) = (1, 2);
    for (refused, expected) in [
        (Refused::Method, RouteFault::Protocol),
        (Refused::Malformed(ip()), RouteFault::Protocol),
        (Refused::NotHeld { ip: ip() }, RouteFault::NotHeld),
        (
            Refused::Stale {
                ip: ip(),
                asked,
                held,
            },
            RouteFault::Stale,
        ),
        (
            Refused::Ahead {
                ip: ip(),
                asked,
                held,
            },
            RouteFault::Ahead,
        ),
        (Refused::Suspended { ip: ip() }, RouteFault::Suspended),
        (Refused::Family { bind, target }, RouteFault::Family),
        (Refused::Cap { ip: ip(), cap: 1 }, RouteFault::Cap),
        (Refused::Full(ip()), RouteFault::Full),
    ] {
        let error = judge(refused.status(), refused.word(), &refused.to_string());
        assert_eq!(fault(error), Ok(expected), "{refused}");
    }
}

#[test]
fn failures_to_connect_arrive_as_they_were() {
    let target = "192.0.2.1:25".parse().unwrap();
    let weather = || std::io::Error::other("weather");
    let connect = |fault| DialError::Target {
        target,
        fault,
        source: weather(),
    };
    for (failure, expected) in [
        (connect(TargetFault::Refused), Err(TargetFault::Refused)),
        (connect(TargetFault::Timeout), Err(TargetFault::Timeout)),
        (
            connect(TargetFault::Unreachable),
            Err(TargetFault::Unreachable),
        ),
        (
            DialError::Bind {
                bind: target.ip(),
                source: weather(),
            },
            Ok(RouteFault::Bind),
        ),
        (DialError::Exhausted(weather()), Ok(RouteFault::Full)),
    ] {
        let error = judge(failure.status(), failure.word(), &failure.to_string());
        assert_eq!(fault(error), expected, "{failure}");
        assert_eq!(fault(failure.into()), expected);
    }
}

/// Connects to an egress node that says this, whatever it is asked, and then ends.
async fn ask_who_says(answer: &[u8]) -> Result<(Stream, String), ViaError> {
    let (ours, mut theirs) = duplex(64 << 10);
    let answer = answer.to_vec();
    tokio::spawn(async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(theirs.read_u8().await.unwrap());
        }
        theirs.write_all(&answer).await.unwrap();
    });
    let target = "192.0.2.1:25".parse().unwrap();
    connect(Box::new(ours), "ip-1", 1, target, Duration::from_secs(5)).await
}

#[tokio::test]
async fn bytes_behind_the_answer_belong_to_the_stream() {
    let answer = b"HTTP/1.1 200 OK\r\nskein-source: [2001:db8::1]:4000\r\n\r\n220 mx ready\r\n";
    let (mut stream, source) = ask_who_says(answer).await.unwrap();
    assert_eq!(source, "2001:db8::1");
    let mut banner = String::new();
    stream.read_to_string(&mut banner).await.unwrap();
    assert_eq!(banner, "220 mx ready\r\n");
}

#[tokio::test]
async fn whatever_else_an_egress_node_says_is_its_own_fault() {
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 20_000]].concat();
    let long = [
        b"HTTP/1.1 403 No\r\ncontent-length: 5000\r\n\r\n".as_slice(),
        &[b'x'; 5000],
    ]
    .concat();
    for (answer, expected) in [
        (&b""[..], RouteFault::Unreachable),
        (b"220 mx ready\r\n", RouteFault::Protocol),
        (b"HTTP/1.1 200 O", RouteFault::Unreachable),
        (&endless, RouteFault::Protocol),
        (&long, RouteFault::Suspended),
        (b"HTTP/1.1 301 Moved\r\n\r\n", RouteFault::Protocol),
        (
            b"HTTP/1.1 409 No\r\nskein-error: unheard-of\r\n\r\n",
            RouteFault::Stale,
        ),
    ] {
        let error = ask_who_says(answer).await.err().unwrap();
        let sent = String::from_utf8_lossy(&answer[..answer.len().min(50)]);
        assert_eq!(fault(error), Ok(expected), "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_egress_node_that_says_nothing_is_broken() {
    let (ours, _theirs) = duplex(64 << 10);
    let target = "192.0.2.1:25".parse().unwrap();
    let asked = connect(Box::new(ours), "ip-1", 1, target, Duration::from_secs(5));
    let error = asked.await.err().unwrap();
    assert_eq!(fault(error), Ok(RouteFault::Unreachable));
}

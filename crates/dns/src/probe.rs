//! Whether a name server answers at all.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::net::UdpSocket;

/// A resolver that has to ask others for the root has the answer in its cache, or gets it in one trip.
const WITHIN: Duration = Duration::from_secs(3);
/// A datagram may be lost.
const TRIES: u32 = 2;
/// Without EDNS no answer over UDP is longer (RFC 1035 2.3.4).
const ANSWER_BYTES_MAX: usize = 512;

/// The name servers that are asked: those of the configuration, else those of `/etc/resolv.conf`.
pub(crate) fn servers(given: &[SocketAddr]) -> Vec<SocketAddr> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let Ok((system, _)) = read_system_conf() else {
        return Vec::new();
    };
    let servers = system.name_servers().iter();
    let servers = servers.map(|server| {
        let port = server.connections.first().map_or(53, |one| one.port);
        SocketAddr::new(server.ip, port)
    });
    let mut servers: Vec<SocketAddr> = servers.collect();
    servers.dedup();
    servers
}

/// Asks a name server for the servers of the root, which every resolver knows. Any answer but an error is good: the question
/// is whether it does its work for this machine.
///
/// # Errors
/// What is wrong with it, in a few words.
pub async fn probe(server: SocketAddr) -> Result<(), String> {
    let mut last = Ok(());
    for _ in 0..TRIES {
        last = match tokio::time::timeout(WITHIN, ask(server)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
        };
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn ask(server: SocketAddr) -> Result<(), String> {
    let plain = |error: std::io::Error| reason(&error);
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(plain)?;
    socket.connect(server).await.map_err(plain)?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::root(), RecordType::NS));
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    socket.send(&bytes).await.map_err(plain)?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut answer).await.map_err(plain)?;
        let Ok(answer) = Message::from_vec(&answer[..length]) else {
            return Err("answers nonsense".to_owned());
        };
        // One to another question: a late one, or a guess of a stranger.
        if answer.metadata.id != question.metadata.id {
            continue;
        }
        return match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(()),
            code => Err(format!("answers \"{code}\"")),
        };
    }
}

fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A server that says the question back with this response code; one that has none is silent.
    async fn server(code: Option<u8>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut bytes = [0; ANSWER_BYTES_MAX];
            while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                let Some(code) = code else { continue };
                // A late answer to another question comes first.
                let mut other = bytes;
                other[0] ^= 0xff;
                other[2] |= 0x80;
                socket.send_to(&other[..length], from).await.unwrap();
                bytes[2] |= 0x80;
                bytes[3] = code;
                socket.send_to(&bytes[..length], from).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_server_that_errs_refuses_or_is_silent_is_told_from_one_that_answers() {
        for (code, says) in [
            (Some(0), None),
            (Some(3), None),
            (Some(2), Some("answers \"")),
            (Some(4), Some("answers \"")),
            (Some(5), Some("answers \"")),
            (None, Some("no answer within")),
        ] {
            let found = probe(server(code).await).await.err();
            assert_eq!(found.is_some(), says.is_some(), "{code:?}: {found:?}");
            let found = found.unwrap_or_default();
            assert!(
                found.contains(says.unwrap_or_default()),
                "{code:?}: {found}"
            );
        }
        let closed = {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.local_addr().unwrap()
        };
        let found = probe(closed).await;
        assert_eq!(found, Err("connection refused".to_owned()));
    }
}

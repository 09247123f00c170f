//! The PROXY protocol, versions 1 and 2: a proxy in front of us says whose connection it is.
//!
//! Exactly the header is read, byte by byte where its length is not known, so that what follows is left to the
//! dialogue or to the TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// A proxy sends its header at once.
const WAIT: Duration = Duration::from_secs(10);
/// The longest header of version 1.
const TEXT_BYTES_MAX: usize = 107;
/// Addresses and extensions of version 2; proxies that pass TLS details on stay far below.
const BINARY_BYTES_MAX: usize = 4096;

/// The client that a proxy speaks for; none when it speaks for itself, as its health checks do.
///
/// # Errors
/// None if no header came, or not in time: nothing is known about the client then.
pub async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let header = timeout(WAIT, read(stream)).await??;
    match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
            v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        }),
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Local, _) | (_, v2::Addresses::Unspecified) => Ok(None),
            (_, v2::Addresses::IPv4(ip)) => Ok(Some((ip.source_address, ip.source_port).into())),
            (_, v2::Addresses::IPv6(ip)) => Ok(Some((ip.source_address, ip.source_port).into())),
            (_, v2::Addresses::Unix(_)) => Err(bad("it names a Unix socket")),
        },
        HeaderResult::V1(Err(error)) => Err(bad(&error.to_string())),
        HeaderResult::V2(Err(error)) => Err(bad(&error.to_string())),
    }
}

fn bad(reason: &str) -> io::Error {
    let text = format!("a bad PROXY header: {reason}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        // Command, family, and the length of the rest.
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        header.extend_from_slice(&fixed);
        let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if rest > BINARY_BYTES_MAX {
            return Err(bad("it is too long"));
        }
        let start = header.len();
        header.resize(start + rest, 0);
        stream.read_exact(&mut header[start..]).await?;
        return Ok(header);
    }
    while !header.ends_with(b"\r\n") {
        if !header.starts_with(b"PROXY ") || header.len() >= TEXT_BYTES_MAX {
            return Err(bad("it is of no version that is known"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The client, and what was left unread.
    async fn check(input: &[u8]) -> (io::Result<Option<SocketAddr>>, Vec<u8>) {
        let mut stream = input;
        let result = read_header(&mut stream).await;
        (result, stream.to_vec())
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend((body.len() as u16).to_be_bytes());
        header.extend(body);
        header
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_rest() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 25];
        let with_extension = [&v4[..], &[4, 0, 1, 0]].concat();
        for (header, client) in [
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 7 25\r\n".to_vec(),
                Some("192.0.2.1:7"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 7 25\r\n".to_vec(),
                Some("[2001:db8::1]:7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (binary(1, 0x11, &v4), Some("192.0.2.1:7")),
            (binary(1, 0x11, &with_extension), Some("192.0.2.1:7")),
            (binary(0, 0x00, &[]), None),
        ] {
            let (result, rest) = check(&[&header[..], b"EHLO x\r\n"].concat()).await;
            let client = client.map(|text| text.parse::<SocketAddr>().unwrap());
            assert_eq!(result.unwrap(), client, "{header:?}");
            assert_eq!(rest, b"EHLO x\r\n", "{header:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for input in [
            b"EHLO client.test\r\n".to_vec(),
            b"PROXY TCP4 nonsense\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1".to_vec(),
            binary(1, 0x11, &[1, 2, 3]),
            binary(1, 0x11, &[0; 5000]),
            endless,
        ] {
            assert!(check(&input).await.0.is_err(), "{input:?}");
        }
    }
}

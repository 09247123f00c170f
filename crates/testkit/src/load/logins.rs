use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Sessions that log in and leave, one after the other, at a port with implicit TLS; handshakes are resumed after the first.
#[derive(Debug, Clone)]
pub struct LoginLoad {
    pub target: SocketAddr,
    /// User and password; none: sessions only greet.
    pub login: Option<(String, String)>,
    /// At once.
    pub sessions: u32,
    pub lasts: Duration,
}

impl LoginLoad {
    /// How many sessions went well.
    ///
    /// # Errors
    /// The first that did not.
    pub async fn run(self) -> io::Result<u64> {
        let (count, until) = (Arc::new(AtomicU64::new(0)), Instant::now() + self.lasts);
        let connector = crate::tls::connector();
        let line = self.login.map(|(user, password)| {
            format!(
                "AUTH PLAIN {}",
                STANDARD.encode(format!("\0{user}\0{password}"))
            )
        });
        let mut tasks = tokio::task::JoinSet::new();
        for nth in 0..self.sessions {
            let (connector, line, count) = (connector.clone(), line.clone(), count.clone());
            let target = self.target;
            tasks.spawn(async move {
                // Ports of one address would run out: each stays for a minute after its connection.
                for turn in (nth..).step_by(7) {
                    if Instant::now() >= until {
                        break;
                    }
                    let source =
                        IpAddr::from([127, 0, 1, u8::try_from(turn % 250 + 1).unwrap_or(1)]);
                    session(source, target, &connector, line.as_deref()).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                io::Result::Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(count.load(Ordering::Relaxed))
    }
}

async fn session(
    source: IpAddr,
    target: SocketAddr,
    connector: &TlsConnector,
    login: Option<&str>,
) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("mx.skein.test").map_err(io::Error::other)?;
    let mut io = BufReader::new(connector.connect(name, stream).await?);
    expect(&mut io, "220").await?;
    say(&mut io, "EHLO load", "250").await?;
    if let Some(login) = login {
        say(&mut io, login, "235").await?;
    }
    say(&mut io, "QUIT", "221").await
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut BufReader<S>,
    line: &str,
    code: &str,
) -> io::Result<()> {
    io.get_mut()
        .write_all(format!("{line}\r\n").as_bytes())
        .await?;
    io.get_mut().flush().await?;
    expect(io, code).await
}

/// Reads one reply.
async fn expect<S: AsyncRead + Unpin>(io: &mut BufReader<S>, code: &str) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        if io.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.starts_with(code) {
            return Err(io::Error::other(line.trim_end().to_owned()));
        }
        if line.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A reply line may be long in a test; RFC 5321 allows 512 bytes.
const REPLY_LINE_BYTES_MAX: u64 = 16 * 1024;
/// Lines of one reply.
const REPLY_LINES_MAX: usize = 256;
/// Waiting for one reply or connect, unless changed.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One reply, possibly of several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// The text of each line, without code and CRLF.
    pub lines: Vec<String>,
}

impl Reply {
    pub fn positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// All lines joined by newlines.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Whether an EHLO reply announces the keyword.
    pub fn announces(&self, keyword: &str) -> bool {
        let mut words = self
            .lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split(' ').next());
        words.any(|word| word.eq_ignore_ascii_case(keyword))
    }
}

/// A raw SMTP client: one line out, one reply in, no opinion on either.
pub struct Probe {
    io: BufReader<Box<dyn Stream>>,
    wait: Duration,
    local: SocketAddr,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Probe {
    /// Connects without reading the banner.
    ///
    /// # Errors
    /// The connection fails or takes longer than 30 s.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(WAIT_DEFAULT, TcpStream::connect(address)).await??;
        Self::over(stream)
    }

    /// Connects from this address, without reading the banner.
    ///
    /// # Errors
    /// The address cannot be bound, or the connection fails or takes longer than 30 s.
    pub async fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = match source {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.bind(SocketAddr::new(source, 0))?;
        let stream = timeout(WAIT_DEFAULT, socket.connect(address)).await??;
        Self::over(stream)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok(Self {
            io: BufReader::new(Box::new(stream)),
            wait: WAIT_DEFAULT,
            local,
        })
    }

    /// Connects with TLS from the first byte (port 465), without verification.
    ///
    /// # Errors
    /// The connection or the handshake fails.
    pub async fn connect_tls(address: SocketAddr) -> io::Result<Self> {
        let mut probe = Self::connect(address).await?;
        probe.handshake().await?;
        Ok(probe)
    }

    /// Connects, reads the banner and says EHLO; returns the EHLO reply too.
    ///
    /// # Errors
    /// The connection fails or banner or EHLO are refused.
    pub async fn greet(address: SocketAddr) -> io::Result<(Self, Reply)> {
        Self::greet_within(address, WAIT_DEFAULT).await
    }

    /// The same, and waits no longer than this for each reply from now on.
    pub(super) async fn greet_within(
        address: SocketAddr,
        wait: Duration,
    ) -> io::Result<(Self, Reply)> {
        let mut probe = Self::connect(address).await?;
        probe.set_wait(wait);
        let banner = probe.reply().await?;
        if !banner.positive() {
            return Err(io::Error::other(format!(
                "banner {} {}",
                banner.code,
                banner.text()
            )));
        }
        let ehlo = probe.cmd("EHLO probe.skein.test").await?;
        Ok((probe, ehlo))
    }

    pub fn set_wait(&mut self, wait: Duration) {
        self.wait = wait;
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a line (CRLF is added) and reads one reply.
    ///
    /// # Errors
    /// The connection ended, or no reply came in time.
    pub async fn cmd(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let io = self.io.get_mut();
        timeout(self.wait, async {
            io.write_all(bytes).await?;
            io.flush().await
        })
        .await?
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection ended, the reply is malformed, or none came in time.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        timeout(self.wait, self.read_reply()).await?
    }

    async fn read_reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        while lines.len() < REPLY_LINES_MAX {
            let mut line = Vec::new();
            let read = (&mut self.io)
                .take(REPLY_LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let malformed =
                || io::Error::new(io::ErrorKind::InvalidData, format!("reply {line:?}"));
            let code = line
                .get(..3)
                .and_then(|code| code.parse().ok())
                .ok_or_else(malformed)?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "endless reply"))
    }

    /// STARTTLS without verification; EHLO must be said again afterwards.
    ///
    /// # Errors
    /// The server refuses or the handshake fails.
    pub async fn starttls(&mut self) -> io::Result<()> {
        let reply = self.cmd("STARTTLS").await?;
        if reply.code != 220 {
            return Err(io::Error::other(format!(
                "STARTTLS: {} {}",
                reply.code,
                reply.text()
            )));
        }
        self.handshake().await
    }

    /// Starts the handshake on the connection as it is.
    ///
    /// # Errors
    /// The handshake fails.
    pub async fn handshake(&mut self) -> io::Result<()> {
        let nothing: Box<dyn Stream> =
            Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        let plain = std::mem::replace(&mut self.io, BufReader::new(nothing)).into_inner();
        let name = ServerName::try_from("sink.skein.test").expect("a valid constant name");
        let encrypted = timeout(self.wait, crate::tls::connector().connect(name, plain)).await??;
        self.io = BufReader::new(Box::new(encrypted));
        Ok(())
    }

    /// Whether the server closed: waits for the end of the stream, discarding what still comes.
    pub async fn closed(&mut self) -> bool {
        let wait = self.wait;
        let rest = async {
            let mut scrap = [0_u8; 4096];
            while matches!(self.io.read(&mut scrap).await, Ok(read) if read > 0) {}
        };
        timeout(wait, rest).await.is_ok()
    }
}

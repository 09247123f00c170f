//! One client's session: the dialogue decides, this reads and writes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use skein_smtp::receive::LineEnds;
use skein_smtp::reply::Reply;
use skein_smtp::server::{Config as Dialogue, Event, ServerSession, Step};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Listener, ListenerKind, TlsMode};
use crate::intake::{Intake, Peer};
use crate::pace::Pace;
use crate::server::Shared;

/// One read; a message of usual size comes in a few of them.
const READ_BYTES: usize = 32 << 10;

/// Says why and closes.
pub async fn refuse(mut stream: TcpStream, line: &str) {
    // The client is not waited for; it sees the reason or a reset.
    let _ = stream.write_all(line.as_bytes()).await;
}

pub struct Session<'s> {
    dialogue: ServerSession,
    intake: Intake<'s>,
    shared: &'s Shared,
    out: Vec<u8>,
    read: Vec<u8>,
    /// Since when a body comes, and how fast.
    body: Option<(Instant, Pace)>,
}

enum End {
    Closed,
    StartTls,
}

impl<'s> Session<'s> {
    pub async fn run(
        shared: &'s Shared,
        listener: &Listener,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let config = &shared.config;
        let dialogue = Dialogue {
            hostname: config.hostname.clone(),
            starttls: listener.tls == TlsMode::StartTls,
            auth: !config.users.is_empty(),
            auth_required: listener.kind == ListenerKind::Submission,
            line_ends: if config.fix_bare_newlines {
                LineEnds::Fix
            } else {
                LineEnds::Refuse
            },
            limits: config.limits.clone(),
        };
        let implicit = listener.tls == TlsMode::Implicit;
        let mut session = Self {
            dialogue: ServerSession::new(Arc::new(dialogue), implicit),
            intake: Intake::new(shared, peer.ip(), listener.kind),
            shared,
            out: Vec::new(),
            read: vec![0; READ_BYTES],
            body: None,
        };
        if implicit {
            return session.over_tls(stream, true).await;
        }
        let mut stream = stream;
        session.dialogue.greeting(&mut session.out);
        match session.talk(&mut stream).await? {
            End::Closed => Ok(()),
            End::StartTls => session.over_tls(stream, false).await,
        }
    }

    async fn over_tls(&mut self, stream: TcpStream, greet: bool) -> io::Result<()> {
        let acceptor = self
            .shared
            .tls
            .as_ref()
            .expect("bind refuses TLS listeners without a certificate");
        let limit = self.dialogue.timeout();
        let mut stream = timeout(limit, acceptor.accept(stream)).await??;
        let connection = stream.get_ref().1;
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLS",
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str());
        self.intake.set_tls(version, cipher.unwrap_or("unknown"));
        self.dialogue.tls_started();
        if greet {
            self.dialogue.greeting(&mut self.out);
        }
        self.talk(&mut stream).await?;
        stream.shutdown().await
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<End> {
        loop {
            match self.dialogue.step(&mut self.out) {
                Step::NeedInput => {
                    self.flush(stream).await?;
                    if !self.receive(stream).await? {
                        return Ok(End::Closed);
                    }
                }
                Step::Close => {
                    self.flush(stream).await?;
                    return Ok(End::Closed);
                }
                Step::Event(Event::StartTls) => {
                    self.flush(stream).await?;
                    return Ok(End::StartTls);
                }
                Step::Event(event) => self.on_event(event).await,
            }
        }
    }

    /// Reads once; false when the client is gone or took too long.
    async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> io::Result<bool> {
        let mut limit = self.dialogue.timeout();
        if let Some((began, pace)) = &self.body {
            limit = pace.wait(began.elapsed(), limit, self.shared.config.body_rate_min);
        }
        let idle = !self.dialogue.in_transaction();
        let count = tokio::select! {
            read = timeout(limit, stream.read(&mut self.read)) => match read {
                Ok(count) => count?,
                Err(_) => {
                    Reply::new(421, (4, 4, 2), "You took too long").write(&mut self.out);
                    self.flush(stream).await?;
                    return Ok(false);
                }
            },
            () = self.shared.drain.cancelled(), if idle => {
                Reply::new(421, (4, 3, 2), "Shutting down, try again soon").write(&mut self.out);
                self.flush(stream).await?;
                return Ok(false);
            }
        };
        if self.shared.is_closed() {
            self.dialogue.shutdown();
        }
        self.dialogue.feed(&self.read[..count]);
        Ok(count > 0)
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        if !self.out.is_empty() {
            timeout(self.dialogue.timeout(), stream.write_all(&self.out)).await??;
            stream.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn on_event(&mut self, event: Event) {
        let decision = match event {
            Event::Auth { user, password } => self.intake.login(&user, &password),
            Event::Mail(mail) => self.intake.mail(mail).await,
            Event::Rcpt(rcpt) => self.intake.rcpt(rcpt, self.dialogue.user()),
            Event::BodyStart => {
                let peer = Peer {
                    helo: self.dialogue.helo().to_owned(),
                    esmtp: self.dialogue.is_esmtp(),
                    user: self.dialogue.user().map(str::to_owned),
                };
                self.intake.start_body(peer).await
            }
            Event::Body(bytes) => {
                self.body
                    .get_or_insert_with(|| (Instant::now(), Pace::default()));
                if let Some((_, pace)) = &mut self.body {
                    pace.add(bytes.len());
                }
                self.intake.body(bytes).await;
                return;
            }
            Event::BodyAborted => {
                self.body = None;
                self.shared.metrics.refused.inc();
                self.intake.abort();
                return;
            }
            Event::BodyEnd => {
                self.body = None;
                Some(self.intake.finish().await)
            }
            Event::StartTls => return,
        };
        self.dialogue.answer(decision, &mut self.out);
    }
}

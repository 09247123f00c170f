//! One client's session: the dialogue decides, this reads and writes.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_smtp::line_ends::LineEnds;
use skein_smtp::reply::Reply;
use skein_smtp::server::{Config as Dialogue, Event, ServerSession, Step};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use crate::config::{Listener, ListenerKind, TlsMode};
use crate::connections::ConnectionPermit;
use crate::intake::{Intake, Peer};
use crate::memory::{Holder, Share};
use crate::server::Shared;
use crate::stream::{self, BODY_READ_BYTES, READ_BYTES};
use crate::waits::{Doing, Waits};

/// A client that takes nothing of a reply for so long does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The last words to a client that has to go are not waited for any longer.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A client that begins a TLS handshake does so at once, and takes a few round trips for it.
const HANDSHAKE_BEGIN: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Within an envelope, a client may come to its body this long after a drain began.
const DRAIN_ENVELOPE: Duration = Duration::from_secs(3);
/// Buffers up to this size are part of what a connection costs, and bounded by their number.
const FREE_BYTES: usize = 4 << 10;
/// A client that had something to say at once so often has more of the processor than one that waits for its replies: its
/// sessions stand in line together from then on, so one with hundreds of them does not make others wait for all.
const AT_ONCE_MAX: u32 = 4;
/// What TLS holds of replies that the client does not read.
const TLS_BYTES_MAX: usize = 16 << 10;

/// Says why and closes.
pub async fn refuse(mut stream: TcpStream, line: &str) {
    // The client is not waited for; it sees the reason or a reset.
    let _ = stream.write_all(line.as_bytes()).await;
}

/// What a connection is given by its server.
pub struct Ground<'s> {
    pub shared: &'s Shared,
    pub permit: &'s ConnectionPermit,
    pub holder: &'s Holder,
}

/// A session, which counts what its dialogue refused by itself when it is over.
pub struct Session<'s> {
    dialogue: ServerSession,
    intake: Intake<'s>,
    ground: Ground<'s>,
    began: Instant,
    waits: Waits,
    out: Vec<u8>,
    /// For what the buffers take up.
    buffers: Share,
    /// Reads that did not have to wait, since the last that did.
    at_once: u32,
    /// While it works, if it has to stand in line.
    turn: Option<SemaphorePermit<'s>>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let in_clear = u64::from(self.dialogue.clear_logins());
        self.ground.shared.metrics.logins_in_clear.inc_by(in_clear);
    }
}

enum End {
    Closed,
    StartTls,
}

/// Why a session is ended by this side.
#[derive(Debug, Clone, Copy)]
enum EndReason {
    TookTooLong,
    Draining,
    PlaceTakenBack,
    MemoryTakenBack,
}

impl EndReason {
    fn reply(self) -> Reply {
        let (code, text) = match self {
            Self::TookTooLong => ((4, 4, 2), "You took too long"),
            Self::Draining => ((4, 3, 2), "Shutting down, try again soon"),
            Self::PlaceTakenBack => ((4, 3, 2), "Others need the connection, try again later"),
            Self::MemoryTakenBack => {
                let text = "Too much mail is on its way in, try again later";
                ((4, 3, 1), text)
            }
        };
        Reply::new(421, code, text)
    }
}

/// Notes whether `doing` had to wait.
async fn noting<T>(has_waited: &mut bool, doing: impl Future<Output = T>) -> T {
    let mut doing = pin!(doing);
    poll_fn(|context| {
        let polled = doing.as_mut().poll(context);
        *has_waited |= polled.is_pending();
        polled
    })
    .await
}

impl<'s> Session<'s> {
    pub async fn run(
        ground: Ground<'s>,
        listener: &Listener,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<()> {
        let config = ground.shared.config();
        let dialogue = Dialogue {
            hostname: config.hostname.clone(),
            starttls: listener.tls == TlsMode::StartTls,
            auth: !config.users.is_empty() || ground.shared.policy().has_users(),
            scram: ground.shared.policy().scram_key().is_some(),
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
            intake: Intake::new(ground.shared, ground.holder, peer.ip(), listener.kind),
            began: Instant::now(),
            waits: Waits::new(&config.limits, config.body_rate_min),
            out: Vec::new(),
            buffers: ground.holder.nothing(),
            at_once: 0,
            turn: None,
            ground,
        };
        if implicit {
            return session.over_tls(stream, true).await;
        }
        let mut stream = stream;
        session.dialogue.greeting(&mut session.out);
        match session.talk(&mut stream).await? {
            End::Closed => {
                session.close(&mut stream).await;
                Ok(())
            }
            End::StartTls => session.over_tls(stream, false).await,
        }
    }

    async fn over_tls(&mut self, stream: TcpStream, greet: bool) -> io::Result<()> {
        let tls = self.ground.shared.tls.as_ref();
        let tls = tls.expect("bind refuses TLS listeners without a certificate");
        let acceptor = tls.acceptor(self.intake.kind());
        let handshake = async {
            let mut first = [0];
            timeout(HANDSHAKE_BEGIN, stream.peek(&mut first)).await??;
            timeout(HANDSHAKE, acceptor.accept(stream)).await?
        };
        let metrics = &self.ground.shared.metrics;
        let mut stream = tokio::select! {
            shaken = handshake => shaken.inspect_err(|_| {
                metrics.tls_failures.inc();
            })?,
            _ = self.has_to_leave(Duration::ZERO) => return Ok(()),
        };
        stream.get_mut().1.set_buffer_limit(Some(TLS_BYTES_MAX));
        let connection = stream.get_ref().1;
        metrics.encrypted(connection.protocol_version());
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
        if let Some(chain) = connection.peer_certificates()
            && self.intake.log_in_by_certificate(chain)
        {
            self.dialogue.admit();
        }
        if greet {
            self.dialogue.greeting(&mut self.out);
        }
        self.talk(&mut stream).await?;
        self.close(&mut stream).await;
        Ok(())
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<End> {
        loop {
            if self.turn.is_none() && self.stands_in_line() {
                self.turn = self.ground.permit.turns().acquire().await.ok();
            }
            let step = self.dialogue.step(&mut self.out);
            // Whatever is waited for, others of this client may work meanwhile.
            self.turn = None;
            match step {
                Step::Write => self.flush(stream).await?,
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

    /// Reads once; false when the client is gone or has to go.
    async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
    ) -> io::Result<bool> {
        if !self.dialogue.in_transaction() {
            // Nothing is kept of a transaction that is over.
            self.intake.reset();
        }
        if !self.pay_for_buffers().await {
            return self.leave(stream, EndReason::MemoryTakenBack).await;
        }
        if self.ground.shared.is_closed() {
            self.dialogue.shutdown();
        }
        let doing = match (self.dialogue.in_body(), self.dialogue.in_transaction()) {
            (true, _) => Doing::Body,
            (false, true) => Doing::Envelope,
            (false, false) => Doing::Commands,
        };
        let limit = self.waits.next(doing, self.began.elapsed());
        let drain_allowance = match doing {
            Doing::Body if self.dialogue.takes_body() => self.ground.shared.config().shutdown_grace,
            Doing::Envelope => DRAIN_ENVELOPE,
            Doing::Body | Doing::Commands => Duration::ZERO,
        };
        let (holder, asked_at) = (self.ground.holder, Instant::now());
        holder.waits_for_client(true);
        let mut has_waited = false;
        let read = noting(&mut has_waited, stream::read(stream, READ_BYTES));
        let octets = tokio::select! {
            // A client that always has something to say must not be heard for ever.
            biased;
            leave = self.has_to_leave(drain_allowance) => Err(leave),
            read = timeout(limit, read) => match read {
                Ok(read) => Ok(read?),
                Err(_) => Err(EndReason::TookTooLong),
            },
        };
        let mut octets = match octets {
            Ok(octets) if octets.is_empty() => return Ok(false),
            Ok(octets) => octets,
            Err(leave) => return self.leave(stream, leave).await,
        };
        let waited = asked_at.elapsed();
        self.at_once = match has_waited {
            true => 0,
            false => self.at_once.saturating_add(1),
        };
        if self.stands_in_line() {
            self.turn = self.ground.permit.turns().acquire().await.ok();
            tokio::task::yield_now().await;
        }
        let is_more = doing == Doing::Body && octets.len() == READ_BYTES;
        if is_more && let Some(share) = holder.try_take(BODY_READ_BYTES) {
            self.buffers.add(share);
            stream::read_on(stream, &mut octets, BODY_READ_BYTES).await?;
        }
        let count = octets.len();
        self.waits.received(count, waited);
        if doing != Doing::Commands {
            holder.moved(count);
        }
        self.dialogue.feed(octets);
        Ok(true)
    }

    fn stands_in_line(&self) -> bool {
        self.at_once >= AT_ONCE_MAX
    }

    /// Returns when the client has to go: something of it is needed by others, or a drain began so long ago.
    async fn has_to_leave(&self, drain_allowance: Duration) -> EndReason {
        let Ground {
            shared,
            permit,
            holder,
        } = &self.ground;
        tokio::select! {
            () = shared.drain.for_longer_than(drain_allowance) => EndReason::Draining,
            () = permit.taken_back().cancelled() => EndReason::PlaceTakenBack,
            () = holder.taken_back().cancelled() => EndReason::MemoryTakenBack,
        }
    }

    async fn leave<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        leave: EndReason,
    ) -> io::Result<bool> {
        // First of all it lets go of what it holds.
        self.intake.reset();
        leave.reply().write(&mut self.out);
        let last_words = async {
            stream.write_all(&self.out).await?;
            stream.flush().await
        };
        timeout(LAST_WORDS, last_words).await??;
        Ok(false)
    }

    /// Takes a share for what the buffers hold beyond the usual; false when there is none.
    async fn pay_for_buffers(&mut self) -> bool {
        let held = self.dialogue.held_bytes() + self.out.capacity();
        let wanted = held.saturating_sub(FREE_BYTES);
        let has = self.buffers.bytes();
        if wanted <= has {
            self.buffers.shrink_to(wanted);
            return true;
        }
        match self.ground.holder.take(wanted - has).await {
            Some(more) => {
                self.buffers.add(more);
                true
            }
            None => false,
        }
    }

    async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        if !self.pay_for_buffers().await {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.ground.holder.waits_for_client(true);
        let writing = stream::write(stream, &self.out, WRITE_TIMEOUT);
        tokio::select! {
            written = writing => written?,
            _ = self.has_to_leave(DRAIN_ENVELOPE) => return Err(io::ErrorKind::TimedOut.into()),
        }
        if self.out.capacity() > FREE_BYTES {
            self.out = Vec::new();
        }
        self.out.clear();
        Ok(())
    }

    /// Lets the client read the last reply: what it still sends would reset the connection.
    async fn close<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: &mut S) {
        self.intake.reset();
        tokio::select! {
            () = stream::linger(stream) => {}
            _ = self.has_to_leave(Duration::ZERO) => {}
        }
    }

    async fn on_event(&mut self, event: Event) {
        if matches!(event, Event::Body(_) | Event::BodyEnd) {
            // Its memory comes back by itself.
            self.ground.holder.waits_for_client(false);
        }
        let decision = match event {
            Event::Auth { user, password } => {
                let refused = self.intake.login(&user, &password).await;
                if refused.is_none() {
                    self.ground.permit.may_send();
                }
                refused
            }
            Event::ScramFirst(message) => match self.intake.scram_first(&message) {
                Ok(challenge) => {
                    self.dialogue.scram_challenge(&challenge, &mut self.out);
                    return;
                }
                Err(refused) => Some(refused),
            },
            Event::ScramProof(message) => match self.intake.scram_proof(&message).await {
                Ok((user, shown)) => {
                    self.ground.permit.may_send();
                    self.dialogue.scram_verified(user, &shown, &mut self.out);
                    return;
                }
                Err(refused) => Some(refused),
            },
            Event::Mail(mail) => self.intake.mail(mail).await,
            Event::Rcpt(rcpt) => self.intake.rcpt(rcpt).await,
            Event::BodyStart => {
                let peer = Peer {
                    helo: self.dialogue.helo().to_owned(),
                    esmtp: self.dialogue.is_esmtp(),
                    user: self.dialogue.user().map(str::to_owned),
                };
                self.intake.start_body(peer).await
            }
            Event::Body(bytes) => {
                self.intake.body(bytes).await;
                return;
            }
            Event::BodyAborted => {
                self.ground.shared.metrics.refused.inc();
                self.intake.abort();
                return;
            }
            Event::BodyEnd => {
                let reply = self.intake.finish().await;
                if reply.is_positive() {
                    self.ground.permit.was_useful(Instant::now());
                }
                Some(reply)
            }
            Event::StartTls => return,
        };
        self.dialogue.answer(decision, &mut self.out);
    }
}

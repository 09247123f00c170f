use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::arrivals::Arrivals;
use super::kept::Kept;
use super::record::{Record, RecordRecipient};
use super::script::{Act, Moment, Phase};
use super::stream::{Stream, nothing};
use super::visit::before_now;
use super::{Shared, text};
use crate::unix_ms;

/// A command line with parameters; a sink is more patient than RFC 5321's 512 bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// One MAIL transaction in the making.
#[derive(Default)]
pub(super) struct Transaction {
    pub(super) mail: String,
    pub(super) recipients: Vec<RecordRecipient>,
    pub(super) taken: Vec<String>,
    pub(super) message: Vec<u8>,
    pub(super) chunking: bool,
    pub(super) refused_with: u16,
}

pub(super) struct Session<'a> {
    pub(super) io: BufReader<Box<dyn Stream>>,
    pub(super) out: Vec<u8>,
    pub(super) shared: &'a Shared,
    peer: SocketAddr,
    local: SocketAddr,
    id: u64,
    pub(super) tls: bool,
    helo: String,
    /// Transactions recorded before the open one.
    transactions: u64,
    /// The user that has logged in.
    pub(super) user: Option<String>,
    pub(super) open: Option<Transaction>,
    arrivals: Arrivals,
    /// When the other side said that it goes, or went without a word.
    ended_ms: Option<u64>,
}

/// What the script's decision came to.
pub(super) enum Decision {
    Accepted,
    Refused(u16),
    /// The connection ends after what is written has been sent: the code of that, 0 if nothing is.
    End(u16),
    /// The same, and what was asked about is accepted.
    AcceptedThenEnd,
}

pub(super) fn ended() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// One connection from banner to end. Returns when it ended, in milliseconds since the Unix epoch.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    id: u64,
    shared: &Arc<Shared>,
) -> u64 {
    let mut ended_ms = None;
    // A peer that goes away in the middle is an ordinary event for a sink.
    let _ = converse(stream, peer, id, shared, &mut ended_ms).await;
    ended_ms.unwrap_or_else(unix_ms)
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    id: u64,
    shared: &Arc<Shared>,
    ended_ms: &mut Option<u64>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let arrivals = Arrivals::of(&stream);
    let local = stream.local_addr()?;
    let implicit = shared.config.implicit_tls;
    let io: Box<dyn Stream> = match (&shared.tls, implicit) {
        (Some(tls), true) => Box::new(tls.accept(stream).await?),
        _ => Box::new(stream),
    };
    let mut session = Session {
        io: BufReader::with_capacity(64 * 1024, io),
        out: Vec::new(),
        shared,
        peer,
        local,
        id,
        tls: implicit,
        helo: String::new(),
        transactions: 0,
        user: None,
        open: None,
        arrivals,
        ended_ms: None,
    };
    let result = session.run().await;
    if result.is_err() {
        session.went();
    }
    *ended_ms = session.ended_ms;
    let flushed = session.flush().await;
    session.close_transaction()?;
    if result.is_ok() && flushed.is_ok() {
        // Over TLS this sends close_notify, so that the peer can tell an end from a cut.
        session.io.get_mut().shutdown().await?;
    }
    result.and(flushed)
}

impl Session<'_> {
    async fn run(&mut self) -> io::Result<()> {
        let banner = format!("220 {} ESMTP sink", self.shared.config.hostname);
        match self.decide(Phase::Connect, "", "", &banner).await? {
            Decision::Accepted => {}
            _ => return Ok(()),
        }
        loop {
            if self.io.buffer().is_empty() {
                self.flush().await?;
            }
            let line = self.line().await;
            let Ok(Some(line)) = line else {
                self.went();
                return line.map(|_| ());
            };
            if !self.command(&line).await? {
                return Ok(());
            }
        }
    }

    /// The other side is gone, since its last segment came.
    fn went(&mut self) {
        let since = self.arrivals.since_anything();
        self.ended_ms.get_or_insert_with(|| before_now(since));
    }

    /// Whether the session goes on.
    async fn command(&mut self, line: &str) -> io::Result<bool> {
        let verb = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let decision = match verb.as_str() {
            "EHLO" | "HELO" => self.hello(line, verb == "EHLO").await?,
            "MAIL" => self.mail(line).await?,
            "RCPT" => self.rcpt(line).await?,
            "DATA" => self.data(line).await?,
            "BDAT" if self.shared.config.extensions.chunking => self.bdat(line).await?,
            "STARTTLS" if self.offers_tls() => self.starttls(line).await?,
            "AUTH" => self.auth(line).await?,
            "RSET" => {
                self.close_transaction()?;
                self.say("250 2.0.0 reset")
            }
            "NOOP" => self.say("250 2.0.0 ok"),
            "VRFY" => self.say("252 2.1.5 send some mail"),
            "QUIT" => {
                self.ended_ms = Some(before_now(self.arrivals.since_bytes()));
                self.decide(Phase::Quit, line, "", "221 2.0.0 bye").await?;
                return Ok(false);
            }
            _ => self.say("502 5.5.1 command not implemented"),
        };
        Ok(!matches!(
            decision,
            Decision::End(_) | Decision::AcceptedThenEnd
        ))
    }

    fn offers_tls(&self) -> bool {
        self.shared.config.extensions.starttls && !self.tls
    }

    async fn hello(&mut self, line: &str, extended: bool) -> io::Result<Decision> {
        self.close_transaction()?;
        self.helo = line
            .split_once(' ')
            .map_or("", |(_, name)| name.trim())
            .to_owned();
        let config = &self.shared.config;
        let reply = match extended {
            true => text::greeting(config, self.offers_tls(), self.tls),
            false => format!("250 {}", config.hostname),
        };
        self.decide(Phase::Ehlo, line, "", &reply).await
    }

    /// The transaction goes on as the one asked about.
    pub(super) async fn decide(
        &mut self,
        phase: Phase,
        line: &str,
        address: &str,
        positive: &str,
    ) -> io::Result<Decision> {
        let open = self.open.take();
        let none = Transaction::default();
        let positive = match phase {
            Phase::Dot => "250 2.0.0 taken",
            _ => positive,
        };
        let result = self
            .ask(
                phase,
                line,
                address,
                positive,
                open.as_ref().unwrap_or(&none),
            )
            .await;
        self.open = open;
        if let (Ok(Decision::Refused(code) | Decision::End(code)), Some(open)) =
            (&result, &mut self.open)
        {
            open.refused_with = *code;
        }
        result
    }

    pub(super) async fn ask(
        &mut self,
        phase: Phase,
        line: &str,
        address: &str,
        positive: &str,
        of: &Transaction,
    ) -> io::Result<Decision> {
        let script = Arc::clone(&self.shared.script.read());
        let ago = match phase {
            Phase::Connect => self.arrivals.since_anything(),
            _ => self.arrivals.since_bytes(),
        };
        let now = Instant::now();
        let act = script(&Moment {
            phase,
            arrived: now.checked_sub(ago).unwrap_or(now),
            connection: self.id,
            peer: self.peer,
            local: self.local,
            tls: self.tls,
            line,
            address,
            sender: text::path_address(&of.mail).unwrap_or_default(),
            recipients: &of.taken,
            message: &of.message,
        });
        // At the dot the 250 comes after AfterDot has been asked; a first chunk answers for itself.
        let silent = phase == Phase::Dot || positive.is_empty();
        match act {
            Act::Accept if silent => Ok(Decision::Accepted),
            Act::Accept => Ok(self.say(positive)),
            Act::Reply(code, _) if silent && code < 400 => Ok(Decision::Accepted),
            Act::Reply(code, text) => {
                let decision = self.say(&format!("{code} {text}"));
                // A 421 announces that the connection closes.
                Ok(if code == 421 {
                    Decision::End(code)
                } else {
                    decision
                })
            }
            Act::Delay(wait) => {
                self.flush().await?;
                tokio::time::sleep(wait).await;
                if !silent {
                    self.say(positive);
                }
                Ok(Decision::Accepted)
            }
            Act::Drop => {
                self.flush().await?;
                Ok(Decision::End(0))
            }
            Act::Reset => {
                self.flush().await?;
                self.io.get_ref().reset_on_close()?;
                Ok(Decision::End(0))
            }
            Act::Tarpit => {
                self.flush().await?;
                tokio::io::copy(&mut self.io, &mut tokio::io::sink()).await?;
                self.went();
                Ok(Decision::End(0))
            }
            Act::Raw(bytes) => {
                self.out.extend_from_slice(&bytes);
                Ok(Decision::End(0))
            }
            Act::AcceptThenDrop => {
                if !positive.is_empty() {
                    self.say(positive);
                }
                Ok(Decision::AcceptedThenEnd)
            }
        }
    }

    async fn starttls(&mut self, line: &str) -> io::Result<Decision> {
        let decision = self
            .decide(Phase::StartTls, line, "", "220 2.0.0 go ahead")
            .await?;
        if !matches!(decision, Decision::Accepted) {
            return Ok(decision);
        }
        self.flush().await?;
        self.close_transaction()?;
        if !self.io.buffer().is_empty() {
            // Plaintext behind STARTTLS must never be taken as if it came under TLS.
            return Err(ended());
        }
        let decision = self.decide(Phase::Handshake, line, "", "").await?;
        if !matches!(decision, Decision::Accepted) {
            return Ok(decision);
        }
        let plain = std::mem::replace(&mut self.io, BufReader::new(nothing())).into_inner();
        let tls = self.shared.tls.as_ref().ok_or_else(ended)?;
        let encrypted = tls.accept(plain).await?;
        self.io = BufReader::with_capacity(64 * 1024, Box::new(encrypted));
        self.tls = true;
        Ok(Decision::Accepted)
    }

    pub(super) async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = (&mut self.io)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await?;
        if read == 0 || !line.ends_with(b"\n") {
            return Ok(None);
        }
        let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
        line.truncate(end.map_or(0, |end| end + 1));
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    /// Queues a reply; its code says whether it accepts.
    pub(super) fn say(&mut self, reply: &str) -> Decision {
        self.out.extend_from_slice(reply.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        match reply.get(..3).and_then(|code| code.parse::<u16>().ok()) {
            Some(code) if code >= 400 => Decision::Refused(code),
            _ => Decision::Accepted,
        }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        if !out.is_empty() {
            self.io.get_mut().write_all(&out).await?;
            self.io.get_mut().flush().await?;
        }
        Ok(())
    }

    /// Records a transaction that ends without acceptance.
    pub(super) fn close_transaction(&mut self) -> io::Result<()> {
        if let Some(open) = self.open.take() {
            self.record(open, false)?;
        }
        Ok(())
    }

    /// Writes the record and hands the envelope back for the question after the dot.
    pub(super) fn record(
        &mut self,
        mut open: Transaction,
        accepted: bool,
    ) -> io::Result<Transaction> {
        let message = std::mem::take(&mut open.message);
        let envelope = Transaction {
            mail: open.mail.clone(),
            taken: std::mem::take(&mut open.taken),
            ..Transaction::default()
        };
        let message_bytes = message.len() as u64;
        let return_path = text::path_address(&open.mail).unwrap_or_default();
        let kept = Kept::of(message, return_path, self.shared.config.keep_messages);
        self.shared.book.write(Record {
            at_ms: before_now(self.arrivals.since_bytes()),
            connection: self.id,
            index: self.transactions,
            peer: self.peer,
            local: self.local,
            tls: self.tls,
            helo: self.helo.clone(),
            user: self.user.clone(),
            mail: open.mail,
            recipients: open.recipients,
            message_bytes,
            test_id: kept.test_id,
            tail: kept.tail,
            message: kept.message,
            accepted,
            refused_with: open.refused_with,
        })?;
        self.transactions += 1;
        Ok(envelope)
    }
}

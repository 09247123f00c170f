//! One connection and the transactions on it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fail::fail_point;
use skein_client::trace::Step;
use skein_client::{Lease, LeasedTask, Reporter, Spool};
use skein_smtp::client::{
    Capabilities, Next, OutgoingMessage, RecipientOutcome, Transaction, TransactionOutcome,
};
use skein_smtp::reply::Reply;
use skein_smtp::reply_class::Stage;
use skein_smtp::stuff::{BareLineEnd, BodyWriter, Framing};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::claim::Claim;
use crate::config::Timeouts;
use crate::host::Host;
use crate::limits::policy_use::UnderPolicy;
use crate::smtp::outgoing::KeptBack;
use crate::smtp::session::{Session, SessionError};
use crate::smtp::times::{Phase, Times};
use crate::source_ip::connections::Revocation;

/// The body is handed to the socket in pieces of about this size.
const WRITE_BYTES: usize = 64 << 10;
/// Replies that were sent before a connection ended have arrived by then.
const LAST_WORDS: Duration = Duration::from_secs(2);

const IP_LEAVES: &str = "the source IP moves to another node";
const NO_LEASE: &str = "the lease of this sender has ended";

pub struct Connection {
    pub host: Host,
    pub source: Option<String>,
    pub tls: Option<String>,
    pub capabilities: Capabilities,
    /// The steps until it stood.
    pub setup: Times,
    /// The steps of the latest transaction.
    pub times: Times,
    /// Transactions that were begun.
    pub transactions: u32,
    /// The last transaction was given up for a reason of our own, before its final dot.
    pub gave_up: bool,
    /// What it heeds of its source IP, if that may leave.
    pub revocation: Option<Revocation>,
    session: Session,
    needs_reset: bool,
    /// What the host said before it closed the connection under us.
    last_words: Option<Reply>,
    out: Vec<u8>,
}

/// The reasons to end a transaction before its final dot, at any point: a host that is slow must not keep a slot or an IP.
struct Halt<'a, L> {
    /// The slot is to go elsewhere.
    stop: CancellationToken,
    /// The source IP is.
    revocation: CancellationToken,
    /// The lease has ended: others may have the slot, and the connection's place at the host.
    over: Pin<&'a mut L>,
}

impl<L: Future<Output = ()>> Halt<'_, L> {
    async fn or<T>(
        &mut self,
        doing: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(SessionError::Stopped),
            () = self.revocation.cancelled() => Err(SessionError::NotNow(IP_LEAVES)),
            () = self.over.as_mut() => Err(SessionError::NotNow(NO_LEASE)),
            done = doing => done,
        }
    }
}

/// Where the bytes of a message come from.
pub struct Content<'a> {
    pub spool: &'a Spool,
    pub task: &'a LeasedTask,
    pub lease: &'a Lease,
    /// Gives the transaction up unless its final dot is sent.
    pub claim: &'a Claim,
    /// The bytes that go out in place of those that are stored.
    pub rewritten: Option<Bytes>,
    /// The policy that the transaction goes by until its final dot.
    pub under: Option<&'a UnderPolicy>,
}

impl Content<'_> {
    /// Whether the message may be completed at this moment.
    fn may_end(&self, reporter: &Reporter) -> Result<(), SessionError> {
        if !self.lease.holds(self.task.session) {
            // The slot may be another sender's by now, which would send the message as well.
            return Err(SessionError::NotNow(NO_LEASE));
        }
        if !reporter.is_open() {
            // Without a way to report, a delivery would be repeated by the next owner.
            return Err(SessionError::NotNow("results cannot be reported now"));
        }
        Ok(())
    }
}

/// Does no step without asking. What a slow host has not been given of the last bytes can still be kept back.
async fn only_while<T>(
    may: impl Fn() -> Result<(), SessionError>,
    doing: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, SessionError> {
    let mut doing = pin!(doing);
    poll_fn(|cx| match may() {
        Ok(()) => doing.as_mut().poll(cx),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

impl Connection {
    pub fn new(
        host: Host,
        source: Option<String>,
        tls: Option<String>,
        capabilities: Capabilities,
        session: Session,
        setup: Times,
    ) -> Self {
        Self {
            setup,
            times: Times::default(),
            host,
            source,
            tls,
            capabilities,
            transactions: 0,
            gave_up: false,
            revocation: None,
            session,
            needs_reset: false,
            last_words: None,
            out: Vec::new(),
        }
    }

    /// Runs one mail transaction to its end, whatever that is.
    pub async fn transact(
        &mut self,
        timeouts: &Timeouts,
        message: &OutgoingMessage,
        content: Content<'_>,
        reporter: &Reporter,
    ) -> TransactionOutcome {
        let mut transaction = match Transaction::new(&self.capabilities, message) {
            Ok(transaction) => transaction,
            Err(refused) => return self.keep_back(&refused.into(), message.recipients.len()),
        };
        self.transactions += 1;
        self.times = Times::default();
        if let Err(error) = self
            .run(timeouts, &mut transaction, content, reporter)
            .await
        {
            self.gave_up = matches!(error, SessionError::Stopped | SessionError::NotNow(_));
            if let Some(reply) = self.last_words.take() {
                transaction.on_reply(reply);
            }
            transaction.on_closed(Reply::new(
                421,
                (4, 4, 2),
                format!("{}: {error}", self.host),
            ));
        }
        let outcome = transaction.outcome();
        self.needs_reset = outcome.needs_reset;
        if self.is_cut() && !outcome.dot_sent {
            // This end says nothing about the host.
            self.gave_up = true;
        }
        outcome
    }

    /// The steps of the latest transaction; of the first one also those that led to it.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let setup = (self.transactions <= 1).then(|| self.setup.iter());
        let all = setup.into_iter().flatten().chain(self.times.iter());
        all.map(|(phase, took)| Step {
            name: match phase {
                Phase::Tls => "starttls",
                phase => phase.name(),
            },
            ended: took.ended,
            time: took.time,
        })
    }

    async fn run(
        &mut self,
        timeouts: &Timeouts,
        transaction: &mut Transaction,
        content: Content<'_>,
        reporter: &Reporter,
    ) -> Result<(), SessionError> {
        let over = pin!(content.lease.ended(content.task.session));
        let mut halt = Halt {
            stop: content.claim.stop.clone(),
            revocation: self.revocation.clone().unwrap_or_default().now,
            over,
        };
        halt.or(self.reset(timeouts)).await?;
        self.out.clear();
        let mut content = Some(content);
        loop {
            match transaction.poll(&mut self.out) {
                Next::NeedReply(Stage::Body) => {
                    let began = Instant::now();
                    self.flush(timeouts).await?;
                    let reply = self.session.reply(timeouts.dot).await?;
                    self.times.ended(Phase::Dot, began);
                    transaction.on_reply(reply);
                }
                Next::NeedReply(stage) => {
                    let limit = match stage {
                        Stage::Data => timeouts.data,
                        _ => timeouts.command,
                    };
                    let began = Instant::now();
                    let reply = async {
                        self.flush(timeouts).await?;
                        self.session.reply(limit).await
                    };
                    let reply = halt.or(reply).await?;
                    if let Some(phase) = phase_of(stage) {
                        self.times.ended(phase, began);
                    }
                    transaction.on_reply(reply);
                }
                Next::SendBody(framing) => {
                    let content = content.take().expect("a transaction sends its body once");
                    let (writer, last) =
                        halt.or(self.send_body(timeouts, &content, framing)).await?;
                    fail_point!("sender-before-dot");
                    self.finish(writer, &last)?;
                    let may_end = || content.may_end(reporter);
                    let ended = halt.or(only_while(may_end, self.flush(timeouts))).await;
                    if let Err(error @ (SessionError::Stopped | SessionError::NotNow(_))) = ended {
                        return Err(error);
                    }
                    transaction.final_dot();
                    content.claim.let_go();
                    if let Some(under) = content.under {
                        under.end();
                    }
                    ended?;
                    fail_point!("sender-after-dot");
                }
                Next::Done => return self.flush(timeouts).await,
            }
        }
    }

    /// Sends the body but for its last bytes, which are returned: nothing is to complete the message before it is looked
    /// once more whether it may be.
    async fn send_body(
        &mut self,
        timeouts: &Timeouts,
        content: &Content<'_>,
        framing: Framing,
    ) -> Result<(BodyWriter, Bytes), SessionError> {
        let mut writer = BodyWriter::new(framing);
        let mut held = Bytes::new();
        let mut source = Source::open(content).await?;
        while let Some(data) = source.next().await? {
            let data = std::mem::replace(&mut held, data);
            writer.push(&data, &mut self.out)?;
            if self.out.len() >= WRITE_BYTES {
                self.flush(timeouts).await?;
            }
        }
        Ok((writer, held))
    }

    /// Ends the body with its last bytes, and the final dot where there is one.
    fn finish(&mut self, mut writer: BodyWriter, last: &[u8]) -> Result<(), BareLineEnd> {
        writer.push(last, &mut self.out)?;
        writer.finish(&mut self.out)
    }

    /// The outcome of a message that goes nowhere from here, without a word to the host.
    pub fn keep_back(&mut self, reason: &KeptBack, recipients: usize) -> TransactionOutcome {
        self.transactions += 1;
        let one = RecipientOutcome {
            class: reason.class(),
            reply: reason.reply(),
            stage: Stage::Mail,
            from_peer: false,
        };
        TransactionOutcome {
            recipients: vec![one; recipients],
            needs_reset: self.needs_reset,
            connection_usable: true,
            dot_sent: false,
            is_ambiguous: false,
        }
    }

    async fn flush(&mut self, timeouts: &Timeouts) -> Result<(), SessionError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.session.write(&self.out, timeouts.data).await;
        self.out.clear();
        if let Err(SessionError::Io(_)) = written {
            // A host that closes in the middle of a message may have said why.
            self.last_words = self.session.reply(LAST_WORDS).await.ok();
        }
        written
    }

    async fn reset(&mut self, timeouts: &Timeouts) -> Result<(), SessionError> {
        if self.session.has_surplus() {
            // Replies that answer nothing: an early 421, or a host out of step.
            return Err(SessionError::Closed);
        }
        if std::mem::take(&mut self.needs_reset) {
            let reply = self.session.command("RSET\r\n", timeouts.command).await?;
            if !reply.is_positive() {
                return Err(SessionError::Garbage(format!(
                    "RSET was answered with {reply}"
                )));
            }
        }
        Ok(())
    }

    /// Whether no further transaction may begin, because the source IP is to leave.
    pub fn is_to_end(&self) -> bool {
        self.revocation
            .as_ref()
            .is_some_and(|revocation| revocation.soon.is_cancelled())
    }

    fn is_cut(&self) -> bool {
        let revocation = self.revocation.as_ref();
        revocation.is_some_and(|revocation| revocation.cut.is_cancelled())
    }

    /// Completes when no further transaction may begin.
    pub fn to_end(&self) -> impl Future<Output = ()> + Send + 'static {
        let soon = self
            .revocation
            .as_ref()
            .map(|revocation| revocation.soon.clone());
        async move {
            match soon {
                Some(soon) => soon.cancelled().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Says goodbye; the answer is of no interest, so it is waited for briefly.
    pub async fn quit(mut self) {
        if let Err(error) = self.session.command("QUIT\r\n", LAST_WORDS).await {
            tracing::debug!(host = %self.host, %error, "QUIT got no answer");
        }
    }
}

fn phase_of(stage: Stage) -> Option<Phase> {
    match stage {
        Stage::Mail => Some(Phase::Mail),
        Stage::Rcpt => Some(Phase::Rcpt),
        Stage::Data => Some(Phase::Data),
        _ => None,
    }
}

enum Source {
    Held(Bytes),
    Streamed(
        Box<
            dyn tokio_stream::Stream<Item = Result<Bytes, skein_client::SpoolError>> + Send + Unpin,
        >,
    ),
}

impl Source {
    async fn open(content: &Content<'_>) -> Result<Self, SessionError> {
        let held = content.rewritten.as_ref().or(content.task.body.as_ref());
        if let Some(body) = held {
            return Ok(Self::Held(body.clone()));
        }
        let id = content.task.id.message;
        let parts = content.spool.read_body(id, 0).await;
        let parts = parts.map_err(SessionError::Unreadable)?;
        Ok(Self::Streamed(Box::new(parts)))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SessionError> {
        match self {
            Self::Held(rest) => {
                let piece = rest.split_to(rest.len().min(WRITE_BYTES));
                Ok(Some(piece).filter(|piece| !piece.is_empty()))
            }
            Self::Streamed(parts) => {
                let next = parts.next().await.transpose();
                next.map_err(SessionError::Unreadable)
            }
        }
    }
}

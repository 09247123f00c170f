//! One connection and the transactions on it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fail::fail_point;
use skein_client::Reporter;
use skein_client::trace::Step;
use skein_policy::Webhook;
use skein_smtp::client::{
    Capabilities, Next, OutgoingMessage, OutgoingRecipient, RecipientOutcome, Transaction,
    TransactionOutcome,
};
use skein_smtp::reply::Reply;
use skein_smtp::reply_class::{ReplyClass, Scope, Stage};
use skein_smtp::stuff::{BareLineEnd, BodyWriter, Framing};
use skein_tls::Proof;

use crate::config::Timeouts;
use crate::config::protocol::Protocol;
use crate::host::Host;
use crate::smtp::http::exchange::Exchange;
use crate::smtp::http::verdict::{self, Ended};
use crate::smtp::outgoing::KeptBack;
use crate::smtp::secret_files::SecretFiles;
use crate::smtp::session::{Session, SessionError};
use crate::smtp::times::{Phase, Times};
use crate::smtp::transfer::{Content, Halt, Source, WRITE_BYTES, only_while};
use crate::source_ip::connections::Revocation;

/// Replies that were sent before a connection ended have arrived by then.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub struct Connection {
    pub host: Host,
    pub source: Option<String>,
    /// Version and cipher; none: in the clear.
    pub tls: Option<String>,
    /// What the host has proved, whatever was demanded.
    pub proof: Proof,
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
    /// What is spoken on it.
    protocol: Protocol,
    /// Where requests find what signs them.
    secret_files: Arc<SecretFiles>,
    needs_reset: bool,
    /// What the host said before it closed the connection under us.
    last_words: Option<Reply>,
    out: Vec<u8>,
}

impl Connection {
    pub fn new(
        host: Host,
        source: Option<String>,
        (tls, proof): (Option<String>, Proof),
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
            proof,
            capabilities,
            transactions: 0,
            gave_up: false,
            revocation: None,
            session,
            protocol: Protocol::Smtp,
            secret_files: Arc::default(),
            needs_reset: false,
            last_words: None,
            out: Vec::new(),
        }
    }

    /// One that something else is spoken on than SMTP and LMTP.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    #[must_use]
    pub fn with_secret_files(self, secret_files: Arc<SecretFiles>) -> Self {
        Self {
            secret_files,
            ..self
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
        match self.protocol.clone() {
            Protocol::Smtp | Protocol::Lmtp => {}
            Protocol::Http(webhook) => {
                return self
                    .post(timeouts, &webhook, message, &content, reporter)
                    .await;
            }
            Protocol::Discard => return self.discard(message, &content, reporter),
        }
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

    /// Version, cipher, and what was proved, for people; none: in the clear.
    pub fn tls_facts(&self, proved: &str) -> Option<String> {
        self.tls.as_ref().map(|tls| format!("{tls} {proved}"))
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

    /// One request, and what its answer means for the recipients that it is about.
    async fn post(
        &mut self,
        timeouts: &Timeouts,
        webhook: &Webhook,
        message: &OutgoingMessage,
        content: &Content<'_>,
        reporter: &Reporter,
    ) -> TransactionOutcome {
        self.transactions += 1;
        self.times = Times::default();
        let began = Instant::now();
        let over = pin!(content.lease.ended(content.task.session));
        let mut halt = Halt {
            stop: content.claim.stop.clone(),
            revocation: self.revocation.clone().unwrap_or_default().now,
            over,
        };
        let kept_back = message.recipients.iter();
        let kept_back: Vec<_> = kept_back.map(|one| one.kept_back.clone()).collect();
        let secrets = match self.secret_files.signing(webhook).await {
            Ok(secrets) => secrets,
            Err(error) => {
                let text = format!("nothing is sent unsigned: {error}");
                let ended = Ended::Cut(Reply::new(451, (4, 7, 0), text));
                return verdict::outcome(&kept_back, &ended, false);
            }
        };
        let mut exchange = Exchange {
            session: &mut self.session,
            webhook,
            secrets: &secrets,
            timeouts,
            is_sent: false,
        };
        let answered = exchange.run(message, content, reporter, &mut halt).await;
        let is_sent = exchange.is_sent;
        self.times.ended(Phase::Dot, began);
        let ended = match answered {
            Ok(response) => Ended::Answered(response),
            Err(error) => {
                self.gave_up = matches!(error, SessionError::Stopped | SessionError::NotNow(_));
                let text = format!("{}: {error}", self.host);
                Ended::Cut(Reply::new(421, (4, 4, 2), text))
            }
        };
        verdict::outcome(&kept_back, &ended, is_sent)
    }

    /// Nothing is sent; the result is fenced as that of a message that is.
    fn discard(
        &mut self,
        message: &OutgoingMessage,
        content: &Content<'_>,
        reporter: &Reporter,
    ) -> TransactionOutcome {
        self.transactions += 1;
        self.times = Times::default();
        let may_end = content.may_end(reporter);
        self.gave_up = may_end.is_err();
        if may_end.is_ok() {
            content.claim.let_go();
        }
        let (class, reply) = match may_end {
            Ok(()) => {
                let text = "discarded: the policy keeps no mail to this address";
                (ReplyClass::Delivered, Reply::new(250, (2, 0, 0), text))
            }
            Err(error) => {
                let reply = Reply::new(421, (4, 4, 2), error.to_string());
                (ReplyClass::Deferred(Scope::Connection), reply)
            }
        };
        let of = |one: &OutgoingRecipient| match &one.kept_back {
            Some(reason) => RecipientOutcome::kept_back(reason),
            None => RecipientOutcome {
                class,
                reply: reply.clone(),
                stage: Stage::Body,
                from_peer: false,
            },
        };
        TransactionOutcome {
            recipients: message.recipients.iter().map(of).collect(),
            needs_reset: false,
            connection_usable: true,
            dot_sent: !self.gave_up,
            is_ambiguous: false,
        }
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
        if !matches!(self.protocol, Protocol::Smtp | Protocol::Lmtp) {
            return;
        }
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

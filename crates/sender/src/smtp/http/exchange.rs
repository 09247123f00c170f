//! One request and its answer on a connection.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fail::fail_point;
use skein_client::Reporter;
use skein_policy::{SigningSecret, Webhook};
use skein_smtp::client::OutgoingMessage;

use crate::config::Timeouts;
use crate::smtp::http::request::Request;
use crate::smtp::http::response::{Response, ResponseReader};
use crate::smtp::session::{Session, SessionError};
use crate::smtp::transfer::{Content, Halt, Source, only_while};

/// An answer that was sent before a connection ended has arrived by then.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A message on its way to a program.
pub struct Exchange<'a> {
    pub session: &'a mut Session,
    pub webhook: &'a Webhook,
    pub secrets: &'a [SigningSecret],
    pub timeouts: &'a Timeouts,
    /// All of it may have been read by the program.
    pub is_sent: bool,
}

impl Exchange<'_> {
    /// Sends the message and reads the answer. Its last octets go out as the final dot of SMTP does: when the lease holds, and
    /// the result can be reported.
    pub async fn run<L: Future<Output = ()>>(
        &mut self,
        message: &OutgoingMessage,
        content: &Content<'_>,
        reporter: &Reporter,
        halt: &mut Halt<'_, L>,
    ) -> Result<Response, SessionError> {
        if self.session.is_over().await {
            return Err(SessionError::Closed);
        }
        let taken = message.recipients.iter();
        let taken = taken.filter(|one| one.kept_back.is_none());
        let request = Request {
            webhook: self.webhook,
            secrets: self.secrets,
            task: content.task,
            recipients: taken.map(|one| one.address.as_str()).collect(),
            at: now(),
        };
        let (mut signatures, mut body_bytes) = (request.sign(), 0);
        let mut source = halt.or(Source::open(content)).await?;
        while let Some(piece) = halt.or(source.next()).await? {
            signatures.push(&piece);
            body_bytes += piece.len() as u64;
        }
        let mut held = Bytes::from(request.head(body_bytes, signatures));
        let mut source = halt.or(Source::open(content)).await?;
        while let Some(piece) = halt.or(source.next()).await? {
            let piece = std::mem::replace(&mut held, piece);
            let written = halt
                .or(self.session.write(&piece, self.timeouts.data))
                .await;
            if let Err(SessionError::Io(_)) = written {
                return self.last_words(written).await;
            }
            written?;
        }
        fail_point!("sender-before-dot");
        let may_end = || content.may_end(reporter);
        let last = self.session.write(&held, self.timeouts.data);
        let ended = halt.or(only_while(may_end, last)).await;
        if let Err(error @ (SessionError::Stopped | SessionError::NotNow(_))) = ended {
            return Err(error);
        }
        self.is_sent = true;
        content.claim.let_go();
        if let Some(under) = content.under {
            under.end();
        }
        if let Err(SessionError::Io(_)) = ended {
            return self.last_words(ended).await;
        }
        ended?;
        fail_point!("sender-after-dot");
        self.answer(self.webhook.timeout).await
    }

    /// What a program said that closed in the middle of the message.
    async fn last_words(
        &mut self,
        written: Result<(), SessionError>,
    ) -> Result<Response, SessionError> {
        let said = self.answer(LAST_WORDS).await;
        match (said, written) {
            (Err(_), Err(error)) => Err(error),
            (said, _) => said,
        }
    }

    async fn answer(&mut self, limit: Duration) -> Result<Response, SessionError> {
        let reading = async {
            let mut reader = ResponseReader::default();
            loop {
                let octets = self.session.read().await?;
                let is_end = octets.is_empty();
                let read = reader.push(octets);
                match read.map_err(|error| SessionError::Garbage(error.to_string()))? {
                    Some(response) => return Ok(response),
                    None if is_end => return Err(SessionError::Closed),
                    None => {}
                }
            }
        };
        let read = tokio::time::timeout(limit, reading).await;
        read.map_err(|_| SessionError::Timeout(limit))?
    }
}

/// Receivers refuse requests that are minutes off.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

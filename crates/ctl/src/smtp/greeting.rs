//! The beginning of a dialogue: the host's greeting, EHLO, and what the host offers.

use std::time::Duration;

use mail_send::SmtpClient;
use smtp_proto::{EhloResponse, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::fault::Fault;
use super::reply::Reply;

/// What a host offers after EHLO.
#[derive(Debug, Clone)]
pub struct Offer {
    /// What the library understands of it.
    pub known: EhloResponse<String>,
    /// Each line but the first, as the host wrote it.
    pub keywords: Vec<String>,
}

impl Offer {
    pub fn has(&self, extension: u32) -> bool {
        self.known.capabilities & extension != 0
    }

    /// The words behind AUTH.
    pub fn mechanisms(&self) -> Vec<String> {
        let of_auth = self.keywords.iter().filter_map(|line| {
            let (word, rest) = line.split_once([' ', '='])?;
            word.eq_ignore_ascii_case("AUTH").then_some(rest)
        });
        let words = of_auth.flat_map(str::split_ascii_whitespace);
        words.map(str::to_ascii_uppercase).collect()
    }

    /// From the reply to EHLO. Its lines are put together again for the library, whose own reader forgets the keywords that
    /// it does not know.
    pub fn of(reply: &Reply) -> Self {
        let mut lines = reply.lines.iter();
        let hostname = lines.next().cloned().unwrap_or_default();
        let keywords: Vec<String> = lines.cloned().collect();
        let mut text = String::new();
        let all = [&hostname].into_iter().chain(&keywords);
        let last = keywords.len();
        for (nth, line) in all.enumerate() {
            let separator = if nth == last { ' ' } else { '-' };
            text.push_str(&format!("250{separator}{line}\r\n"));
        }
        let known = EhloResponse::parse(&mut text.as_bytes().iter());
        let known = known.unwrap_or_else(|_| EhloResponse::new(hostname));
        Self { known, keywords }
    }
}

/// The greeting, which the library reads without a limit of time.
///
/// # Errors
/// None came in time, or it is a refusal.
pub async fn greeting<T>(client: &mut SmtpClient<T>) -> Result<Reply, Fault>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let limit: Duration = client.timeout;
    let reply = tokio::time::timeout(limit, client.read()).await;
    positive(reply.map_err(|_| Fault::Silent)??)
}

/// EHLO, or HELO at a host that knows no other (RFC 5321 3.2).
///
/// # Errors
/// The host refuses both, or says nothing that could be understood.
pub async fn hello<T>(client: &mut SmtpClient<T>, name: &str) -> Result<(Reply, Offer), Fault>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let reply = command(client, &format!("EHLO {name}\r\n")).await;
    match reply {
        Ok(reply) => {
            let offer = Offer::of(&reply);
            Ok((reply, offer))
        }
        Err(Fault::Reply(reply)) if matches!(reply.code, 500 | 502 | 504) => {
            let reply = command(client, &format!("HELO {name}\r\n")).await?;
            let known = EhloResponse::new(reply.text());
            let keywords = Vec::new();
            Ok((reply, Offer { known, keywords }))
        }
        Err(fault) => Err(fault),
    }
}

/// One command and its reply.
///
/// # Errors
/// The reply is a refusal, or there is none.
pub async fn command<T>(client: &mut SmtpClient<T>, line: &str) -> Result<Reply, Fault>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    positive(client.cmd(line).await?)
}

fn positive(response: Response<String>) -> Result<Reply, Fault> {
    let reply = Reply::from(response);
    match reply.is_positive() {
        true => Ok(reply),
        false => Err(Fault::Reply(reply)),
    }
}

#[cfg(test)]
mod tests {
    use smtp_proto::{EXT_8BIT_MIME, EXT_CHUNKING, EXT_SIZE, EXT_START_TLS};

    use super::*;

    fn offer(lines: &[&str]) -> Offer {
        Offer::of(&Reply {
            code: 250,
            enhanced: String::new(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        })
    }

    #[test]
    fn an_offer_keeps_every_keyword_and_knows_those_of_the_library() {
        let offer = offer(&[
            "mx.test at your service",
            "8BITMIME",
            "SIZE 1000",
            "LIMITS RCPTMAX=5",
            "starttls",
            "AUTH PLAIN login CRAM-MD5",
        ]);
        assert_eq!(offer.keywords.len(), 5);
        assert!(offer.has(EXT_8BIT_MIME) && offer.has(EXT_SIZE) && offer.has(EXT_START_TLS));
        assert!(!offer.has(EXT_CHUNKING));
        assert_eq!(offer.known.size, 1000);
        assert_eq!(offer.mechanisms(), ["PLAIN", "LOGIN", "CRAM-MD5"]);
    }

    #[test]
    fn a_host_may_offer_nothing_or_nonsense() {
        for lines in [&[][..], &["mx.test"], &["mx.test", "", "\u{fffd}"]] {
            let offer = offer(lines);
            assert_eq!(offer.known.capabilities, 0, "{lines:?}");
            assert!(offer.mechanisms().is_empty());
        }
    }
}

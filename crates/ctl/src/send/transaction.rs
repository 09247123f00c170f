//! A transaction within the dialogue: login, MAIL, RCPT, DATA, QUIT.

use std::time::{Duration, Instant};

use mail_send::{Credentials, SmtpClient};
use tokio::io::{AsyncRead, AsyncWrite};

use super::advice::Phase;
use super::draft;
use super::login;
use super::problem::Problem;
use super::submission::{Accepted, Dialogue, Refused};
use crate::smtp::fault::Fault;
use crate::smtp::greeting::{self, Offer};
use crate::smtp::reply::Reply;

/// The message is taken or refused by then, and nobody waits for a farewell.
const QUIT_WITHIN: Duration = Duration::from_secs(5);

impl Dialogue<'_> {
    /// From the login to the farewell.
    ///
    /// # Errors
    /// The server did not take the message, or did not say that it has.
    pub(super) async fn transaction<T>(
        mut self,
        mut client: SmtpClient<T>,
        offer: Offer,
    ) -> Result<Accepted, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = self.hand_in(&mut client, &offer).await;
        let begun = Instant::now();
        client.timeout = QUIT_WITHIN.min(self.left());
        if let Ok(reply) = greeting::command(&mut client, "QUIT\r\n").await {
            self.steps.done("QUIT", begun, Some(reply), "");
        }
        accepted
    }

    async fn hand_in<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        offer: &Offer,
    ) -> Result<Accepted, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(login) = &self.submission.login {
            self.log_in(client, login, offer).await?;
        }
        let message = &self.submission.message;
        let is_encrypted = self.place.is_encrypted;
        let commands = self
            .submission
            .envelope
            .commands(offer, message, is_encrypted)?;
        self.one(client, Phase::Mail, "MAIL", &commands.mail, "")
            .await?;
        let mut refused = Vec::new();
        let count = commands.rcpt.len();
        for (recipient, line) in commands.rcpt {
            let note = format!("<{recipient}>");
            let begun = Instant::now();
            client.timeout = self.limit(Phase::Rcpt)?;
            match greeting::command(client, &line).await {
                // A server that says good-bye takes no other recipient.
                Err(Fault::Reply(reply)) if reply.code != 421 => {
                    let problem = self.problem(Phase::Rcpt, &Fault::Reply(reply.clone()));
                    self.steps.done("RCPT", begun, Some(reply.clone()), &note);
                    refused.push(Refused {
                        recipient,
                        reply,
                        problem,
                    });
                }
                result => {
                    self.replied(Phase::Rcpt, "RCPT", begun, result, &note)?;
                }
            }
        }
        if refused.len() == count
            && let Some(first) = refused.first()
        {
            return Err(first.problem.clone());
        }
        self.data(client, refused).await
    }

    async fn data<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        refused: Vec<Refused>,
    ) -> Result<Accepted, Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let message = &self.submission.message;
        let begun = Instant::now();
        self.limit(Phase::Data)?;
        // A large message on a slow line is no fault: the whole time that is left is its own.
        client.timeout = self.left();
        let reply = client.data(draft::for_wire(message)).await;
        let reply = reply.map(Reply::from).map_err(Fault::from);
        let note = format!("{} octets", message.len());
        let reply = self.replied(Phase::Data, "DATA", begun, reply, &note)?;
        Ok(Accepted {
            id: queue_id(&reply),
            refused,
        })
    }

    async fn log_in<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        login: &Credentials<String>,
        offer: &Offer,
    ) -> Result<(), Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mechanism = login::choose(
            &offer.mechanisms(),
            self.place.is_encrypted,
            self.submission.allows_plaintext_auth,
        )?;
        // The library tries all that it sees, and some that it cannot do.
        let mut only = offer.known.clone();
        only.auth_mechanisms = mechanism.bit();
        let begun = Instant::now();
        client.timeout = self.limit(Phase::Auth)?;
        let result = client.authenticate(login, &only).await.map(|_| ());
        match result {
            Ok(()) => {
                let note = format!("{}, accepted", mechanism.name());
                self.steps.done("AUTH", begun, None, &note);
                self.place.has_login = true;
                Ok(())
            }
            Err(error) => {
                let name = mechanism.name();
                Err(self.failed(Phase::Auth, "AUTH", begun, error.into(), name))
            }
        }
    }

    async fn one<T>(
        &mut self,
        client: &mut SmtpClient<T>,
        phase: Phase,
        name: &str,
        line: &str,
        note: &str,
    ) -> Result<(), Problem>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        client.timeout = self.limit(phase)?;
        let result = greeting::command(client, line).await;
        self.replied(phase, name, begun, result, note).map(|_| ())
    }
}

/// The last word of a reply such as `queued as 1a-2b`.
fn queue_id(reply: &Reply) -> String {
    let text = reply.lines.last().map_or("", String::as_str);
    let word = text
        .split_ascii_whitespace()
        .next_back()
        .unwrap_or_default();
    let id = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    id.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_id_is_the_last_word() {
        for (text, expected) in [
            ("queued as 3f2a-17", "3f2a-17"),
            ("Ok: queued as 224B824BD40", "224B824BD40"),
            ("OK id=1abc <x>", "x"),
            ("accepted.", "accepted"),
            ("", ""),
        ] {
            let reply = Reply {
                code: 250,
                enhanced: "2.0.0".to_owned(),
                lines: vec![text.to_owned()],
            };
            assert_eq!(queue_id(&reply), expected, "{text}");
        }
    }
}

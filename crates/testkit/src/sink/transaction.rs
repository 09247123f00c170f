//! The commands of a mail transaction: MAIL, RCPT, DATA, BDAT.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use super::record::RecordRecipient;
use super::script::Phase;
use super::session::{Decision, Session, Transaction, ended};
use super::text;

/// A message; above the announced SIZE so that a sender that ignores it gets a clear refusal.
const MESSAGE_BYTES_MAX: u64 = 256 << 20;
/// Recipients of one transaction.
const RECIPIENTS_MAX: usize = 10_000;

impl Session<'_> {
    pub(super) async fn mail(&mut self, line: &str) -> io::Result<Decision> {
        if self.open.is_some() {
            return Ok(self.say("503 5.5.1 nested MAIL"));
        }
        if self.must_log_in() {
            return Ok(self.say("530 5.7.0 log in first"));
        }
        let Some(address) = text::path_address(line) else {
            return Ok(self.say("501 5.1.7 malformed return path"));
        };
        if let Some(reply) = self.unannounced(line) {
            return Ok(self.say(reply));
        }
        self.open = Some(Transaction {
            mail: line.to_owned(),
            ..Transaction::default()
        });
        let decision = self
            .decide(Phase::Mail, line, address, "250 2.1.0 sender ok")
            .await?;
        if let Decision::Refused(_) = decision {
            self.close_transaction()?;
        }
        Ok(decision)
    }

    /// A sender must not use what was not announced (RFC 5321 4.1.1.11).
    fn unannounced(&self, line: &str) -> Option<&'static str> {
        let extensions = &self.shared.config.extensions;
        for parameter in text::parameters(line) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let known = match name.to_ascii_uppercase().as_str() {
                "SIZE" => match extensions.size {
                    Some(max) if value.parse::<u64>().is_ok_and(|size| size > max) => {
                        return Some("552 5.3.4 message too big");
                    }
                    size => size.is_some(),
                },
                "BODY" => extensions.eight_bit_mime,
                "SMTPUTF8" => extensions.smtp_utf8,
                "AUTH" => self.shared.config.login.is_some(),
                "REQUIRETLS" => extensions.require_tls && self.tls,
                "RET" | "ENVID" | "NOTIFY" | "ORCPT" => extensions.dsn,
                _ => false,
            };
            if !known {
                return Some("555 5.5.4 parameter not announced");
            }
        }
        None
    }

    pub(super) async fn rcpt(&mut self, line: &str) -> io::Result<Decision> {
        let Some(open) = &self.open else {
            return Ok(self.say("503 5.5.1 MAIL first"));
        };
        if open.recipients.len() >= RECIPIENTS_MAX {
            return Ok(self.say("452 4.5.3 too many recipients"));
        }
        let Some(address) = text::path_address(line).filter(|address| !address.is_empty()) else {
            return Ok(self.say("501 5.1.3 malformed recipient"));
        };
        if let Some(reply) = self.unannounced(line) {
            return Ok(self.say(reply));
        }
        let decision = self
            .decide(Phase::Rcpt, line, address, "250 2.1.5 recipient ok")
            .await?;
        let (accepted, code) = match decision {
            Decision::Accepted | Decision::AcceptedThenEnd => (true, 250),
            Decision::Refused(code) => (false, code),
            Decision::End(code) => (false, code),
        };
        if let Some(open) = &mut self.open {
            let (line, address) = (line.to_owned(), address.to_owned());
            if accepted {
                open.taken.push(address.clone());
            }
            open.recipients.push(RecordRecipient {
                line,
                address,
                accepted,
                code,
            });
        }
        Ok(decision)
    }

    pub(super) async fn data(&mut self, line: &str) -> io::Result<Decision> {
        match &self.open {
            Some(open) if !open.chunking && !open.taken.is_empty() => {}
            _ => return Ok(self.say("503 5.5.1 no valid recipients")),
        }
        let decision = self.decide(Phase::Data, line, "", "354 go ahead").await?;
        if !matches!(decision, Decision::Accepted) {
            return Ok(decision);
        }
        self.flush().await?;
        let message = self.dotted().await?;
        if let Some(open) = &mut self.open {
            open.message = message;
        }
        self.finish().await
    }

    /// Reads up to CRLF.CRLF and removes the stuffed dots. A bare LF ends no line, so a dot after it
    /// is content.
    async fn dotted(&mut self) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        let mut at_line_start = true;
        loop {
            let start = message.len();
            let left = MESSAGE_BYTES_MAX.saturating_sub(start as u64);
            let read = (&mut self.io)
                .take(left)
                .read_until(b'\n', &mut message)
                .await?;
            if read == 0 {
                return Err(ended());
            }
            let line = &message[start..];
            if at_line_start && line == b".\r\n" {
                message.truncate(start);
                return Ok(message);
            }
            let next_at_line_start = line.ends_with(b"\r\n");
            if at_line_start && line.starts_with(b".") {
                message.remove(start);
            }
            at_line_start = next_at_line_start;
        }
    }

    pub(super) async fn bdat(&mut self, line: &str) -> io::Result<Decision> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let size = words.next().and_then(|word| word.parse::<u64>().ok());
        let last = words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        let Some(size) = size.filter(|size| *size <= MESSAGE_BYTES_MAX) else {
            self.say("501 5.5.4 malformed BDAT");
            return Ok(Decision::End(501));
        };
        let mut chunk = Vec::new();
        (&mut self.io).take(size).read_to_end(&mut chunk).await?;
        if chunk.len() as u64 != size {
            return Err(ended());
        }
        let first = match &mut self.open {
            Some(open) if !open.taken.is_empty() => !std::mem::replace(&mut open.chunking, true),
            _ => return Ok(self.say("503 5.5.1 no valid recipients")),
        };
        if first {
            // The positive answer to the chunk itself follows below.
            let decision = self.decide(Phase::Data, line, "", "").await?;
            if !matches!(decision, Decision::Accepted) {
                self.close_transaction()?;
                return Ok(decision);
            }
        }
        if let Some(open) = &mut self.open {
            if (open.message.len() + chunk.len()) as u64 > MESSAGE_BYTES_MAX {
                return Ok(self.say("552 5.3.4 message too big"));
            }
            open.message.append(&mut chunk);
        }
        match last {
            true => self.finish().await,
            false => Ok(self.say("250 2.0.0 chunk received")),
        }
    }

    /// Everything has arrived: the verdict, the record, the reply.
    async fn finish(&mut self) -> io::Result<Decision> {
        let decision = self.decide(Phase::Dot, "", "", "").await?;
        let drop_after_reply = match decision {
            Decision::Accepted => false,
            Decision::Refused(_) => {
                self.close_transaction()?;
                return Ok(decision);
            }
            Decision::AcceptedThenEnd => true,
            Decision::End(_) => return Ok(decision),
        };
        let open = self.open.take().unwrap_or_default();
        let recorded = self.record(open, true)?;
        if drop_after_reply {
            return Ok(Decision::End(250));
        }
        self.ask(Phase::AfterDot, "", "", "250 2.0.0 taken", &recorded)
            .await
    }
}

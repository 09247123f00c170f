//! EHLO, HELO and STARTTLS: what the session is and what it offers.

use super::{Event, Mode, ServerSession, Step, reply};
use crate::reply::Reply;

impl ServerSession {
    pub(super) fn greet(&mut self, name: String, esmtp: bool, out: &mut Vec<u8>) -> Option<Step> {
        let aborted = self.end_transaction();
        self.helo = Some(name);
        self.esmtp = esmtp;
        if esmtp {
            Reply::plain(250, self.keywords().join("\n")).write(out);
        } else {
            Reply::plain(250, self.config.hostname.clone()).write(out);
        }
        aborted
    }

    fn keywords(&self) -> Vec<String> {
        let limits = &self.config.limits;
        let mut lines = vec![
            self.config.hostname.clone(),
            "PIPELINING".into(),
            format!("SIZE {}", limits.message_bytes),
            "8BITMIME".into(),
            "SMTPUTF8".into(),
            "ENHANCEDSTATUSCODES".into(),
            "CHUNKING".into(),
            "DSN".into(),
            "MT-PRIORITY".into(),
            format!(
                "LIMITS RCPTMAX={} MAILMAX={}",
                limits.recipients, limits.messages
            ),
        ];
        if self.tls {
            lines.push("REQUIRETLS".into());
        } else if self.config.starttls {
            lines.push("STARTTLS".into());
        }
        if self.may_auth() {
            let scram = if self.config.scram {
                " SCRAM-SHA-256"
            } else {
                ""
            };
            lines.push(format!("AUTH PLAIN LOGIN{scram}"));
        }
        lines
    }

    pub(super) fn may_auth(&self) -> bool {
        self.config.auth && self.tls && self.user.is_none()
    }

    pub(super) fn start_tls(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if self.tls || !self.config.starttls {
            return self.refuse(&reply(502, (5, 5, 1), "STARTTLS is not offered now"), out);
        }
        if self.used < self.input.len() {
            // Commands sent before the handshake were not protected by it, and may be anyone's.
            return Some(self.close(
                &reply(554, (5, 5, 1), "Nothing may follow STARTTLS in the clear"),
                out,
            ));
        }
        reply(220, (2, 0, 0), "Go ahead").write(out);
        self.mode = Mode::Tls;
        Some(Step::Event(Event::StartTls))
    }
}

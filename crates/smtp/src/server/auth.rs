//! AUTH (RFC 4954) with PLAIN (RFC 4616), LOGIN, and SCRAM-SHA-256 (RFC 7677), whose messages the shell reads.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Event, Mode, Question, ServerSession, Step, reply};
use crate::reply::Reply;
use crate::secret::Secret;

/// As RFC 7677 calls it.
const SCRAM: &str = "SCRAM-SHA-256";
/// No account has a longer name, and names of failed logins are counted and logged.
const USER_BYTES_MAX: usize = 255;

impl ServerSession {
    pub(super) fn auth(
        &mut self,
        mechanism: &str,
        initial: Option<String>,
        out: &mut Vec<u8>,
    ) -> Option<Step> {
        if self.mail.is_some() || self.user.is_some() {
            return self.refuse(&reply(503, (5, 5, 1), "AUTH does not fit here"), out);
        }
        if self.config.auth && !self.tls {
            self.clear_logins = self.clear_logins.saturating_add(1);
            return self.refuse(&reply(538, (5, 7, 11), "Encrypt the connection first"), out);
        }
        if !self.may_auth() {
            return self.refuse(&reply(502, (5, 5, 1), "AUTH is not offered here"), out);
        }
        self.mode = match mechanism {
            "PLAIN" => Mode::AuthPlain,
            "LOGIN" => Mode::AuthUser,
            SCRAM if self.config.scram => Mode::AuthScram,
            _ => return self.refuse(&reply(504, (5, 5, 4), "Mechanism not known"), out),
        };
        match initial {
            Some(initial) => self.auth_line(initial.as_bytes(), out),
            None => {
                self.challenge(out);
                None
            }
        }
    }

    fn challenge(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.mode {
            Mode::AuthUser => b"334 VXNlcm5hbWU6\r\n",
            Mode::AuthPassword { .. } => b"334 UGFzc3dvcmQ6\r\n",
            _ => b"334 \r\n",
        });
    }

    pub(super) fn auth_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Step> {
        let mode = std::mem::replace(&mut self.mode, Mode::Command);
        if line == b"*" {
            return self.refuse(&reply(501, (5, 7, 0), "Login cancelled"), out);
        }
        let text = if line == b"=" { b"" } else { line };
        let Ok(decoded) = STANDARD.decode(text) else {
            return self.refuse(&reply(501, (5, 5, 2), "That is no base64"), out);
        };
        match mode {
            Mode::AuthUser => {
                let Ok(user) = String::from_utf8(decoded) else {
                    return self.refuse(&reply(501, (5, 5, 2), "The user name is not UTF-8"), out);
                };
                self.mode = Mode::AuthPassword { user };
                self.challenge(out);
                None
            }
            Mode::AuthPassword { user } => self.ask_auth(user, decoded, out),
            Mode::AuthScram => {
                self.mode = Mode::Waiting(Question::ScramFirst);
                Some(Step::Event(Event::ScramFirst(decoded)))
            }
            Mode::AuthScramProof => {
                self.mode = Mode::Waiting(Question::ScramProof);
                Some(Step::Event(Event::ScramProof(decoded)))
            }
            // The client has seen that the server knows the secret, too.
            Mode::AuthScramEnd if decoded.is_empty() => {
                self.logged_in(out);
                None
            }
            Mode::AuthScramEnd => {
                self.refuse(&reply(501, (5, 5, 2), "Nothing more is expected"), out)
            }
            _ => self.plain(&decoded, out),
        }
    }

    /// The answer to [`Event::ScramFirst`]: what the client is to show its secret for.
    ///
    /// # Panics
    /// Nothing of the kind was asked.
    pub fn scram_challenge(&mut self, message: &str, out: &mut Vec<u8>) {
        assert_eq!(self.mode, Mode::Waiting(Question::ScramFirst));
        self.mode = Mode::AuthScramProof;
        continues(message, out);
    }

    /// The answer to [`Event::ScramProof`]: this user has shown that it has its secret, and is shown the same.
    ///
    /// # Panics
    /// Nothing of the kind was asked.
    pub fn scram_verified(&mut self, user: String, message: &str, out: &mut Vec<u8>) {
        assert_eq!(self.mode, Mode::Waiting(Question::ScramProof));
        self.pending_user = user;
        self.mode = Mode::AuthScramEnd;
        continues(message, out);
    }

    pub(super) fn logged_in(&mut self, out: &mut Vec<u8>) {
        self.user = Some(std::mem::take(&mut self.pending_user));
        reply(235, (2, 7, 0), "Logged in").write(out);
    }

    /// authzid NUL authcid NUL passwd (RFC 4616).
    fn plain(&mut self, response: &[u8], out: &mut Vec<u8>) -> Option<Step> {
        let mut parts = response.splitn(3, |octet| *octet == 0);
        let parts = (parts.next(), parts.next(), parts.next());
        let (Some(identity), Some(user), Some(password)) = parts else {
            return self.refuse(&reply(501, (5, 5, 2), "That is no PLAIN response"), out);
        };
        let Ok(name) = String::from_utf8(user.to_vec()) else {
            return self.refuse(&reply(501, (5, 5, 2), "The user name is not UTF-8"), out);
        };
        if !identity.is_empty() && identity != user {
            // Refused before the password is looked at, so the reply says nothing about that.
            let text = "Nobody may act for another user";
            self.auth_failed(&reply(535, (5, 7, 8), text), out);
            return None;
        }
        self.ask_auth(name, password.to_vec(), out)
    }

    fn ask_auth(&mut self, user: String, password: Vec<u8>, out: &mut Vec<u8>) -> Option<Step> {
        if user.len() > USER_BYTES_MAX {
            let text = "User or password is wrong";
            self.auth_failed(&reply(535, (5, 7, 8), text), out);
            return None;
        }
        self.pending_user.clone_from(&user);
        self.mode = Mode::Waiting(Question::Auth);
        Some(Step::Event(Event::Auth {
            user,
            password: Secret::new(password),
        }))
    }

    /// Too many failures end the session.
    pub(super) fn auth_failed(&mut self, refusal: &Reply, out: &mut Vec<u8>) {
        self.auth_failures += 1;
        refusal.write(out);
        if self.auth_failures >= self.config.limits.auth_failures {
            reply(421, (4, 7, 0), "Too many failed logins").write(out);
            self.mode = Mode::Closed;
        }
    }
}

fn continues(message: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("334 {}\r\n", STANDARD.encode(message)).as_bytes());
}

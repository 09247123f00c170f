//! The server dialogue (RFC 5321) as a state machine: bytes in, bytes and events out.
//!
//! The shell feeds what it reads, calls [`ServerSession::step`] until it needs more input, writes what gathered
//! in `out`, and answers the events that ask for a decision.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::address::ReversePath;
use crate::command::{Command, CommandError, MailFrom, RcptTo};
use crate::receive::{DataReceiver, Line, LineEnds, find_line};
use crate::reply::Reply;
use crate::secret::Secret;

#[derive(Debug, Clone)]
pub struct Config {
    pub hostname: String,
    /// STARTTLS is offered while the session is in the clear.
    pub starttls: bool,
    /// AUTH is offered under TLS.
    pub auth: bool,
    /// Mail is taken only after a login (RFC 6409).
    pub auth_required: bool,
    pub line_ends: LineEnds,
    pub limits: Limits,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub message_bytes: u64,
    pub recipients: usize,
    pub messages: u32,
    /// Commands of one session, so that nobody holds a connection with NOOPs.
    pub commands: u32,
    /// Refused commands of one session.
    pub errors: u32,
    /// A command line; RFC 5321 asks for 512 and the extensions for more.
    pub line_bytes: usize,
    /// A line of AUTH (RFC 4954 4).
    pub auth_line_bytes: usize,
    pub auth_failures: u32,
    /// How long a client may take for its next command (RFC 5321 4.5.3.2.7).
    pub command_timeout: Duration,
    /// How long it may be silent within a body (RFC 5321 4.5.3.2.5).
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 20,
            recipients: 1000,
            messages: 10_000,
            commands: 100_000,
            errors: 20,
            line_bytes: 2048,
            auth_line_bytes: 12_288,
            auth_failures: 3,
            command_timeout: Duration::from_secs(300),
            body_timeout: Duration::from_secs(180),
        }
    }
}

#[derive(Debug)]
pub enum Step {
    NeedInput,
    Event(Event),
    /// Write `out` and close.
    Close,
}

/// `Auth`, `Mail`, `Rcpt`, `BodyStart` and `BodyEnd` wait for [`ServerSession::answer`].
#[derive(Debug)]
pub enum Event {
    Auth {
        user: String,
        password: Secret,
    },
    Mail(MailFrom),
    Rcpt(RcptTo),
    /// A body begins; an answer other than `None` refuses it.
    BodyStart,
    Body(Vec<u8>),
    /// The whole body was handed over; the answer says what became of the message.
    BodyEnd,
    /// What was handed over of a body is to be dropped.
    BodyAborted,
    /// After `out` is written, the connection speaks TLS; then [`ServerSession::tls_started`].
    StartTls,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Command,
    AuthPlain,
    AuthUser,
    AuthPassword { user: String },
    Data,
    Bdat { left: u64, last: bool },
    Waiting(Question),
    Tls,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Auth,
    Mail,
    Rcpt,
    DataStart,
    BdatStart { bytes: u64, last: bool },
    BodyEnd,
}

#[derive(Debug)]
pub struct ServerSession {
    config: Arc<Config>,
    tls: bool,
    helo: Option<String>,
    esmtp: bool,
    user: Option<String>,
    pending_user: String,
    mode: Mode,
    input: Vec<u8>,
    used: usize,
    mail: Option<MailFrom>,
    recipients: usize,
    data: DataReceiver,
    body_bytes: u64,
    /// BDAT chunks came before the last one.
    in_bdat: bool,
    /// The rest of the body is dropped, and this is the reply at its end.
    refused: Option<Reply>,
    messages: u32,
    commands: u32,
    errors: u32,
    auth_failures: u32,
    draining: bool,
}

fn reply(code: u16, enhanced: (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, enhanced, text)
}

impl ServerSession {
    /// `tls` is true on a port with implicit TLS.
    pub fn new(config: Arc<Config>, tls: bool) -> Self {
        let data = DataReceiver::new(config.line_ends);
        Self {
            config,
            tls,
            helo: None,
            esmtp: false,
            user: None,
            pending_user: String::new(),
            mode: Mode::Command,
            input: Vec::new(),
            used: 0,
            mail: None,
            recipients: 0,
            data,
            body_bytes: 0,
            in_bdat: false,
            refused: None,
            messages: 0,
            commands: 0,
            errors: 0,
            auth_failures: 0,
            draining: false,
        }
    }

    pub fn greeting(&self, out: &mut Vec<u8>) {
        Reply::plain(220, format!("{} ESMTP Skein", self.config.hostname)).write(out);
    }

    /// Takes bytes that were read. The shell feeds only after `NeedInput`, so this holds one read and one line.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.used);
        self.used = 0;
        self.input.extend_from_slice(bytes);
    }

    pub fn helo(&self) -> &str {
        self.helo.as_deref().unwrap_or_default()
    }

    pub fn is_esmtp(&self) -> bool {
        self.esmtp
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// How long the shell waits for what comes next.
    pub fn timeout(&self) -> Duration {
        match self.mode {
            Mode::Data | Mode::Bdat { .. } => self.config.limits.body_timeout,
            _ => self.config.limits.command_timeout,
        }
    }

    /// Whether a mail transaction is open, which a drain lets finish.
    pub fn in_transaction(&self) -> bool {
        self.mail.is_some()
    }

    /// The next command outside a body gets 421.
    pub fn shutdown(&mut self) {
        self.draining = true;
    }

    /// Forgets all that was said in the clear (RFC 3207 4.2).
    pub fn tls_started(&mut self) {
        self.tls = true;
        self.helo = None;
        self.user = None;
        self.end_transaction();
        self.input.clear();
        self.used = 0;
        self.mode = Mode::Command;
    }

    fn end_transaction(&mut self) {
        self.mail = None;
        self.recipients = 0;
        self.body_bytes = 0;
        self.in_bdat = false;
        self.refused = None;
    }

    fn close(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Step {
        reply.write(out);
        self.mode = Mode::Closed;
        Step::Close
    }

    /// Goes on as far as the input reaches.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Step {
        loop {
            let step = match &self.mode {
                Mode::Closed => return Step::Close,
                Mode::Waiting(_) | Mode::Tls => return Step::NeedInput,
                Mode::Data => self.step_data(out),
                Mode::Bdat { left, last } => {
                    let (left, last) = (*left, *last);
                    self.step_bdat(left, last, out)
                }
                _ => self.step_line(out),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn step_line(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        let is_command = self.mode == Mode::Command;
        let limits = &self.config.limits;
        let max = if is_command {
            limits.line_bytes
        } else {
            limits.auth_line_bytes
        };
        let rest = &self.input[self.used..];
        let length = match find_line(rest, max) {
            Line::Incomplete => return Some(Step::NeedInput),
            Line::Complete(length) => length,
            Line::Bad(length) => {
                self.used += length;
                let text = "The line is too long or does not end with CRLF";
                return Some(self.close(&reply(500, (5, 5, 2), text), out));
            }
        };
        let line = rest[..length].to_vec();
        self.used += length + 2;
        if is_command {
            self.command(&line, out)
        } else {
            self.auth_line(&line, out)
        }
    }

    /// Refuses a command; too many refusals end the session.
    fn refuse(&mut self, reason: &Reply, out: &mut Vec<u8>) -> Option<Step> {
        self.errors += 1;
        if self.errors > self.config.limits.errors {
            return Some(self.close(&reply(421, (4, 7, 0), "Too many errors"), out));
        }
        reason.write(out);
        None
    }

    fn command(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Step> {
        self.commands += 1;
        if self.commands > self.config.limits.commands {
            return Some(self.close(&reply(421, (4, 7, 0), "Too many commands"), out));
        }
        if self.draining && self.mail.is_none() {
            return Some(self.close(&reply(421, (4, 3, 2), "Shutting down, try again soon"), out));
        }
        match Command::parse(line) {
            Ok(command) => self.run(command, out),
            Err(CommandError(reason)) => self.refuse(&reason, out),
        }
    }

    fn run(&mut self, command: Command, out: &mut Vec<u8>) -> Option<Step> {
        match command {
            Command::Ehlo(name) => self.greet(name, true, out),
            Command::Helo(name) => self.greet(name, false, out),
            Command::Mail(mail) => self.mail(mail, out),
            Command::Rcpt(rcpt) => self.rcpt(rcpt, out),
            Command::Data => self.start_data(out),
            Command::Bdat { bytes, last } => self.start_bdat(bytes, last),
            Command::Rset => {
                let aborted = self.in_bdat;
                self.end_transaction();
                reply(250, (2, 0, 0), "OK").write(out);
                aborted.then_some(Step::Event(Event::BodyAborted))
            }
            Command::Noop => done(reply(250, (2, 0, 0), "OK"), out),
            Command::Quit => Some(self.close(&reply(221, (2, 0, 0), "Bye"), out)),
            Command::Vrfy => done(
                reply(252, (2, 5, 2), "Send some mail, and it will be tried"),
                out,
            ),
            Command::Expn => self.refuse(&reply(502, (5, 5, 1), "EXPN is not offered"), out),
            Command::Help => done(reply(214, (2, 0, 0), "See RFC 5321"), out),
            Command::StartTls => self.start_tls(out),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial, out),
        }
    }

    fn greet(&mut self, name: String, esmtp: bool, out: &mut Vec<u8>) -> Option<Step> {
        let aborted = self.in_bdat;
        self.end_transaction();
        self.helo = Some(name);
        self.esmtp = esmtp;
        if esmtp {
            Reply::plain(250, self.keywords().join("\n")).write(out);
        } else {
            Reply::plain(250, self.config.hostname.clone()).write(out);
        }
        aborted.then_some(Step::Event(Event::BodyAborted))
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
            lines.push("AUTH PLAIN LOGIN".into());
        }
        lines
    }

    fn may_auth(&self) -> bool {
        self.config.auth && self.tls && self.user.is_none()
    }

    fn mail(&mut self, mail: MailFrom, out: &mut Vec<u8>) -> Option<Step> {
        let limits = &self.config.limits;
        let is_too_big = mail.size.is_some_and(|size| size > limits.message_bytes);
        let refusal = if self.helo.is_none() {
            Some(reply(503, (5, 5, 1), "Say EHLO first"))
        } else if self.mail.is_some() {
            Some(reply(503, (5, 5, 1), "A transaction is open already"))
        } else if self.config.auth_required && !self.tls {
            Some(reply(530, (5, 7, 0), "Say STARTTLS first"))
        } else if self.config.auth_required && self.user.is_none() {
            Some(reply(530, (5, 7, 0), "Log in first"))
        } else if mail.require_tls && !self.tls {
            Some(reply(530, (5, 7, 0), "REQUIRETLS needs TLS here too"))
        } else if self.messages >= limits.messages {
            Some(reply(452, (4, 5, 3), "Too many messages on one connection"))
        } else if is_too_big {
            Some(reply(
                552,
                (5, 3, 4),
                "The message is larger than the limit",
            ))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return self.refuse(&refusal, out);
        }
        self.mail = Some(mail.clone());
        self.mode = Mode::Waiting(Question::Mail);
        Some(Step::Event(Event::Mail(mail)))
    }

    fn rcpt(&mut self, rcpt: RcptTo, out: &mut Vec<u8>) -> Option<Step> {
        let Some(mail) = &self.mail else {
            return self.refuse(&reply(503, (5, 5, 1), "Say MAIL first"), out);
        };
        let needs_utf8 =
            matches!(&rcpt.to, crate::command::RcptPath::Address(address) if !address.is_ascii());
        if self.in_bdat {
            return self.refuse(&reply(503, (5, 5, 1), "The body has begun"), out);
        }
        if needs_utf8 && !mail.smtputf8 {
            return self.refuse(
                &reply(553, (5, 6, 7), "The address needs SMTPUTF8 at MAIL"),
                out,
            );
        }
        if self.recipients >= self.config.limits.recipients {
            reply(452, (4, 5, 3), "Too many recipients").write(out);
            return None;
        }
        self.mode = Mode::Waiting(Question::Rcpt);
        Some(Step::Event(Event::Rcpt(rcpt)))
    }

    fn start_data(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if self.in_bdat || self.mail.is_none() {
            return self.refuse(&reply(503, (5, 5, 1), "DATA does not fit here"), out);
        }
        if self.recipients == 0 {
            return self.refuse(&reply(554, (5, 5, 1), "No valid recipients"), out);
        }
        self.mode = Mode::Waiting(Question::DataStart);
        Some(Step::Event(Event::BodyStart))
    }

    fn start_bdat(&mut self, bytes: u64, last: bool) -> Option<Step> {
        if self.mail.is_none() || self.recipients == 0 {
            // The chunk comes whatever we say (RFC 3030 2), so it is read and dropped.
            self.refused = Some(reply(503, (5, 5, 1), "BDAT does not fit here"));
            self.mode = Mode::Bdat { left: bytes, last };
            return None;
        }
        if self.in_bdat {
            self.mode = Mode::Bdat { left: bytes, last };
            return None;
        }
        self.in_bdat = true;
        self.mode = Mode::Waiting(Question::BdatStart { bytes, last });
        Some(Step::Event(Event::BodyStart))
    }

    fn start_tls(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if self.tls || !self.config.starttls {
            return self.refuse(&reply(502, (5, 5, 1), "STARTTLS is not offered now"), out);
        }
        if self.used < self.input.len() {
            // Commands sent before the handshake were not protected by it; who put them there is unknown.
            return Some(self.close(
                &reply(554, (5, 5, 1), "Nothing may follow STARTTLS in the clear"),
                out,
            ));
        }
        reply(220, (2, 0, 0), "Go ahead").write(out);
        self.mode = Mode::Tls;
        Some(Step::Event(Event::StartTls))
    }

    fn auth(
        &mut self,
        mechanism: &str,
        initial: Option<String>,
        out: &mut Vec<u8>,
    ) -> Option<Step> {
        if self.mail.is_some() || self.user.is_some() {
            return self.refuse(&reply(503, (5, 5, 1), "AUTH does not fit here"), out);
        }
        if self.config.auth && !self.tls {
            return self.refuse(&reply(538, (5, 7, 11), "Encrypt the connection first"), out);
        }
        if !self.may_auth() {
            return self.refuse(&reply(502, (5, 5, 1), "AUTH is not offered here"), out);
        }
        self.mode = match mechanism {
            "PLAIN" => Mode::AuthPlain,
            "LOGIN" => Mode::AuthUser,
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

    fn auth_line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<Step> {
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
            Mode::AuthPassword { user } => Some(self.ask_auth(user, decoded)),
            _ => {
                // authzid NUL authcid NUL passwd (RFC 4616); acting for somebody else is not offered.
                let mut parts = decoded.splitn(3, |byte| *byte == 0);
                let parts = (parts.next(), parts.next(), parts.next());
                let (Some(_), Some(user), Some(password)) = parts else {
                    return self.refuse(&reply(501, (5, 5, 2), "That is no PLAIN response"), out);
                };
                let Ok(user) = String::from_utf8(user.to_vec()) else {
                    return self.refuse(&reply(501, (5, 5, 2), "The user name is not UTF-8"), out);
                };
                Some(self.ask_auth(user, password.to_vec()))
            }
        }
    }

    fn ask_auth(&mut self, user: String, password: Vec<u8>) -> Step {
        self.pending_user.clone_from(&user);
        self.mode = Mode::Waiting(Question::Auth);
        Step::Event(Event::Auth {
            user,
            password: Secret::new(password),
        })
    }

    fn step_data(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        let rest = &self.input[self.used..];
        if rest.is_empty() {
            return Some(Step::NeedInput);
        }
        let mut body = Vec::with_capacity(rest.len());
        let (used, done) = self.data.ingest(rest, &mut body);
        self.used += used;
        if self.data.has_bad_line_ends() && self.refused.is_none() {
            let text = "The message has a CR or LF that is not part of a CRLF";
            self.refused = Some(reply(550, (5, 6, 11), text));
        }
        self.body_part(body, done, out)
    }

    fn step_bdat(&mut self, left: u64, last: bool, out: &mut Vec<u8>) -> Option<Step> {
        let rest = &self.input[self.used..];
        let take = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if take == 0 && left > 0 {
            return Some(Step::NeedInput);
        }
        let body = rest[..take].to_vec();
        self.used += take;
        let left = left - take as u64;
        self.mode = Mode::Bdat { left, last };
        if left > 0 || last {
            return self.body_part(body, left == 0, out);
        }
        // The chunk is complete, and others follow.
        self.mode = Mode::Command;
        if let Some(refusal) = &self.refused {
            refusal.write(out);
            return None;
        }
        self.body_bytes += take as u64;
        if self.body_bytes > self.config.limits.message_bytes {
            let refusal = too_big();
            refusal.write(out);
            self.refused = Some(refusal);
            return Some(Step::Event(Event::BodyAborted));
        }
        reply(250, (2, 0, 0), "Chunk received").write(out);
        (!body.is_empty()).then_some(Step::Event(Event::Body(body)))
    }

    fn body_part(&mut self, body: Vec<u8>, done: bool, out: &mut Vec<u8>) -> Option<Step> {
        self.body_bytes += body.len() as u64;
        if self.body_bytes > self.config.limits.message_bytes && self.refused.is_none() {
            self.refused = Some(too_big());
        }
        if done {
            if let Some(refusal) = self.refused.take() {
                refusal.write(out);
                self.errors += 1;
                self.mode = Mode::Command;
                self.end_transaction();
                return Some(Step::Event(Event::BodyAborted));
            }
            self.mode = Mode::Waiting(Question::BodyEnd);
            if body.is_empty() {
                return Some(Step::Event(Event::BodyEnd));
            }
            // The end is told by the next step, after these bytes.
            self.mode = Mode::Bdat {
                left: 0,
                last: true,
            };
            return Some(Step::Event(Event::Body(body)));
        }
        (self.refused.is_none() && !body.is_empty()).then_some(Step::Event(Event::Body(body)))
    }

    /// Decides what the last event asked: `None` agrees, a reply refuses. For `BodyEnd` the reply is sent as it is.
    pub fn answer(&mut self, decision: Option<Reply>, out: &mut Vec<u8>) {
        let Mode::Waiting(question) = std::mem::replace(&mut self.mode, Mode::Command) else {
            panic!("an answer was given while nothing was asked");
        };
        match (question, decision) {
            (Question::Auth, None) => {
                self.user = Some(std::mem::take(&mut self.pending_user));
                reply(235, (2, 7, 0), "Logged in").write(out);
            }
            (Question::Auth, Some(refusal)) => {
                self.auth_failures += 1;
                refusal.write(out);
                if self.auth_failures >= self.config.limits.auth_failures {
                    reply(421, (4, 7, 0), "Too many failed logins").write(out);
                    self.mode = Mode::Closed;
                }
            }
            (Question::Mail, None) => reply(250, (2, 1, 0), "OK").write(out),
            (Question::Mail, Some(refusal)) => {
                self.end_transaction();
                refusal.write(out);
            }
            (Question::Rcpt, None) => {
                self.recipients += 1;
                reply(250, (2, 1, 5), "OK").write(out);
            }
            (Question::Rcpt, Some(refusal)) => {
                self.errors += 1;
                refusal.write(out);
            }
            (Question::DataStart, None) => {
                self.data = DataReceiver::new(self.config.line_ends);
                self.mode = Mode::Data;
                out.extend_from_slice(b"354 End with CRLF.CRLF\r\n");
            }
            (Question::DataStart, Some(refusal)) => {
                self.end_transaction();
                refusal.write(out);
            }
            (Question::BdatStart { bytes, last }, decision) => {
                self.refused = decision;
                self.mode = Mode::Bdat { left: bytes, last };
            }
            (Question::BodyEnd, decision) => {
                self.end_transaction();
                self.messages += 1;
                decision
                    .unwrap_or_else(|| reply(250, (2, 0, 0), "OK"))
                    .write(out);
            }
        }
    }

    /// The sender and parameters of the open transaction.
    pub fn transaction(&self) -> Option<&MailFrom> {
        self.mail.as_ref()
    }
}

fn done(reply: Reply, out: &mut Vec<u8>) -> Option<Step> {
    reply.write(out);
    None
}

fn too_big() -> Reply {
    reply(552, (5, 3, 4), "The message is larger than the limit")
}

/// The return path as text; empty when it is null.
pub fn return_path(path: &ReversePath) -> String {
    path.address()
        .map(|address| address.as_str().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;

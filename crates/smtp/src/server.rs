//! The server dialogue (RFC 5321) as a state machine: bytes in, bytes and events out.
//!
//! The shell feeds what it reads, calls [`ServerSession::step`] until it needs more input, writes what gathered
//! in `out`, and answers the events that ask for a decision.

use std::sync::Arc;
use std::time::Duration;

use memchr::memchr;

use crate::address::ReversePath;
use crate::command::{Command, CommandError, MailFrom, RcptPath, RcptTo};
use crate::line_ends::LineEnds;
use crate::receive::{Line, find_line};
use crate::reply::Reply;
use crate::secret::Secret;

mod auth;
mod body;
mod greet;
mod limits;

use body::Incoming;
pub use limits::Limits;

/// Replies are written before more is done, from this many octets on: a client that does not read them gets no more
/// work done, and holds no more memory.
const OUT_BYTES_MAX: usize = 16 << 10;
/// A command line that is too long is read to its end up to this length, so that the session can go on after its 500.
const LONG_LINE_BYTES_MAX: usize = 64 << 10;
/// Input that waits for more is at most a line. What a burst needed beyond that is given back.
const SPARE_BYTES_MAX: usize = 4 << 10;

#[derive(Debug, Clone)]
pub struct Config {
    pub hostname: String,
    /// STARTTLS is offered while the session is in the clear.
    pub starttls: bool,
    /// AUTH is offered under TLS.
    pub auth: bool,
    /// And by SCRAM-SHA-256.
    pub scram: bool,
    /// Mail is taken only after a login (RFC 6409).
    pub auth_required: bool,
    pub line_ends: LineEnds,
    pub limits: Limits,
}

#[derive(Debug)]
pub enum Step {
    NeedInput,
    /// Write `out`, empty it, and go on.
    Write,
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
    /// What a client says first that logs in by SCRAM; for [`ServerSession::scram_challenge`], or a refusal by
    /// [`ServerSession::answer`].
    ScramFirst(Vec<u8>),
    /// What it says then; for [`ServerSession::scram_verified`], or a refusal.
    ScramProof(Vec<u8>),
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
    AuthPassword {
        user: String,
    },
    AuthScram,
    AuthScramProof,
    AuthScramEnd,
    /// The rest of a line that is too long.
    LongLine {
        dropped: usize,
        refusal: Reply,
    },
    Data,
    Bdat {
        left: u64,
        last: bool,
    },
    /// A chunk that fits nowhere.
    Skip {
        left: u64,
        dropped: u64,
    },
    /// All of a body was handed over.
    BodyDone,
    Waiting(Question),
    Tls,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Auth,
    ScramFirst,
    ScramProof,
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
    /// It is known in another way than by AUTH whose mail the client hands in.
    is_admitted: bool,
    pending_user: String,
    mode: Mode,
    input: Vec<u8>,
    used: usize,
    mail: Option<MailFrom>,
    recipients: usize,
    body: Option<Incoming>,
    messages: u32,
    commands: u32,
    /// Commands that carry no mail, since the latest accepted message.
    idle_commands: u32,
    errors: u32,
    deferrals: u32,
    auth_failures: u32,
    clear_logins: u32,
    draining: bool,
}

fn reply(code: u16, enhanced: (u8, u16, u16), text: &str) -> Reply {
    Reply::new(code, enhanced, text)
}

impl ServerSession {
    /// `tls` is true on a port with implicit TLS.
    pub fn new(config: Arc<Config>, tls: bool) -> Self {
        Self {
            config,
            tls,
            helo: None,
            esmtp: false,
            user: None,
            is_admitted: false,
            pending_user: String::new(),
            mode: Mode::Command,
            input: Vec::new(),
            used: 0,
            mail: None,
            recipients: 0,
            body: None,
            messages: 0,
            commands: 0,
            idle_commands: 0,
            errors: 0,
            deferrals: 0,
            auth_failures: 0,
            clear_logins: 0,
            draining: false,
        }
    }

    pub fn greeting(&self, out: &mut Vec<u8>) {
        Reply::plain(220, format!("{} ESMTP Skein", self.config.hostname)).write(out);
    }

    /// Takes bytes that were read, without a copy if nothing is left of what was read before. The shell feeds only after
    /// `NeedInput`, so this holds one read and one line.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        self.forget_used();
        if self.input.is_empty() {
            self.input = bytes;
        } else {
            self.input.extend_from_slice(&bytes);
        }
    }

    fn forget_used(&mut self) {
        self.input.drain(..self.used);
        self.used = 0;
        if self.input.capacity() - self.input.len() > SPARE_BYTES_MAX {
            self.input.shrink_to_fit();
        }
    }

    /// Memory that what was read takes up.
    pub fn held_bytes(&self) -> usize {
        self.input.capacity()
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

    /// AUTH commands that came in the clear and were refused.
    pub fn clear_logins(&self) -> u32 {
        self.clear_logins
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// How long the shell waits for what comes next.
    pub fn timeout(&self) -> Duration {
        match self.mode {
            Mode::Data | Mode::Bdat { .. } | Mode::Skip { .. } => self.config.limits.body_timeout,
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
        self.is_admitted = false;
        self.forget_transaction();
        self.input = Vec::new();
        self.used = 0;
        self.mode = Mode::Command;
    }

    /// The client showed by its certificate whose mail it hands in, so that mail is taken without AUTH, which it may use
    /// all the same.
    pub fn admit(&mut self) {
        self.is_admitted = true;
    }

    fn close(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Step {
        reply.write(out);
        self.mode = Mode::Closed;
        Step::Close
    }

    /// Goes on as far as the input reaches, or until there are enough replies to be written.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Step {
        loop {
            if out.len() > OUT_BYTES_MAX {
                return Step::Write;
            }
            let step = match &self.mode {
                Mode::Closed => return Step::Close,
                Mode::Waiting(_) | Mode::Tls => return Step::NeedInput,
                Mode::Data => self.step_data(out),
                Mode::BodyDone => Some(self.body_done()),
                Mode::Bdat { left, last } => {
                    let (left, last) = (*left, *last);
                    self.step_bdat(left, last, out)
                }
                Mode::Skip { left, dropped } => {
                    let (left, dropped) = (*left, *dropped);
                    self.step_skip(left, dropped, out)
                }
                Mode::LongLine { dropped, .. } => {
                    let dropped = *dropped;
                    self.step_long_line(dropped, out)
                }
                _ => self.step_line(out),
            };
            if let Some(step) = step {
                if matches!(step, Step::NeedInput) {
                    self.forget_used();
                }
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
        match find_line(rest, max) {
            Line::Incomplete => Some(Step::NeedInput),
            Line::Complete(length) => {
                let line = rest[..length].to_vec();
                self.used += length + 2;
                if is_command {
                    self.command(&line, out)
                } else {
                    self.auth_line(&line, out)
                }
            }
            Line::BareLf(length) => {
                self.used += length;
                self.mode = Mode::Command;
                self.refuse(&reply(500, (5, 5, 2), "Lines must end with CRLF"), out)
            }
            Line::TooLong => {
                let code = if is_command { (5, 5, 2) } else { (5, 5, 6) };
                let text = format!("The line is longer than {max} octets");
                self.mode = Mode::LongLine {
                    dropped: 0,
                    refusal: reply(500, code, &text),
                };
                None
            }
        }
    }

    /// Drops the line up to its end, wherever CR stands, and refuses it then.
    fn step_long_line(&mut self, dropped: usize, out: &mut Vec<u8>) -> Option<Step> {
        let rest = &self.input[self.used..];
        let end = memchr(b'\n', rest);
        let count = end.map_or(rest.len(), |lf| lf + 1);
        self.used += count;
        let dropped = dropped + count;
        let Mode::LongLine { refusal, .. } = std::mem::replace(&mut self.mode, Mode::Command)
        else {
            return None;
        };
        if dropped > LONG_LINE_BYTES_MAX {
            return Some(self.close(&refusal, out));
        }
        if end.is_some() {
            return self.refuse(&refusal, out);
        }
        self.mode = Mode::LongLine { dropped, refusal };
        Some(Step::NeedInput)
    }

    /// Refuses a command; too many refusals end the session.
    fn refuse(&mut self, reason: &Reply, out: &mut Vec<u8>) -> Option<Step> {
        self.count_refusal(reason);
        if self.has_too_many_refusals() {
            return Some(self.close(&reply(421, (4, 7, 0), "Too many errors"), out));
        }
        reason.write(out);
        None
    }

    fn count_refusal(&mut self, reason: &Reply) {
        if reason.is_permanent() {
            self.errors += 1;
        } else if reason.is_temporary() {
            self.deferrals += 1;
        }
    }

    fn has_too_many_refusals(&self) -> bool {
        let limits = &self.config.limits;
        self.errors > limits.errors || self.deferrals > limits.deferrals
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
            Ok(command) if self.is_one_too_many(&command) => {
                let text = "Too many commands without a message";
                Some(self.close(&reply(421, (4, 7, 0), text), out))
            }
            Ok(command) => self.run(command, out),
            Err(CommandError(reason)) => self.refuse(&reason, out),
        }
    }

    /// Counts commands that carry no mail, and beyond their limit as errors, whatever the reply.
    fn is_one_too_many(&mut self, command: &Command) -> bool {
        let carries_mail = matches!(
            command,
            Command::Rcpt(_)
                | Command::Data
                | Command::Bdat { .. }
                | Command::Quit
                | Command::Auth { .. }
                | Command::StartTls
        );
        if carries_mail {
            return false;
        }
        self.idle_commands += 1;
        if self.idle_commands > self.config.limits.idle_commands {
            self.errors += 1;
        }
        self.has_too_many_refusals()
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
                let aborted = self.end_transaction();
                reply(250, (2, 0, 0), "OK").write(out);
                aborted
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

    fn mail(&mut self, mail: MailFrom, out: &mut Vec<u8>) -> Option<Step> {
        self.leave_refused_body();
        let limits = &self.config.limits;
        let is_too_big = mail.size.is_some_and(|size| size > limits.message_bytes);
        let refusal = if self.helo.is_none() {
            Some(reply(503, (5, 5, 1), "Say EHLO first"))
        } else if self.mail.is_some() {
            Some(reply(503, (5, 5, 1), "A transaction is open already"))
        } else if self.config.auth_required && !self.tls {
            Some(reply(530, (5, 7, 0), "Say STARTTLS first"))
        } else if self.config.auth_required && self.user.is_none() && !self.is_admitted {
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
        let needs_utf8 = matches!(&rcpt.to, RcptPath::Address(address) if !address.is_ascii());
        if self.is_between_chunks() {
            return self.refuse(&reply(503, (5, 5, 1), "The body has begun"), out);
        }
        if needs_utf8 && !mail.smtputf8 {
            return self.refuse(
                &reply(553, (5, 6, 7), "The address needs SMTPUTF8 at MAIL"),
                out,
            );
        }
        if self.recipients >= self.config.limits.recipients {
            return self.refuse(&reply(452, (4, 5, 3), "Too many recipients"), out);
        }
        self.mode = Mode::Waiting(Question::Rcpt);
        Some(Step::Event(Event::Rcpt(rcpt)))
    }

    /// Decides what the last event asked: `None` agrees, a reply refuses. For `BodyEnd` the reply is sent as it is. A
    /// refusal with 421 ends the session.
    pub fn answer(&mut self, decision: Option<Reply>, out: &mut Vec<u8>) {
        let Mode::Waiting(question) = std::mem::replace(&mut self.mode, Mode::Command) else {
            panic!("an answer was given while nothing was asked");
        };
        match (question, decision) {
            (Question::Auth, None) => self.logged_in(out),
            (Question::ScramFirst | Question::ScramProof, None) => {
                panic!("SCRAM is agreed to with a message");
            }
            (Question::Auth | Question::ScramFirst | Question::ScramProof, Some(refusal))
                if refusal.code != 421 =>
            {
                self.auth_failed(&refusal, out);
            }
            (Question::Mail, None) => reply(250, (2, 1, 0), "OK").write(out),
            (Question::Rcpt, None) => {
                self.recipients += 1;
                reply(250, (2, 1, 5), "OK").write(out);
            }
            (Question::DataStart, None) => {
                self.begin_body(None);
                self.mode = Mode::Data;
                out.extend_from_slice(b"354 End with CRLF.CRLF\r\n");
            }
            (Question::BdatStart { bytes, last }, decision) => {
                // The chunk comes all the same, and the refusal is told behind it.
                if let Some(refusal) = &decision {
                    self.count_refusal(refusal);
                }
                self.begin_body(decision);
                self.mode = Mode::Bdat { left: bytes, last };
            }
            (Question::BodyEnd, decision) => {
                self.forget_transaction();
                self.messages += 1;
                let answer = decision.unwrap_or_else(|| reply(250, (2, 0, 0), "OK"));
                if answer.is_positive() {
                    self.idle_commands = 0;
                    answer.write(out);
                } else {
                    self.refuse_asked(&answer, out);
                }
            }
            (
                Question::Rcpt | Question::Auth | Question::ScramFirst | Question::ScramProof,
                Some(refusal),
            ) => self.refuse_asked(&refusal, out),
            (Question::Mail | Question::DataStart, Some(refusal)) => {
                self.forget_transaction();
                self.refuse_asked(&refusal, out);
            }
        }
    }

    /// What the shell refused counts as what the dialogue refuses itself.
    fn refuse_asked(&mut self, refusal: &Reply, out: &mut Vec<u8>) {
        self.count_refusal(refusal);
        refusal.write(out);
        if refusal.code == 421 {
            self.mode = Mode::Closed;
        } else if self.has_too_many_refusals() {
            reply(421, (4, 7, 0), "Too many errors").write(out);
            self.mode = Mode::Closed;
        }
    }
}

fn done(reply: Reply, out: &mut Vec<u8>) -> Option<Step> {
    reply.write(out);
    None
}

/// The return path as text; empty when it is null.
pub fn return_path(path: &ReversePath) -> String {
    path.address()
        .map(|address| address.as_str().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod body_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod tests;

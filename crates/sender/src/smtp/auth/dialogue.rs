//! What the library speaks over in place of the connection: it reads whole replies, of bounded size, and writes whole lines.
//!
//! The library by itself reads lines without end, loses octets behind a reply, answers an OAuth server's error with the token
//! again, and ends where a challenge of LOGIN has other words than it knows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_smtp::reply::{Reply, ReplyReceiver};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::LoginError;
use crate::config::login::Mechanism;
use crate::smtp::session::{SessionError, Stream};

/// "Username:" and "Password:". What challenges say varies between servers; their order does not.
const USER_NAME: &str = "VXNlcm5hbWU6";
const PASSWORD: &str = "UGFzc3dvcmQ6";
/// What a server tells of a token that it refuses is a few dozen octets of JSON.
const ERROR_BYTES_MAX: usize = 300;
/// In place of what nobody may read.
const MASK: &str = "***";

pub struct Dialogue<S> {
    stream: S,
    mechanism: Mechanism,
    secret: String,
    replies: ReplyReceiver,
    read: Box<[u8]>,
    /// Of the latest reply, what the library has not read.
    unread: Vec<u8>,
    /// What the library wrote and the host has not got, from `written` on.
    line: Vec<u8>,
    written: usize,
    /// To be sent in place of the next line.
    instead: Option<&'static str>,
    /// Lines that were sent, without their ends: the library ends after four.
    sent: Vec<String>,
    challenges: u32,
    last: Option<Reply>,
    /// What a server said of a token before it refused it.
    told: String,
    failure: Option<SessionError>,
}

impl<S: Stream> Dialogue<S> {
    pub fn new(stream: S, mechanism: Mechanism, secret: String) -> Self {
        Self {
            stream,
            mechanism,
            secret,
            replies: ReplyReceiver::new(),
            read: vec![0; 1024].into(),
            unread: Vec::new(),
            line: Vec::new(),
            written: 0,
            instead: None,
            sent: Vec::new(),
            challenges: 0,
            last: None,
            told: String::new(),
            failure: None,
        }
    }

    pub fn into_stream(self) -> S {
        self.stream
    }

    pub fn has_surplus(&self) -> bool {
        self.replies.has_surplus() || !self.unread.is_empty()
    }

    /// Why the library ended without a login: what became of the connection, or what the host said last.
    pub fn error(&mut self) -> LoginError {
        if let Some(failure) = self.failure.take() {
            return failure.into();
        }
        match self.last.take() {
            None => SessionError::Closed.into(),
            Some(mut reply) => {
                let told = match self.told.as_str() {
                    "" => String::new(),
                    told => format!(" ({told})"),
                };
                reply.text = self.masked(format!("{}{told}", reply.text));
                match reply.is_positive() {
                    true => SessionError::Garbage(format!("{reply} is no end of a login")).into(),
                    false => LoginError::Refused(reply),
                }
            }
        }
    }

    /// Some hosts repeat what they were sent.
    fn masked(&self, text: String) -> String {
        let words = self
            .sent
            .iter()
            .filter_map(|line| match line.strip_prefix("AUTH ") {
                Some(command) => Some(command.split_once(' ')?.1),
                None => Some(line.as_str()),
            });
        let secrets = words.chain([self.secret.as_str()]);
        let secrets = secrets.filter(|secret| !secret.is_empty());
        secrets.fold(text, |text, secret| text.replace(secret, MASK))
    }

    /// Hands a reply to the library, with no more than it has to know.
    fn take(&mut self, reply: Reply) {
        let mut text = "";
        if reply.code == 334 {
            self.challenges += 1;
            match self.mechanism {
                Mechanism::Plain => {}
                Mechanism::Login if self.challenges == 1 => text = USER_NAME,
                Mechanism::Login => text = PASSWORD,
                // An error: the server says 535 when it has got an empty answer (RFC 7628 section 3.2.3).
                Mechanism::XOAuth2 => self.refused(&reply, "\r\n"),
                Mechanism::OAuthBearer => self.refused(&reply, "AQ==\r\n"),
            }
        }
        self.unread = format!("{} {text}\r\n", reply.code).into_bytes();
        self.last = Some(reply);
    }

    fn refused(&mut self, reply: &Reply, answer: &'static str) {
        self.instead = Some(answer);
        let told = STANDARD.decode(reply.text.trim()).unwrap_or_default();
        let told = &told[..told.len().min(ERROR_BYTES_MAX)];
        let told = String::from_utf8_lossy(told);
        self.told = told.replace(|c: char| c.is_control(), " ");
    }

    fn failed(&mut self, failure: SessionError) -> io::Error {
        self.failure.get_or_insert(failure);
        io::ErrorKind::Other.into()
    }
}

impl<S: Stream> AsyncRead for Dialogue<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.unread.is_empty() {
                let count = this.unread.len().min(out.remaining());
                out.put_slice(&this.unread[..count]);
                this.unread.drain(..count);
                return Poll::Ready(Ok(()));
            }
            match this.replies.next() {
                Ok(Some(reply)) => {
                    this.take(reply);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    let garbage = this.masked(error.to_string());
                    return Poll::Ready(Err(this.failed(SessionError::Garbage(garbage))));
                }
            }
            let mut read = ReadBuf::new(&mut this.read);
            if let Err(error) = ready!(Pin::new(&mut this.stream).poll_read(context, &mut read)) {
                return Poll::Ready(Err(this.failed(error.into())));
            }
            let count = read.filled().len();
            if count == 0 {
                return Poll::Ready(Err(this.failed(SessionError::Closed)));
            }
            this.replies.push(&this.read[..count]);
        }
    }
}

impl<S: Stream> AsyncWrite for Dialogue<S> {
    /// Takes all: the library flushes after each line, whose length is that of user and secret.
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().line.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(instead) = this.instead.take() {
            this.line = instead.as_bytes().to_vec();
        }
        while this.written < this.line.len() {
            let rest = &this.line[this.written..];
            match ready!(Pin::new(&mut this.stream).poll_write(context, rest)) {
                Ok(0) => return Poll::Ready(Err(this.failed(SessionError::Closed))),
                Ok(count) => this.written += count,
                Err(error) => return Poll::Ready(Err(this.failed(error.into()))),
            }
        }
        if !this.line.is_empty() {
            let line = String::from_utf8_lossy(&std::mem::take(&mut this.line)).into_owned();
            this.sent.push(line.trim_end().to_owned());
            this.written = 0;
        }
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(context));
        Poll::Ready(flushed.map_err(|error| this.failed(error.into())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

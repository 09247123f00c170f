use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where in the dialogue the script is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Before the banner.
    Connect,
    Ehlo,
    /// At STARTTLS, before the 220.
    StartTls,
    /// After that 220: the client shakes hands now. A negative reply comes in its place, and
    /// the session goes on in the clear.
    Handshake,
    Mail,
    Rcpt,
    /// At DATA, or at the first BDAT chunk.
    Data,
    /// All bytes are here and nothing is decided. A reply here refuses the message.
    Dot,
    /// The message is recorded as accepted and the 250 is not sent. Dropping here makes the
    /// sender's uncertainty: it will send the message again.
    AfterDot,
    Quit,
}

/// What the sink does then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Accept,
    /// This reply instead; a positive code accepts, a negative one refuses (code, text). At the dot
    /// a positive one is the same as `Accept`: choose the text of the 250 in `AfterDot`.
    Reply(u16, String),
    /// Waits, then accepts.
    Delay(Duration),
    /// Closes the connection without a reply.
    Drop,
    /// Closes the connection with a TCP reset.
    Reset,
    /// Never answers and keeps the connection open until the other side or the sink ends.
    Tarpit,
    /// Sends the positive reply, then closes the connection.
    AcceptThenDrop,
    /// Sends these bytes instead, then closes the connection.
    Raw(Vec<u8>),
}

impl Act {
    pub fn reply(code: u16, text: &str) -> Self {
        Self::Reply(code, text.to_owned())
    }
}

/// What a script can see.
#[derive(Debug)]
pub struct Moment<'a> {
    pub phase: Phase,
    /// When the bytes arrived that this is about, or the connection, as the kernel noted it. The sink may look later.
    pub arrived: Instant,
    pub connection: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: bool,
    /// The command line without CRLF; empty for Connect, Dot and AfterDot.
    pub line: &'a str,
    /// The address of this RCPT in phase Rcpt, the return path in phase Mail, else empty.
    pub address: &'a str,
    /// The return path of the transaction.
    pub sender: &'a str,
    /// Recipients accepted so far in this transaction.
    pub recipients: &'a [String],
    /// The message after unstuffing; empty before Dot.
    pub message: &'a [u8],
}

/// Decides at each phase. It runs on the session's task: it must not block.
pub type Script = Arc<dyn Fn(&Moment<'_>) -> Act + Send + Sync>;

/// The script that accepts everything.
pub fn accept_all() -> Script {
    Arc::new(|_| Act::Accept)
}

/// Counts how often each key came up, for scripts such as "the first two times of each recipient".
/// Its size grows with the number of distinct keys: use it in tests, not under long load.
#[derive(Debug, Default)]
pub struct Occurrences(Mutex<HashMap<String, u64>>);

impl Occurrences {
    /// How often the key has come up, this time included.
    pub fn of(&self, key: &str) -> u64 {
        let mut counts = self.0.lock();
        match counts.get_mut(key) {
            Some(count) => {
                *count += 1;
                *count
            }
            None => {
                counts.insert(key.to_owned(), 1);
                1
            }
        }
    }
}

//! What a reply means for the recipients: delivered, try again, or failed, and how far the answer reaches.

use crate::reply::Reply;

/// What the reply answers. Also names the timeout that applies (RFC 5321 section 4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The greeting after connecting.
    Greeting,
    /// EHLO or HELO.
    Ehlo,
    /// STARTTLS.
    StartTls,
    /// AUTH and its continuations.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, before the body.
    Data,
    /// The final dot, or BDAT LAST.
    Body,
    /// RSET, NOOP and QUIT.
    Other,
}

impl Stage {
    /// A short lower-case name for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::Ehlo => "ehlo",
            Self::StartTls => "starttls",
            Self::Auth => "auth",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::Body => "body",
            Self::Other => "other",
        }
    }
}

/// How far a refusal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The connection or host: other messages would fare the same, another host may do better.
    Connection,
    /// This message, for all its recipients.
    Message,
    /// This recipient only.
    Recipient,
}

/// What becomes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The next hop has taken responsibility.
    Delivered,
    /// Try again later.
    Deferred(Scope),
    /// Give up.
    Failed(Scope),
}

impl Verdict {
    /// The verdict of a reply; `None` when it says to go on.
    pub fn of(stage: Stage, reply: &Reply) -> Option<Self> {
        let scope = match stage {
            Stage::Greeting | Stage::Ehlo | Stage::StartTls | Stage::Auth | Stage::Other => {
                Scope::Connection
            }
            Stage::Mail | Stage::Data | Stage::Body => Scope::Message,
            Stage::Rcpt => Scope::Recipient,
        };
        match reply.code {
            // 421: the service is closing, whatever was asked (RFC 5321 section 3.8).
            421 => Some(Self::Deferred(Scope::Connection)),
            354 if stage == Stage::Data => None,
            300..400 if stage == Stage::Auth => None,
            200..300 if stage == Stage::Body => Some(Self::Delivered),
            200..300 if stage != Stage::Data => None,
            400..500 => Some(Self::Deferred(scope)),
            // Our credentials or the peer's certificate are at fault, not the message: mail waits until it is mended.
            500..600 if matches!(stage, Stage::Auth | Stage::StartTls) => {
                Some(Self::Deferred(Scope::Connection))
            }
            552 if stage == Stage::Rcpt && !says_too_large(reply) => Some(Self::Deferred(scope)),
            500..600 => Some(Self::Failed(scope)),
            // A positive code that does not fit the question: the dialogue is out of step, nothing can be believed.
            _ => Some(Self::Deferred(Scope::Connection)),
        }
    }

    /// The scope of a refusal.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::Delivered => None,
            Self::Deferred(scope) | Self::Failed(scope) => Some(scope),
        }
    }

    /// No further attempt follows.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Deferred(_))
    }
}

/// Whether a reply to RCPT says "too many recipients": 452, or 552 from old servers (RFC 5321 section 4.5.3.1.10).
/// If others were accepted, the rest may be tried in another transaction at once.
pub fn is_too_many_recipients(reply: &Reply) -> bool {
    match (reply.code, reply.enhanced) {
        (452 | 552, Some(enhanced)) => (enhanced.subject, enhanced.detail) == (5, 3),
        (452 | 552, None) => true,
        _ => false,
    }
}

/// 552 at RCPT is temporary unless the enhanced code says that the message itself is too large.
fn says_too_large(reply: &Reply) -> bool {
    reply
        .enhanced
        .is_some_and(|e| matches!((e.subject, e.detail), (2, 3) | (3, 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_table() {
        use Scope::{Connection, Message, Recipient};
        use Stage::{Auth, Body, Data, Ehlo, Greeting, Mail, Other, Rcpt, StartTls};
        use Verdict::{Deferred, Delivered, Failed};
        for (stage, code, enhanced, expected) in [
            (Greeting, 220, None, None),
            (Greeting, 421, None, Some(Deferred(Connection))),
            (Greeting, 450, None, Some(Deferred(Connection))),
            (Greeting, 554, None, Some(Failed(Connection))),
            (Ehlo, 250, None, None),
            (Ehlo, 502, None, Some(Failed(Connection))),
            (StartTls, 454, None, Some(Deferred(Connection))),
            (StartTls, 554, None, Some(Deferred(Connection))),
            (Auth, 334, None, None),
            (Auth, 235, None, None),
            (Auth, 535, Some((5, 7, 8)), Some(Deferred(Connection))),
            (Mail, 250, None, None),
            (Mail, 354, None, Some(Deferred(Connection))),
            (Mail, 421, None, Some(Deferred(Connection))),
            (Mail, 451, None, Some(Deferred(Message))),
            (Mail, 452, None, Some(Deferred(Message))),
            (Mail, 550, None, Some(Failed(Message))),
            (Mail, 552, Some((5, 3, 4)), Some(Failed(Message))),
            (Rcpt, 250, None, None),
            (Rcpt, 251, None, None),
            (Rcpt, 354, None, Some(Deferred(Connection))),
            (Rcpt, 421, None, Some(Deferred(Connection))),
            (Rcpt, 450, Some((4, 2, 0)), Some(Deferred(Recipient))),
            (Rcpt, 452, Some((4, 5, 3)), Some(Deferred(Recipient))),
            (Rcpt, 550, Some((5, 1, 1)), Some(Failed(Recipient))),
            (Rcpt, 552, None, Some(Deferred(Recipient))),
            (Rcpt, 552, Some((5, 5, 3)), Some(Deferred(Recipient))),
            (Rcpt, 552, Some((5, 3, 4)), Some(Failed(Recipient))),
            (Data, 354, None, None),
            (Data, 250, None, Some(Deferred(Connection))),
            (Data, 421, None, Some(Deferred(Connection))),
            (Data, 451, None, Some(Deferred(Message))),
            (Data, 554, None, Some(Failed(Message))),
            (Body, 250, None, Some(Delivered)),
            (Body, 354, None, Some(Deferred(Connection))),
            (Body, 421, None, Some(Deferred(Connection))),
            (Body, 451, None, Some(Deferred(Message))),
            (Body, 552, None, Some(Failed(Message))),
            (Body, 554, Some((5, 7, 1)), Some(Failed(Message))),
            (Other, 250, None, None),
        ] {
            let reply = Reply {
                code,
                enhanced: enhanced.map(Into::into),
                text: String::new(),
            };
            assert_eq!(Verdict::of(stage, &reply), expected, "{stage:?} {reply}");
        }
    }

    #[test]
    fn too_many_recipients_table() {
        for (reply, expected) in [
            (Reply::plain(452, ""), true),
            (Reply::new(452, (4, 5, 3), ""), true),
            (Reply::new(452, (4, 2, 2), "mailbox full"), false),
            (Reply::plain(552, ""), true),
            (Reply::new(550, (5, 5, 3), ""), false),
            (Reply::plain(450, ""), false),
        ] {
            assert_eq!(is_too_many_recipients(&reply), expected, "{reply}");
        }
    }
}

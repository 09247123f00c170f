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

impl Stage {
    /// How far a refusal reaches that is about what was asked.
    const fn scope(self) -> Scope {
        match self {
            Self::Greeting | Self::Ehlo | Self::StartTls | Self::Auth | Self::Other => {
                Scope::Connection
            }
            Self::Mail | Self::Data | Self::Body => Scope::Message,
            Self::Rcpt => Scope::Recipient,
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

/// What a reply comes to for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyClass {
    /// The next hop has taken responsibility.
    Delivered,
    /// Try again later.
    Deferred(Scope),
    /// Give up.
    Failed(Scope),
}

impl ReplyClass {
    /// The class of a reply; `None` when it says to go on.
    pub fn of(stage: Stage, reply: &Reply) -> Option<Self> {
        let scope = stage.scope();
        match reply.code {
            354 if stage == Stage::Data => None,
            300..400 if stage == Stage::Auth => None,
            200..300 if stage == Stage::Body => Some(Self::Delivered),
            200..300 if stage != Stage::Data => None,
            400..600 if is_about_session(stage, reply) => Some(Self::Deferred(Scope::Connection)),
            400..500 => Some(Self::Deferred(scope)),
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
}

/// Whether a refusal says something of the dialogue, the host or our standing with it, and nothing of a message or a
/// recipient. Mail waits for what it says to be mended, and another host may do better meanwhile.
fn is_about_session(stage: Stage, reply: &Reply) -> bool {
    match (stage, reply.code) {
        // The service is closing, whatever was asked (RFC 5321 section 3.8).
        (_, 421) => true,
        // The host takes no mail from us now, or from any client. RFC 5321 section 4.2.4.2 has 554 of a greeting so as well.
        (Stage::Greeting | Stage::Ehlo | Stage::Other, _) => true,
        // Our credentials or the peer's certificate are at fault.
        (Stage::Auth | Stage::StartTls, _) => true,
        // TLS or a login is wanted, or another one (RFC 3207 section 4, RFC 4954 section 6), wherever that is said.
        (_, 523 | 524 | 525 | 530 | 534 | 535 | 538) => true,
        // A command of every dialogue is not known, or comes at the wrong time, unless the reply goes on to speak of an
        // address, a mailbox or the content (RFC 3463 section 3).
        (_, 500 | 502 | 503 | 504) => !says_what_was_asked(reply),
        // These have no argument that the message could be to blame for.
        (Stage::Data | Stage::Body, 501) => !says_what_was_asked(reply),
        // "Invalid command" and "syntax error" are about a command; of an address, hosts say 5.1.3, 5.1.7, 5.5.4 or nothing.
        (_, 501) => reply
            .enhanced
            .is_some_and(|e| (e.subject, e.detail) == (5, 1)),
        _ => false,
    }
}

fn says_what_was_asked(reply: &Reply) -> bool {
    reply
        .enhanced
        .is_some_and(|e| matches!(e.subject, 1 | 2 | 6))
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

    fn reply(code: u16, enhanced: Option<(u8, u16, u16)>) -> Reply {
        Reply {
            code,
            enhanced: enhanced.map(Into::into),
            text: String::new(),
        }
    }

    #[test]
    fn the_table_of_replies() {
        use ReplyClass::{Deferred, Delivered, Failed};
        use Scope::{Connection, Message, Recipient};
        use Stage::{Auth, Body, Data, Ehlo, Greeting, Mail, Other, Rcpt, StartTls};
        for (stage, code, enhanced, expected) in [
            (Greeting, 220, None, None),
            (Greeting, 450, None, Some(Deferred(Connection))),
            (Greeting, 554, None, Some(Deferred(Connection))),
            (Greeting, 521, Some((5, 3, 2)), Some(Deferred(Connection))),
            (Ehlo, 250, None, None),
            (Ehlo, 502, None, Some(Deferred(Connection))),
            (Ehlo, 550, Some((5, 7, 1)), Some(Deferred(Connection))),
            (StartTls, 454, None, Some(Deferred(Connection))),
            (StartTls, 554, None, Some(Deferred(Connection))),
            (Auth, 334, None, None),
            (Auth, 235, None, None),
            (Auth, 535, Some((5, 7, 8)), Some(Deferred(Connection))),
            (Mail, 250, None, None),
            (Mail, 354, None, Some(Deferred(Connection))),
            (Mail, 451, None, Some(Deferred(Message))),
            (Mail, 452, None, Some(Deferred(Message))),
            (Mail, 501, Some((5, 1, 7)), Some(Failed(Message))),
            (Mail, 550, None, Some(Failed(Message))),
            (Mail, 552, Some((5, 3, 4)), Some(Failed(Message))),
            (Mail, 553, None, Some(Failed(Message))),
            (Mail, 555, Some((5, 5, 4)), Some(Failed(Message))),
            (Rcpt, 250, None, None),
            (Rcpt, 251, None, None),
            (Rcpt, 354, None, Some(Deferred(Connection))),
            (Rcpt, 450, Some((4, 2, 0)), Some(Deferred(Recipient))),
            (Rcpt, 452, Some((4, 5, 3)), Some(Deferred(Recipient))),
            (Rcpt, 500, Some((5, 1, 1)), Some(Failed(Recipient))),
            (Rcpt, 501, None, Some(Failed(Recipient))),
            (Rcpt, 501, Some((5, 1, 3)), Some(Failed(Recipient))),
            (Rcpt, 501, Some((5, 5, 1)), Some(Deferred(Connection))),
            (Rcpt, 503, Some((5, 2, 1)), Some(Failed(Recipient))),
            (Rcpt, 550, Some((5, 1, 1)), Some(Failed(Recipient))),
            (Rcpt, 552, None, Some(Deferred(Recipient))),
            (Rcpt, 552, Some((5, 5, 3)), Some(Deferred(Recipient))),
            (Rcpt, 552, Some((5, 3, 4)), Some(Failed(Recipient))),
            (Rcpt, 556, Some((5, 1, 10)), Some(Failed(Recipient))),
            (Data, 354, None, None),
            (Data, 250, None, Some(Deferred(Connection))),
            (Data, 451, None, Some(Deferred(Message))),
            (Data, 554, None, Some(Failed(Message))),
            (Body, 250, None, Some(Delivered)),
            (Body, 354, None, Some(Deferred(Connection))),
            (Body, 451, None, Some(Deferred(Message))),
            (Body, 500, Some((5, 6, 0)), Some(Failed(Message))),
            (Body, 552, None, Some(Failed(Message))),
            (Body, 554, Some((5, 7, 1)), Some(Failed(Message))),
            (Other, 250, None, None),
            (Other, 502, None, Some(Deferred(Connection))),
        ] {
            let reply = reply(code, enhanced);
            assert_eq!(ReplyClass::of(stage, &reply), expected, "{stage:?} {reply}");
        }
    }

    const STAGES: [Stage; 9] = [
        Stage::Greeting,
        Stage::Ehlo,
        Stage::StartTls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
        Stage::Other,
    ];

    /// Whatever was asked, and with every enhanced code that speaks of the system, the protocol or policy.
    #[test]
    fn what_is_said_of_the_session_never_bounces() {
        let enhanced = [
            (5, 0, 0),
            (5, 3, 2),
            (5, 5, 0),
            (5, 5, 1),
            (5, 5, 2),
            (5, 7, 0),
            (5, 7, 1),
        ];
        let enhanced = enhanced.map(Some).into_iter().chain([None]);
        let codes = [421, 500, 502, 503, 504, 523, 524, 525, 530, 534, 535, 538];
        for (enhanced, code) in enhanced.flat_map(|one| codes.map(|code| (one, code))) {
            for stage in STAGES {
                let class = ReplyClass::of(stage, &reply(code, enhanced));
                let expected = Some(ReplyClass::Deferred(Scope::Connection));
                assert_eq!(class, expected, "{stage:?} {code} {enhanced:?}");
            }
        }
    }

    /// Only a reply in the middle of a transaction fails a message or a recipient, and only one of 5xx.
    #[test]
    fn every_code_has_its_class() {
        for stage in STAGES {
            for code in 200..600 {
                let class = ReplyClass::of(stage, &reply(code, None));
                let is_asked =
                    matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Body);
                if let Some(ReplyClass::Failed(scope)) = class {
                    assert!(is_asked && code >= 500, "{stage:?} {code}");
                    assert_eq!(scope, stage.scope(), "{stage:?} {code}");
                }
                if class == Some(ReplyClass::Delivered) {
                    assert!(stage == Stage::Body && code < 300, "{stage:?} {code}");
                }
                assert!(class.is_some() || code < 400, "{stage:?} {code} goes on");
            }
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

//! One mail transaction as a state machine: bytes to write come out, replies go in, and at the end there is an
//! outcome for each recipient.

use std::collections::VecDeque;

use super::{CannotSend, Capabilities, OutgoingMessage, commands};
use crate::reply::Reply;
use crate::reply_class::{ReplyClass, Scope, Stage};
use crate::stuff::Framing;

/// Commands in flight to a peer with PIPELINING. Their replies (about 6 KiB) fit in any receive window, so neither
/// side can block on writing while the other does too (RFC 2920 section 3.1).
const IN_FLIGHT_MAX: usize = 100;

/// What to do next, after writing the bytes that `poll` appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Read one reply, with the timeout of the stage, and give it to `on_reply`.
    NeedReply(Stage),
    /// Write the body of exactly `body_bytes` through a [`BodyWriter`](crate::stuff::BodyWriter) of this framing, calling
    /// `final_dot` once all of it and of the writer's `finish` may be written.
    SendBody(Framing),
    /// The outcome is known.
    Done,
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientOutcome {
    /// What to do about it.
    pub class: ReplyClass,
    /// The reply that decided.
    pub reply: Reply,
    /// What that reply answered.
    pub stage: Stage,
    /// False when the reply is our own words: connection lost, recipient not sendable.
    pub from_peer: bool,
}

impl RecipientOutcome {
    /// Of one that is not named to the peer.
    pub fn kept_back(error: &CannotSend) -> Self {
        let reply = error.to_reply();
        let class = match reply.is_temporary() {
            true => ReplyClass::Deferred(Scope::Recipient),
            false => ReplyClass::Failed(Scope::Recipient),
        };
        Self {
            class,
            reply,
            stage: Stage::Rcpt,
            from_peer: false,
        }
    }
}

/// The end of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionOutcome {
    /// One for each recipient, in the message's order.
    pub recipients: Vec<RecipientOutcome>,
    /// RSET must come before the next MAIL.
    pub needs_reset: bool,
    /// The connection is in step and open as far as known.
    pub connection_usable: bool,
    /// The peer may have seen the end of the body.
    pub dot_sent: bool,
    /// The end of the body was sent and no reply came: the peer may have delivered, a retry may be a duplicate.
    pub is_ambiguous: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Mail,
    Rcpt(usize),
    Data,
    /// The reply to a final dot that no recipient was accepted for.
    LoneDot,
    Body,
    /// The reply of an LMTP host for one of the recipients that it took.
    BodyOf(usize),
}

impl Awaited {
    fn stage(self) -> Stage {
        match self {
            Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::LoneDot | Self::Body | Self::BodyOf(_) => Stage::Body,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Envelope,
    /// The peer waits for the body.
    BodyDue,
    LoneDotDue,
    BodySending,
    AwaitingEnd,
    Done,
}

/// One mail transaction on a connection that has said EHLO.
#[derive(Debug)]
pub struct Transaction {
    /// Commands not yet written with what they ask for, in order: MAIL, each RCPT, and DATA unless BDAT is used.
    commands: VecDeque<(Awaited, Vec<u8>)>,
    awaited: VecDeque<Awaited>,
    batch_max: usize,
    use_bdat: bool,
    body_bytes: u64,
    passes_dsn: bool,
    phase: Phase,
    outcomes: Vec<Option<RecipientOutcome>>,
    /// Recipients that were taken, in their order.
    accepted: Vec<usize>,
    is_lmtp: bool,
    /// The peer accepted a recipient although it had refused MAIL.
    out_of_order: bool,
    mail_refused: bool,
    needs_reset: bool,
    connection_usable: bool,
    dot_sent: bool,
    is_ambiguous: bool,
}

impl Transaction {
    /// Prepares the dialogue. Fails when the peer cannot take the message at all; a single recipient that cannot be
    /// named to the peer gets an outcome of its own and the others go on.
    pub fn new(caps: &Capabilities, message: &OutgoingMessage) -> Result<Self, CannotSend> {
        let mail = commands::mail(caps, message)?;
        let mut queue = VecDeque::with_capacity(message.recipients.len() + 2);
        queue.push_back((Awaited::Mail, mail));
        let mut outcomes = Vec::with_capacity(message.recipients.len());
        let mut refused = None;
        let recipients_max = caps.rcpt_max.map_or(usize::MAX, |max| max as usize);
        for (index, recipient) in message.recipients.iter().enumerate() {
            let command = if queue.len() > recipients_max {
                let text = "host takes fewer recipients in one transaction";
                Err(CannotSend::new((4, 5, 3), text))
            } else if let Some(reason) = &recipient.kept_back {
                Err(reason.clone())
            } else {
                commands::rcpt(caps, recipient)
            };
            match command {
                Ok(command) => {
                    queue.push_back((Awaited::Rcpt(index), command));
                    outcomes.push(None);
                }
                Err(error) => {
                    outcomes.push(Some(RecipientOutcome::kept_back(&error)));
                    refused.get_or_insert(error);
                }
            }
        }
        if queue.len() == 1 {
            let none = || CannotSend::new((5, 5, 4), "message has no recipients");
            return Err(refused.unwrap_or_else(none));
        }
        let use_bdat = caps.chunking && message.prefer_bdat;
        if !use_bdat {
            queue.push_back((Awaited::Data, b"DATA\r\n".to_vec()));
        }
        Ok(Self {
            commands: queue,
            awaited: VecDeque::new(),
            batch_max: if caps.pipelining { IN_FLIGHT_MAX } else { 1 },
            use_bdat,
            body_bytes: message.body_bytes,
            passes_dsn: caps.dsn,
            phase: Phase::Envelope,
            outcomes,
            accepted: Vec::new(),
            is_lmtp: caps.lmtp,
            out_of_order: false,
            mail_refused: false,
            needs_reset: false,
            connection_usable: true,
            dot_sent: false,
            is_ambiguous: false,
        })
    }

    /// Whether the peer takes over the DSN parameters, so that success is the peer's to report (RFC 3461 section 5.2.2).
    pub fn passes_dsn(&self) -> bool {
        self.passes_dsn
    }

    /// Appends what is to be written and says what to do after writing it.
    pub fn poll(&mut self, out: &mut Vec<u8>) -> Next {
        if self.phase == Phase::Envelope && self.awaited.is_empty() {
            self.next_batch(out);
        }
        match self.phase {
            Phase::BodyDue => {
                if self.use_bdat {
                    out.extend_from_slice(format!("BDAT {} LAST\r\n", self.body_bytes).as_bytes());
                }
                self.phase = Phase::BodySending;
                match self.is_lmtp {
                    true => self
                        .awaited
                        .extend(self.accepted.iter().copied().map(Awaited::BodyOf)),
                    false => self.awaited.push_back(Awaited::Body),
                }
            }
            Phase::LoneDotDue => {
                out.extend_from_slice(b".\r\n");
                self.phase = Phase::AwaitingEnd;
                self.awaited.push_back(Awaited::LoneDot);
            }
            Phase::Envelope | Phase::BodySending | Phase::AwaitingEnd | Phase::Done => {}
        }
        match (self.phase, self.awaited.front()) {
            (Phase::Done, _) | (_, None) => Next::Done,
            (Phase::BodySending, _) if self.use_bdat => Next::SendBody(Framing::Counted),
            (Phase::BodySending, _) => Next::SendBody(Framing::Dotted),
            (_, Some(awaited)) => Next::NeedReply(awaited.stage()),
        }
    }

    /// All of the body is written, or may be: from here on the peer may take the message.
    pub fn final_dot(&mut self) {
        if self.phase == Phase::BodySending {
            self.phase = Phase::AwaitingEnd;
            self.dot_sent = true;
        }
    }

    /// Takes the next reply from the peer.
    pub fn on_reply(&mut self, reply: Reply) {
        if self.phase == Phase::Done {
            return;
        }
        let Some(awaited) = self.awaited.pop_front() else {
            // Nothing was asked. 421 may come at any time; anything else means that the dialogue is out of step.
            self.give_up(&reply, Stage::Other, true);
            return;
        };
        let stage = awaited.stage();
        let class = ReplyClass::of(stage, &reply);
        if let Awaited::BodyOf(index) = awaited {
            // Whatever it says, the replies for the others are still to come.
            self.on_end_of(index, class, reply);
            return;
        }
        let is_about_session = class.and_then(ReplyClass::scope) == Some(Scope::Connection);
        if is_about_session && !self.follows_from_refusals(awaited, &reply) {
            self.give_up(&reply, stage, true);
            return;
        }
        match awaited {
            Awaited::Mail => self.on_mail(class, &reply),
            Awaited::Rcpt(index) => self.on_rcpt(index, class, reply),
            Awaited::Data => self.on_data(class, &reply),
            Awaited::LoneDot => self.phase = Phase::Done,
            Awaited::Body => self.on_end(class, &reply),
            Awaited::BodyOf(index) => self.on_end_of(index, class, reply),
        }
    }

    /// The connection is gone or timed out. Recipients without an outcome are deferred with `reason`,
    /// a reply in our own words.
    pub fn on_closed(&mut self, reason: Reply) {
        if self.phase == Phase::Done {
            self.connection_usable = false;
            return;
        }
        let awaited = self.awaited.front().copied();
        let is_end = matches!(awaited, Some(Awaited::Body | Awaited::BodyOf(_)));
        self.is_ambiguous = self.dot_sent && is_end;
        let stage = awaited.map_or(Stage::Other, Awaited::stage);
        self.give_up(&reason, stage, false);
    }

    /// The result. A transaction that is not done counts as closed.
    pub fn outcome(mut self) -> TransactionOutcome {
        let unfinished = Reply::new(451, (4, 4, 2), "transaction ended before it was complete");
        if self.phase != Phase::Done {
            self.on_closed(unfinished.clone());
        }
        let settle = |outcome: Option<RecipientOutcome>| {
            outcome.unwrap_or_else(|| RecipientOutcome {
                class: ReplyClass::Deferred(Scope::Connection),
                reply: unfinished.clone(),
                stage: Stage::Other,
                from_peer: false,
            })
        };
        TransactionOutcome {
            recipients: self.outcomes.into_iter().map(settle).collect(),
            needs_reset: self.needs_reset,
            connection_usable: self.connection_usable,
            dot_sent: self.dot_sent,
            is_ambiguous: self.is_ambiguous,
        }
    }

    /// Writes the next commands, or leaves the envelope when there is nothing left to ask.
    fn next_batch(&mut self, out: &mut Vec<u8>) {
        if self.mail_refused {
            self.phase = Phase::Done;
            return;
        }
        for _ in 0..self.batch_max {
            let data_is_next = matches!(self.commands.front(), Some((Awaited::Data, _)));
            // With replies still to come, DATA goes along in the hope that one recipient is accepted.
            if data_is_next && self.accepted.is_empty() && !self.rcpt_awaited() {
                break;
            }
            let Some((awaited, command)) = self.commands.pop_front() else {
                break;
            };
            out.extend_from_slice(&command);
            self.needs_reset |= awaited == Awaited::Mail;
            self.awaited.push_back(awaited);
        }
        if self.awaited.is_empty() {
            let body_due = self.use_bdat && !self.accepted.is_empty();
            self.phase = if body_due {
                Phase::BodyDue
            } else {
                Phase::Done
            };
        }
    }

    /// Whether a refusal says no more than that what came before it was refused: with pipelining, commands that need it
    /// were on their way, and "503 need MAIL" or "503 no recipients" is what they get (RFC 2920 section 3.1).
    fn follows_from_refusals(&self, awaited: Awaited, reply: &Reply) -> bool {
        let nobody_is_accepted =
            matches!(awaited, Awaited::Data | Awaited::LoneDot) && self.accepted.is_empty();
        let is_refusal = reply.is_temporary() || reply.is_permanent();
        is_refusal && reply.code != 421 && (self.mail_refused || nobody_is_accepted)
    }

    fn rcpt_awaited(&self) -> bool {
        self.awaited.iter().any(|a| matches!(a, Awaited::Rcpt(_)))
    }

    fn on_mail(&mut self, class: Option<ReplyClass>, reply: &Reply) {
        if let Some(class) = class {
            self.mail_refused = true;
            self.decide_open(class, reply, Stage::Mail, true);
        }
    }

    fn on_rcpt(&mut self, index: usize, class: Option<ReplyClass>, reply: Reply) {
        match class {
            // The refusal of MAIL stays the recipient's outcome: it is the cause of what follows.
            _ if self.mail_refused => self.out_of_order |= class.is_none(),
            None => self.accepted.push(index),
            Some(class) => {
                self.outcomes[index] = Some(RecipientOutcome {
                    class,
                    reply,
                    stage: Stage::Rcpt,
                    from_peer: true,
                });
            }
        }
    }

    fn on_data(&mut self, class: Option<ReplyClass>, reply: &Reply) {
        match class {
            Some(class) => {
                self.decide_open(class, reply, Stage::Data, true);
                self.phase = Phase::Done;
            }
            None if !self.accepted.is_empty() => self.phase = Phase::BodyDue,
            // An empty message would reach those recipients, and an LMTP host would answer for each of none; only closing the
            // connection prevents it.
            None if self.out_of_order || self.is_lmtp => {
                self.connection_usable = false;
                self.phase = Phase::Done;
            }
            None => self.phase = Phase::LoneDotDue,
        }
    }

    fn on_end(&mut self, class: Option<ReplyClass>, reply: &Reply) {
        let early = self.phase == Phase::BodySending;
        match class {
            Some(class) if !(early && class == ReplyClass::Delivered) => {
                self.decide_open(class, reply, Stage::Body, true);
                // A peer that answers early still takes what follows as body: the connection cannot go on.
                self.connection_usable &= !early;
                self.needs_reset = early || class != ReplyClass::Delivered;
                self.phase = Phase::Done;
            }
            _ => self.give_up(reply, Stage::Body, true),
        }
    }

    /// What an LMTP host did with the message for one recipient. A reply about the session is about this recipient all the same:
    /// for others the message may be in their mailboxes already.
    fn on_end_of(&mut self, index: usize, class: Option<ReplyClass>, reply: Reply) {
        if self.phase == Phase::BodySending {
            // It took no whole message, and what follows is body to it.
            self.give_up(&reply, Stage::Body, true);
            return;
        }
        let class = match class {
            Some(ReplyClass::Delivered) => ReplyClass::Delivered,
            Some(ReplyClass::Failed(_)) => ReplyClass::Failed(Scope::Recipient),
            Some(ReplyClass::Deferred(_)) | None => ReplyClass::Deferred(Scope::Recipient),
        };
        self.connection_usable &= reply.code != 421;
        self.outcomes[index] = Some(RecipientOutcome {
            class,
            reply,
            stage: Stage::Body,
            from_peer: true,
        });
        if self.awaited.is_empty() {
            self.needs_reset = false;
            self.phase = Phase::Done;
        }
    }

    /// The connection is of no more use: everyone still open is deferred.
    fn give_up(&mut self, reply: &Reply, stage: Stage, from_peer: bool) {
        let class = ReplyClass::Deferred(Scope::Connection);
        self.decide_open(class, reply, stage, from_peer);
        self.connection_usable = false;
        self.phase = Phase::Done;
    }

    fn decide_open(&mut self, class: ReplyClass, reply: &Reply, stage: Stage, from_peer: bool) {
        for outcome in self.outcomes.iter_mut().filter(|o| o.is_none()) {
            *outcome = Some(RecipientOutcome {
                class,
                reply: reply.clone(),
                stage,
                from_peer,
            });
        }
    }
}

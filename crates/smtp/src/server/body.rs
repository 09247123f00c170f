//! Bodies: DATA and BDAT (RFC 3030), through one gate and under one limit.

use super::{Event, Mode, Question, ServerSession, Step, reply};
use crate::command::MailFrom;
use crate::line_ends::LineEndGate;
use crate::receive::DataReceiver;
use crate::reply::Reply;

/// A refused body is read to its end, so that its client hears why, up to so many times the length of the largest message.
/// A client that sends more does not wait for a reply.
const REFUSED_BODIES: u64 = 2;

/// The body under way.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Takes DATA apart; BDAT comes as it is.
    receiver: DataReceiver,
    gate: LineEndGate,
    /// Octets that came through the gate.
    bytes: u64,
    /// The rest is dropped, and this is the reply at the end. The shell was told that there is nothing to keep.
    refused: Option<Reply>,
    /// All octets that came, kept or dropped.
    came: u64,
}

impl Incoming {
    /// Passes octets on to what the message keeps.
    ///
    /// # Errors
    /// The message is refused. Which reply it is does not depend on how the body was cut: the gate gives out what came
    /// before a bare CR or LF, and no more.
    fn pass(&mut self, octets: Vec<u8>, is_end: bool, bytes_max: u64) -> Result<Vec<u8>, Reply> {
        let mut kept = Vec::new();
        let mut passed = self.gate.push(octets, &mut kept);
        if is_end && passed.is_ok() {
            passed = self.gate.finish(&mut kept);
        }
        self.bytes += kept.len() as u64;
        if self.bytes > bytes_max {
            let text = "The message is larger than the limit";
            return Err(reply(552, (5, 3, 4), text));
        }
        passed.map_err(|bare| bare.reply())?;
        Ok(kept)
    }
}

impl ServerSession {
    /// Whether octets of a body are due or between chunks, wanted or not.
    pub fn in_body(&self) -> bool {
        let of_body = matches!(
            self.mode,
            Mode::Data | Mode::Bdat { .. } | Mode::Skip { .. }
        );
        of_body || self.body.is_some()
    }

    /// Whether a body is under way that may become a message.
    pub fn takes_body(&self) -> bool {
        self.body
            .as_ref()
            .is_some_and(|body| body.refused.is_none())
    }

    pub(super) fn begin_body(&mut self, refused: Option<Reply>) {
        self.body = Some(Incoming {
            receiver: DataReceiver::new(),
            gate: LineEndGate::new(self.config.line_ends),
            bytes: 0,
            refused,
            came: 0,
        });
    }

    /// Chunks of a body came before the last one.
    pub(super) fn is_between_chunks(&self) -> bool {
        self.body.is_some()
    }

    pub(super) fn start_data(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        if self.is_between_chunks() || self.mail.is_none() {
            return self.refuse(&reply(503, (5, 5, 1), "DATA does not fit here"), out);
        }
        if self.recipients == 0 {
            return self.refuse(&reply(554, (5, 5, 1), "No valid recipients"), out);
        }
        self.mode = Mode::Waiting(Question::DataStart);
        Some(Step::Event(Event::BodyStart))
    }

    pub(super) fn start_bdat(&mut self, bytes: u64, last: bool) -> Option<Step> {
        if self.mail.is_none() || self.recipients == 0 {
            // The chunk comes whatever we say (RFC 3030 2), so it is read and dropped; it belongs to no message.
            self.mode = Mode::Skip {
                left: bytes,
                dropped: 0,
            };
            return None;
        }
        if self.is_between_chunks() {
            self.mode = Mode::Bdat { left: bytes, last };
            return None;
        }
        self.mode = Mode::Waiting(Question::BdatStart { bytes, last });
        Some(Step::Event(Event::BodyStart))
    }

    /// A stray chunk.
    pub(super) fn step_skip(&mut self, left: u64, dropped: u64, out: &mut Vec<u8>) -> Option<Step> {
        let (_, count) = self.take(left);
        if count == 0 && left > 0 {
            return Some(Step::NeedInput);
        }
        let (left, dropped) = (left - count, dropped + count);
        let refusal = reply(503, (5, 5, 1), "BDAT does not fit here");
        if dropped > self.config.limits.message_bytes {
            return Some(self.close(&refusal, out));
        }
        if left > 0 {
            self.mode = Mode::Skip { left, dropped };
            return None;
        }
        self.mode = Mode::Command;
        self.refuse(&refusal, out)
    }

    pub(super) fn step_data(&mut self, out: &mut Vec<u8>) -> Option<Step> {
        let rest = &self.input[self.used..];
        if rest.is_empty() {
            return Some(Step::NeedInput);
        }
        let mut octets = Vec::with_capacity(rest.len());
        let body = self.body.as_mut();
        let body = body.expect("DATA is only spoken while there is a body");
        let (used, is_end) = body.receiver.ingest(rest, &mut octets);
        self.used += used;
        self.body_part(octets, is_end, is_end, out)
    }

    pub(super) fn step_bdat(&mut self, left: u64, last: bool, out: &mut Vec<u8>) -> Option<Step> {
        let (octets, count) = self.take(left);
        if count == 0 && left > 0 {
            return Some(Step::NeedInput);
        }
        let left = left - count;
        self.mode = match left {
            0 => Mode::Command,
            left => Mode::Bdat { left, last },
        };
        self.body_part(octets, left == 0, left == 0 && last, out)
    }

    /// At most so many octets of what was read.
    fn take(&mut self, at_most: u64) -> (Vec<u8>, u64) {
        let rest = &self.input[self.used..];
        let count = usize::try_from(at_most)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let octets = rest[..count].to_vec();
        self.used += count;
        (octets, count as u64)
    }

    fn body_part(
        &mut self,
        octets: Vec<u8>,
        is_chunk_end: bool,
        is_end: bool,
        out: &mut Vec<u8>,
    ) -> Option<Step> {
        let bytes_max = self.config.limits.message_bytes;
        let body = self.body.as_mut();
        let body = body.expect("octets of a body only come while there is one");
        let aborted = || Some(Step::Event(Event::BodyAborted));
        let mut step = None;
        body.came += octets.len() as u64;
        if body.refused.is_none() {
            match body.pass(octets, is_end, bytes_max) {
                Ok(kept) if is_end => {
                    self.mode = Mode::BodyDone;
                    return (!kept.is_empty()).then_some(Step::Event(Event::Body(kept)));
                }
                Ok(kept) => step = (!kept.is_empty()).then_some(Step::Event(Event::Body(kept))),
                Err(refusal) => {
                    body.refused = Some(refusal);
                    self.errors += 1;
                    step = aborted();
                }
            }
        }
        let Some(refusal) = &body.refused else {
            if is_chunk_end {
                reply(250, (2, 0, 0), "Chunk received").write(out);
            }
            return step;
        };
        if body.came > bytes_max.saturating_mul(REFUSED_BODIES) {
            let (refusal, too_long) = (refusal.clone(), Some(Step::Close));
            self.close(&refusal, out);
            return step.or(too_long);
        }
        if is_chunk_end {
            refusal.write(out);
            self.mode = Mode::Command;
        }
        if is_end {
            self.forget_transaction();
        }
        if is_chunk_end && self.has_too_many_refusals() {
            let too_many = self.close(&reply(421, (4, 7, 0), "Too many errors"), out);
            return step.or(Some(too_many));
        }
        step
    }

    /// The whole body was handed over.
    pub(super) fn body_done(&mut self) -> Step {
        self.mode = Mode::Waiting(Question::BodyEnd);
        Step::Event(Event::BodyEnd)
    }

    /// Ends the transaction; the shell is told if it has part of a body.
    pub(super) fn end_transaction(&mut self) -> Option<Step> {
        let has_body = self.takes_body();
        self.forget_transaction();
        has_body.then_some(Step::Event(Event::BodyAborted))
    }

    pub(super) fn forget_transaction(&mut self) {
        self.mail = None;
        self.recipients = 0;
        self.body = None;
    }

    /// A client whose chunk was refused need not say RSET before its next message.
    pub(super) fn leave_refused_body(&mut self) {
        if self
            .body
            .as_ref()
            .is_some_and(|body| body.refused.is_some())
        {
            self.forget_transaction();
        }
    }

    /// The sender and parameters of the open transaction.
    pub fn transaction(&self) -> Option<&MailFrom> {
        self.mail.as_ref()
    }
}

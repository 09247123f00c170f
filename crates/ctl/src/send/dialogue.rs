//! A dialogue with the server as it stands: what it is for, what is known of the connection, and how its steps are told.

use std::time::{Duration, Instant};

use mail_send::Credentials;
use tokio_rustls::TlsConnector;

use super::advice::{self, Phase, Place};
use super::envelope::Envelope;
use super::problem::Problem;
use super::target::{Target, TlsMode};
use crate::smtp::fault::Fault;
use crate::smtp::reply::Reply;
use crate::smtp::steps::Steps;

/// A step that takes longer is given up: a person waits for it. RFC 5321 4.5.3.2 gives programs minutes.
const STEP: Duration = Duration::from_secs(30);
/// All that a submission needs.
pub struct Submission {
    pub target: Target,
    pub tls: TlsMode,
    pub connector: TlsConnector,
    /// The name that the certificate must have.
    pub tls_name: String,
    /// What is said at EHLO.
    pub ehlo: String,
    pub login: Option<Credentials<String>>,
    pub allows_plaintext_auth: bool,
    pub envelope: Envelope,
    pub message: Vec<u8>,
    /// All steps together end by then.
    pub until: Instant,
}

/// The message is the server's now.
#[derive(Debug)]
pub struct Accepted {
    /// As the reply names it; empty if the reply has no last word.
    pub id: String,
    /// Recipients that were refused, and what to do about that.
    pub refused: Vec<Refused>,
}

#[derive(Debug)]
pub struct Refused {
    pub recipient: String,
    pub reply: Reply,
    pub problem: Problem,
}

pub struct Dialogue<'a> {
    pub submission: &'a Submission,
    pub place: Place,
    pub steps: &'a mut Steps,
}

impl<'a> Dialogue<'a> {
    pub fn new(submission: &'a Submission, steps: &'a mut Steps) -> Self {
        Self {
            submission,
            place: Place {
                via: submission.target.to_string(),
                name: submission.tls_name.clone(),
                is_encrypted: false,
                has_login: false,
            },
            steps,
        }
    }

    /// Tells of the step, and of what is wrong with it.
    pub fn replied(
        &mut self,
        phase: Phase,
        name: &str,
        begun: Instant,
        result: Result<Reply, Fault>,
        note: &str,
    ) -> Result<Reply, Problem> {
        match result {
            Ok(reply) => {
                self.steps.done(name, begun, Some(reply.clone()), note);
                Ok(reply)
            }
            Err(fault) => Err(self.failed(phase, name, begun, fault, note)),
        }
    }

    pub fn failed(
        &mut self,
        phase: Phase,
        name: &str,
        begun: Instant,
        fault: Fault,
        note: &str,
    ) -> Problem {
        let (reply, why) = match &fault {
            Fault::Reply(reply) => (Some(reply.clone()), String::new()),
            fault => (None, fault.words()),
        };
        let notes = [note, why.as_str()].into_iter();
        let notes: Vec<&str> = notes.filter(|part| !part.is_empty()).collect();
        self.steps.done(name, begun, reply, &notes.join("  "));
        self.problem(phase, &fault)
    }

    /// Of a handshake only a failure is told here: what is under TLS is known when it has come to its end.
    pub fn shaken<C>(
        &mut self,
        phase: Phase,
        name: &str,
        begun: Instant,
        result: mail_send::Result<C>,
    ) -> Result<C, Problem> {
        result.map_err(|error| {
            let fault = Fault::from(error);
            self.failed(phase, name, begun, fault, "")
        })
    }

    pub fn problem(&self, phase: Phase, fault: &Fault) -> Problem {
        advice::problem(phase, fault, &self.place)
    }

    pub fn left(&self) -> Duration {
        self.submission
            .until
            .saturating_duration_since(Instant::now())
    }

    /// For the next step.
    ///
    /// # Errors
    /// There is no time left for it.
    pub fn limit(&self, phase: Phase) -> Result<Duration, Problem> {
        let left = self.left();
        match left.is_zero() {
            true => Err(Problem::new(
                format!("no time was left before {}", phase.name()),
                "give more with --timeout",
            )),
            false => Ok(STEP.min(left)),
        }
    }
}

//! A receiver, which verifies, remembers and answers as its mood is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skein_credential::SigningSecret;
use skein_model::DurationMs;
use skein_webhook::outcome::Outcome;
use skein_webhook::signature::{Received, TOLERANCE_SECONDS, verify};

use crate::log::draw;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Up,
    Down,
    /// Anything may happen.
    Random,
    Throttling,
}

impl Mood {
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Random, Self::Throttling];
}

#[derive(Debug)]
pub struct Request<'a> {
    pub id: &'a str,
    pub at_seconds: u64,
    pub signature: &'a str,
    pub body: &'a [u8],
    pub is_replay: bool,
}

#[derive(Debug)]
pub struct Receiver {
    pub mood: Mood,
    secrets: Vec<SigningSecret>,
    random: u64,
    /// Bodies by id.
    requests: BTreeMap<String, Vec<u8>>,
    /// Ids of events.
    seen: BTreeSet<String>,
    /// The number that came last, by message.
    last: BTreeMap<String, u64>,
    is_in_order: bool,
}

impl Receiver {
    pub fn new(secrets: Vec<SigningSecret>, random: u64) -> Self {
        Self {
            mood: Mood::Up,
            secrets,
            random,
            requests: BTreeMap::new(),
            seen: BTreeSet::new(),
            last: BTreeMap::new(),
            is_in_order: true,
        }
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.seen.clone()
    }

    /// Whether the events of each message came in order, those left out that came before.
    pub fn is_in_order(&self) -> bool {
        self.is_in_order
    }

    pub fn take(&mut self, request: &Request<'_>) -> Outcome {
        match self.mood {
            Mood::Up => self.keep(request),
            Mood::Down => failed("connection refused"),
            Mood::Throttling => answered(429, Some(draw(&mut self.random) % 600)),
            Mood::Random => match draw(&mut self.random) % 10 {
                0..4 => self.keep(request),
                // It has taken them, and its answer is lost.
                4 => {
                    self.keep(request);
                    failed("timeout")
                }
                5 => answered(503, None),
                6 => answered(502, Some(0)),
                7 => answered(301, None),
                8 => answered(400, None),
                _ => answered(500, Some(30)),
            },
        }
    }

    fn keep(&mut self, request: &Request<'_>) -> Outcome {
        let timestamp = request.at_seconds.to_string();
        let received = Received {
            id: request.id,
            timestamp: &timestamp,
            signature: request.signature,
        };
        let verified = verify(
            &self.secrets,
            received,
            request.body,
            request.at_seconds + 1,
            TOLERANCE_SECONDS,
        );
        verified.unwrap();
        let known = self.requests.entry(request.id.to_owned());
        let known = known.or_insert_with(|| request.body.to_vec());
        assert_eq!(
            known, request.body,
            "{} has other octets than before",
            request.id
        );
        let body: Value = serde_json::from_slice(request.body).unwrap();
        let events = match body["type"] == "batch" {
            true => body["data"].as_array().unwrap().clone(),
            false => vec![body],
        };
        for event in events {
            self.event(&event["data"], request.is_replay);
        }
        answered(204, None)
    }

    fn event(&mut self, event: &Value, is_replay: bool) {
        let is_new = self.seen.insert(event["id"].as_str().unwrap().to_owned());
        let message = event["message"].as_str().unwrap().to_owned();
        let seq = event["seq"].as_u64().unwrap();
        let last = self.last.entry(message).or_default();
        if is_new && !is_replay {
            self.is_in_order &= *last < seq;
            *last = seq;
        }
    }
}

fn failed(text: &str) -> Outcome {
    Outcome::Failed { text: text.into() }
}

fn answered(status: u16, seconds: Option<u64>) -> Outcome {
    Outcome::Answered {
        status,
        retry_after: seconds.map(DurationMs::from_secs),
        text: "so it is".into(),
    }
}

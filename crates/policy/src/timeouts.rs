//! How long a sender waits for a host (RFC 5321 4.5.3.2).

use std::ops::RangeInclusive;
use std::sync::Arc;

use skein_model::DurationMs;

use crate::limits::value;
use crate::place::{At, Origin};
use crate::read::{Keys, Reader};
use crate::span;
use crate::write::Map;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: DurationMs,
    /// For the greeting and for the reply to each command.
    pub command: DurationMs,
    /// For the host to take the next part of a message.
    pub data: DurationMs,
    /// For the reply to the final dot.
    pub dot: DurationMs,
    /// How long a connection without a message is kept.
    pub idle: DurationMs,
}

impl Default for Timeouts {
    /// Those of RFC 5321 4.5.3.2, and what it leaves open.
    fn default() -> Self {
        Self {
            // Longer than it takes a loaded host's queue of connections.
            connect: DurationMs::from_secs(60),
            command: DurationMs::from_secs(5 * 60),
            data: DurationMs::from_secs(3 * 60),
            dot: DurationMs::from_secs(10 * 60),
            // Below what hosts wait for a command.
            idle: DurationMs::from_secs(60),
        }
    }
}

/// What a resource says of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TimeoutsGiven {
    connect: Option<At<DurationMs>>,
    command: Option<At<DurationMs>>,
    data: Option<At<DurationMs>>,
    dot: Option<At<DurationMs>>,
    idle: Option<At<DurationMs>>,
}

/// A host that has the whole message and is not heard may deliver it, and gets it again: below this that is common.
const DOT_SECONDS_MIN: u64 = 60;
/// A connection is a place in the limits of a site.
const SECONDS_MAX: u64 = 1800;

impl TimeoutsGiven {
    pub fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        let Some(mut keys) = keys.map(reader, "timeouts") else {
            return Self::default();
        };
        let given = Self {
            connect: keys.value(reader, "connect", |text| seconds(text, 1..=SECONDS_MAX)),
            command: keys.value(reader, "command", |text| seconds(text, 1..=SECONDS_MAX)),
            data: keys.value(reader, "data", |text| seconds(text, 1..=SECONDS_MAX)),
            dot: keys.value(reader, "dot", dot),
            idle: keys.value(reader, "idle", |text| seconds(text, 0..=SECONDS_MAX)),
        };
        keys.finish(reader);
        given
    }

    #[must_use]
    pub fn over(&self, base: &Self) -> Self {
        let or = |own: &Option<At<DurationMs>>, base: &Option<At<DurationMs>>| {
            own.as_ref().or(base.as_ref()).cloned()
        };
        Self {
            connect: or(&self.connect, &base.connect),
            command: or(&self.command, &base.command),
            data: or(&self.data, &base.data),
            dot: or(&self.dot, &base.dot),
            idle: or(&self.idle, &base.idle),
        }
    }

    /// Who says each span.
    pub fn origins(&self) -> impl Iterator<Item = &Arc<Origin>> {
        let spans = [
            &self.connect,
            &self.command,
            &self.data,
            &self.dot,
            &self.idle,
        ];
        spans.into_iter().flatten().map(|at| &at.origin)
    }

    pub fn timeouts(&self) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            connect: value(&self.connect).unwrap_or(default.connect),
            command: value(&self.command).unwrap_or(default.command),
            data: value(&self.data).unwrap_or(default.data),
            dot: value(&self.dot).unwrap_or(default.dot),
            idle: value(&self.idle).unwrap_or(default.idle),
        }
    }

    pub fn write(&self) -> Map {
        let text = |at: &Option<At<DurationMs>>| value(at).map(span::text);
        Map::default()
            .set_if("connect", text(&self.connect))
            .set_if("command", text(&self.command))
            .set_if("data", text(&self.data))
            .set_if("dot", text(&self.dot))
            .set_if("idle", text(&self.idle))
    }
}

fn seconds(text: &str, range: RangeInclusive<u64>) -> Result<DurationMs, String> {
    let span = span::parse(text)?;
    let (least, most) = (range.start(), range.end() / 60);
    match range.contains(&(span.0 / 1000)) {
        true => Ok(span),
        false => Err(format!("must be from {least}s to {most}m")),
    }
}

fn dot(text: &str) -> Result<DurationMs, String> {
    match span::parse(text)? {
        span if span < DurationMs::from_secs(DOT_SECONDS_MIN) => Err(format!(
            "must be {DOT_SECONDS_MIN}s or more: a host that is slow to answer would get the message twice \
             (RFC 5321 asks for 10m)"
        )),
        _ => seconds(text, DOT_SECONDS_MIN..=SECONDS_MAX),
    }
}

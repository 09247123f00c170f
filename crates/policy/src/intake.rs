//! How much mail somebody may hand in: in a time, in one message, and waiting in all.

use crate::limits::{read_rates, write_rates};
use crate::place::At;
use crate::rate::Rate;
use crate::read::{Keys, Reader};
use crate::size::Size;
use crate::write::Map;

/// More than a node takes in one transaction.
const RECIPIENTS_MAX: u32 = 100_000;
/// More tasks, or recipients, than the disks of a cluster hold.
const TASKS_MAX: u64 = 1_000_000_000_000;

/// Of mail that is handed in, on all nodes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntakeRates {
    /// All of them hold; shortest time first.
    pub messages: Vec<At<Rate>>,
    pub recipients: Vec<At<Rate>>,
    pub recipients_per_message: Option<At<u32>>,
}

impl IntakeRates {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        let Some(mut keys) = keys.map(reader, "rates") else {
            return Self::default();
        };
        let rates = Self {
            messages: read_rates(reader, &mut keys, "messages"),
            recipients: read_rates(reader, &mut keys, "recipients"),
            recipients_per_message: keys.whole(
                reader,
                "recipients_per_message",
                1..=RECIPIENTS_MAX,
            ),
        };
        keys.finish(reader);
        rates
    }

    pub(crate) fn write(&self) -> Map {
        let map = write_rates(Map::default(), "messages", &self.messages);
        let map = write_rates(map, "recipients", &self.recipients);
        let most = self.recipients_per_message.as_ref();
        map.set_if("recipients_per_message", most.map(|at| at.value))
    }
}

/// Of mail that waits, in all of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quota {
    /// Tasks: what goes to one site of one message.
    pub tasks: Option<u64>,
    /// Recipients that are neither delivered to nor given up.
    pub recipients: Option<u64>,
    /// Octets of messages that have such recipients, each counted once.
    pub bytes: Option<u64>,
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Tasks,
    Recipients,
    Bytes,
}

impl Held {
    pub const ALL: [Self; 3] = [Self::Tasks, Self::Recipients, Self::Bytes];

    /// As the policy has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Recipients => "recipients",
            Self::Bytes => "bytes",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|held| held.name() == name)
    }
}

impl Quota {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        let Some(mut keys) = keys.map(reader, "quota") else {
            return Self::default();
        };
        let tasks = keys.whole(reader, "tasks", 1..=TASKS_MAX);
        let recipients = keys.whole(reader, "recipients", 1..=TASKS_MAX);
        let bytes = keys.value(reader, "bytes", bytes);
        keys.finish(reader);
        Self {
            tasks: tasks.map(|tasks| tasks.value),
            recipients: recipients.map(|recipients| recipients.value),
            bytes: bytes.map(|bytes| bytes.value),
        }
    }

    /// How much there may be.
    pub fn most(&self, held: Held) -> Option<u64> {
        match held {
            Held::Tasks => self.tasks,
            Held::Recipients => self.recipients,
            Held::Bytes => self.bytes,
        }
    }

    /// Whether it counts what nodes of a version before did not.
    pub fn has_sizes(&self) -> bool {
        self.recipients.is_some() || self.bytes.is_some()
    }

    pub(crate) fn write(&self) -> Map {
        Map::default()
            .set_if("tasks", self.tasks)
            .set_if("recipients", self.recipients)
            .set_if("bytes", self.bytes.map(Size))
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    match text.parse::<Size>()?.0 {
        0 => Err("must be more than nothing: leave the key out for no quota".into()),
        bytes => Ok(bytes),
    }
}

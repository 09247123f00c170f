//! How much mail somebody may hand in: in a time, in one message, and waiting in all.

use crate::limits::{read_rates, write_rates};
use crate::place::At;
use crate::rate::Rate;
use crate::read::{Keys, Reader};
use crate::write::Map;

/// More than a node takes in one transaction.
const RECIPIENTS_MAX: u32 = 100_000;
/// More tasks than the disks of a cluster hold.
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
}

impl Quota {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Self {
        let Some(mut keys) = keys.map(reader, "quota") else {
            return Self::default();
        };
        let tasks = keys.whole(reader, "tasks", 1..=TASKS_MAX);
        keys.finish(reader);
        Self {
            tasks: tasks.map(|tasks| tasks.value),
        }
    }

    pub(crate) fn write(&self) -> Map {
        Map::default().set_if("tasks", self.tasks)
    }
}

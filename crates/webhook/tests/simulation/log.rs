//! The event logs of some groups, bounded as they are.

use std::collections::BTreeSet;

use skein_model::{GroupId, MessageId, UnixMs};
use skein_webhook::endpoint::Endpoint;
use skein_webhook::event::{Event, EventId, EventType};
use skein_webhook::progress::LogBounds;

pub const GROUPS: usize = 2;
const MESSAGES: u64 = 5;

#[derive(Debug, Clone)]
pub struct Row {
    pub seq: u64,
    group: GroupId,
    at: UnixMs,
    kind: EventType,
    tenant: &'static str,
    json: String,
}

impl Row {
    pub fn event(&self) -> Event<'_> {
        Event {
            id: EventId::new(self.at, self.group, self.seq),
            seq: self.seq,
            group: self.group,
            kind: self.kind,
            at: self.at,
            tenant: self.tenant,
            stream: None,
            message: MessageId::new(UnixMs(0), self.group, self.seq % MESSAGES),
            json: &self.json,
        }
    }
}

/// All rows that there ever were, and where each log begins by now.
#[derive(Debug)]
pub struct Log {
    rows: [Vec<Row>; GROUPS],
    oldest: [u64; GROUPS],
    random: u64,
}

/// SplitMix64.
pub fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Log {
    pub fn new(random: u64) -> Self {
        Self {
            rows: Default::default(),
            oldest: [1; GROUPS],
            random,
        }
    }

    pub fn append(&mut self, count: u8, at: UnixMs) {
        for _ in 0..count {
            let group = draw(&mut self.random) as usize % GROUPS;
            let kind = EventType::ALL[draw(&mut self.random) as usize % EventType::ALL.len()];
            let padding = "x".repeat(draw(&mut self.random) as usize % 1500);
            let seq = self.rows[group].len() as u64 + 1;
            let number = GroupId(group as u16 + 1);
            let id = EventId::new(at, number, seq);
            let message = MessageId::new(UnixMs(0), number, seq % MESSAGES);
            self.rows[group].push(Row {
                seq,
                group: number,
                at,
                kind,
                tenant: ["shop", "other"][draw(&mut self.random) as usize % 2],
                json: format!(
                    r#"{{"id":"{id}","seq":{seq},"message":"{message}","padding":"{padding}"}}"#
                ),
            });
        }
    }

    pub fn forget(&mut self, kept: u64) {
        for group in 0..GROUPS {
            let next = self.bounds(group).next;
            self.oldest[group] = self.oldest[group].max(next.saturating_sub(kept));
        }
    }

    pub fn bounds(&self, group: usize) -> LogBounds {
        LogBounds {
            oldest: self.oldest[group],
            next: self.rows[group].len() as u64 + 1,
        }
    }

    /// What is left of the rows from `first` to `last`.
    pub fn read(&self, group: usize, first: u64, last: u64) -> Vec<Row> {
        let rows = self.rows[group].iter();
        let first = first.max(self.oldest[group]);
        rows.filter(|row| (first..=last).contains(&row.seq))
            .cloned()
            .collect()
    }

    /// The numbers of what has happened since.
    pub fn since(&self, group: usize, at: UnixMs) -> Option<(u64, u64)> {
        let mut rows = self.rows[group].iter().filter(|row| row.at >= at);
        let first = rows.next()?.seq;
        Some((first, self.rows[group].len() as u64))
    }

    pub fn wanted_of(&self, group: usize, endpoint: &Endpoint) -> BTreeSet<String> {
        let events = self.rows[group].iter().map(Row::event);
        let taken = events.filter(|event| endpoint.filter.takes(event));
        taken.map(|event| event.id.to_string()).collect()
    }

    pub fn wanted(&self, endpoint: &Endpoint) -> BTreeSet<String> {
        (0..GROUPS)
            .flat_map(|group| self.wanted_of(group, endpoint))
            .collect()
    }
}

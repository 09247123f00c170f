//! Spool groups that this node leads.

use std::fmt;

use skein_model::UnixMs;
use skein_model::spool::{StateRow, query};

use super::page::{Page, age, group_label};
use crate::spool::SpoolGroup;
use crate::{Control, clock};

struct Led<'a> {
    name: String,
    spool: &'a SpoolGroup,
    state: StateRow,
}

impl Led<'_> {
    /// When the oldest event was that no sink has taken.
    fn first_event(&self) -> Option<UnixMs> {
        let events = query::events(&self.spool.reader, self.state.first_seq, 1);
        events.first().map(|event| event.at)
    }
}

pub fn encode(page: &mut Page<'_>, control: &Control) -> fmt::Result {
    let led = control
        .spools
        .iter()
        .filter(|(_, spool)| spool.dispatch.leads());
    let led: Vec<Led<'_>> = led
        .map(|(id, spool)| Led {
            name: group_label(*id),
            state: query::state(&spool.reader),
            spool,
        })
        .collect();
    let of = |value: fn(&Led<'_>) -> u64| {
        let led = led.iter();
        led.map(move |one| ([("group", one.name.as_str())], value(one)))
    };
    page.gauges(
        "skein_spool_messages",
        "Messages with open recipients.",
        of(|one| one.state.open_messages),
    )?;
    page.gauges(
        "skein_spool_tasks",
        "Tasks with open recipients.",
        of(|one| one.state.open_tasks),
    )?;
    page.gauges(
        "skein_spool_body_bytes",
        "Bytes of open messages.",
        of(|one| one.state.open_body_bytes),
    )?;
    page.gauges(
        "skein_spool_tasks_in_flight",
        "Tasks that are out at senders.",
        of(|one| one.spool.dispatch.in_flight() as u64),
    )?;
    page.gauges(
        "skein_spool_sessions_awaited",
        "Sessions that a new leader waits for before it hands tasks out.",
        of(|one| one.spool.dispatch.absent().len() as u64),
    )?;
    page.gauges(
        "skein_event_lag_events",
        "Events that the sink has not taken.",
        of(|one| one.state.next_seq.saturating_sub(one.state.first_seq)),
    )?;
    let now = clock::now();
    page.gauges(
        "skein_event_lag_seconds",
        "Age of the oldest event that the sink has not taken.",
        led.iter().map(|one| {
            let age = one.first_event().map_or(0.0, |at| age(now, at));
            ([("group", one.name.as_str())], age)
        }),
    )
}

//! The limits block, which IPs, pools, providers and tenants share.

use std::fmt::Display;
use std::sync::Arc;

use skein_model::DurationMs;

use crate::place::{At, Origin};
use crate::rate::Rate;
use crate::read::{Keys, Reader};
use crate::write::Map;

/// More connections than one address has ports.
pub const CONNECTIONS_MAX: u32 = 65_535;
/// One for each unit of time, and none twice.
const MESSAGE_RATES_MAX: usize = 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open at the same time.
    pub connections: Option<At<u32>>,
    /// New connections.
    pub connection_rate: Option<At<Rate>>,
    /// All of them hold; shortest time first.
    pub message_rate: Vec<At<Rate>>,
}

impl Limits {
    pub fn is_empty(&self) -> bool {
        self.connections.is_none() && self.connection_rate.is_none() && self.message_rate.is_empty()
    }

    /// What `self` does not say is as in `base`.
    #[must_use]
    pub(crate) fn over(&self, base: &Self) -> Self {
        Self {
            connections: self
                .connections
                .as_ref()
                .or(base.connections.as_ref())
                .cloned(),
            connection_rate: self
                .connection_rate
                .as_ref()
                .or(base.connection_rate.as_ref())
                .cloned(),
            message_rate: match self.message_rate.is_empty() {
                true => base.message_rate.clone(),
                false => self.message_rate.clone(),
            },
        }
    }

    /// Who says each figure.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &Arc<Origin>> {
        let connections = self.connections.as_ref().map(|at| &at.origin);
        let connection_rate = self.connection_rate.as_ref().map(|at| &at.origin);
        let rates = self.message_rate.iter().map(|at| &at.origin);
        connections.into_iter().chain(connection_rate).chain(rates)
    }

    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>, key: &'static str) -> Self {
        let Some(mut keys) = keys.map(reader, key) else {
            return Self::default();
        };
        let connections = keys.whole(reader, "connections", 1..=CONNECTIONS_MAX);
        let connection_rate = keys.value(reader, "connection_rate", str::parse);
        let message_rate = read_rates(reader, &mut keys, "message_rate");
        keys.finish(reader);
        Self {
            connections,
            connection_rate,
            message_rate,
        }
    }

    pub(crate) fn write(&self) -> Map {
        let map = Map::default()
            .set_if("connections", value(&self.connections))
            .set_if("connection_rate", value(&self.connection_rate));
        write_rates(map, "message_rate", &self.message_rate)
    }
}

/// Rates that all hold, the shortest time first.
pub(crate) fn read_rates(
    reader: &mut Reader,
    keys: &mut Keys<'_>,
    key: &'static str,
) -> Vec<At<Rate>> {
    let rates = keys.list(reader, key, MESSAGE_RATES_MAX, str::parse);
    let mut rates: Vec<At<Rate>> = rates.unwrap_or_default();
    rates.sort_by_key(|rate| rate.value.per);
    check_together(reader, &rates);
    rates
}

/// A single rate stands by itself.
pub(crate) fn write_rates(map: Map, key: &str, rates: &[At<Rate>]) -> Map {
    let values = rates.iter().map(|rate| rate.value);
    match rates.len() {
        1 => values.fold(map, |map, rate| map.set(key, rate)),
        _ => map.list(key, values),
    }
}

pub(crate) fn value<T: Copy>(at: &Option<At<T>>) -> Option<T> {
    at.as_ref().map(|at| at.value)
}

/// Each of several rates must be able to make a difference.
fn check_together(reader: &mut Reader, rates: &[At<Rate>]) {
    for pair in rates.windows(2) {
        let (short, long) = (&pair[0], &pair[1]);
        if let Some(message) = conflict(short.value, long.value) {
            let line = short.origin.place.line.max(long.origin.place.line);
            reader.fault(line, &long.origin.key, message);
        }
    }
}

fn conflict(short: Rate, long: Rate) -> Option<String> {
    if short.per == long.per {
        return Some(format!(
            "{short} and {long} are about the same time: leave one out"
        ));
    }
    if long.count < short.at_once() {
        return Some(format!(
            "{long} is less than the {} that {short} lets through at once: lower that, or give it a burst",
            short.at_once()
        ));
    }
    // A window of the longer time may begin with what was saved up for a burst.
    let most = short.most_in(long.per).saturating_add(short.at_once());
    if long.count >= most {
        return Some(format!(
            "{long} is never reached, because {short} is at most {most} in that time: leave it out or lower it"
        ));
    }
    None
}

/// A limit of one IP at a site that is above that of all IPs does nothing.
pub(crate) fn check_below(reader: &mut Reader, per_ip: &Limits, total: &Limits) {
    if let (Some(ip), Some(all)) = (&per_ip.connections, &total.connections) {
        fault_if_above(reader, ip, all, ip.value > all.value, "connections");
    }
    let is_above = |ip: &At<Rate>, all: &At<Rate>| {
        ip.value.per == all.value.per && ip.value.count > all.value.count
    };
    if let (Some(ip), Some(all)) = (&per_ip.connection_rate, &total.connection_rate) {
        fault_if_above(reader, ip, all, is_above(ip, all), "connection_rate");
    }
    for ip in &per_ip.message_rate {
        for all in &total.message_rate {
            fault_if_above(reader, ip, all, is_above(ip, all), "message_rate");
        }
    }
}

/// A figure that another source says is not this one's fault, and does no harm.
fn fault_if_above<T: Display>(
    reader: &mut Reader,
    ip: &At<T>,
    all: &At<T>,
    is_above: bool,
    key: &str,
) {
    let origin = &ip.origin;
    if !is_above || origin.place.source != reader.place.source {
        return;
    }
    let (ip, all) = (&ip.value, &all.value);
    let message = format!(
        "{ip} for one IP is above total.{key}, {all} for all IPs: lower it or leave it out"
    );
    reader.fault(origin.place.line, &origin.key, message);
}

/// The days of warm-up and the windows of thresholds count in this.
pub(crate) const DAY: DurationMs = DurationMs::from_secs(86_400);

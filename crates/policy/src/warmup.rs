//! Warm-ups: which IPs are new, and how their volume grows.

use std::sync::Arc;

use crate::names::resource_name;
use crate::place::{At, Origin};
use crate::pool::MEMBERS_MAX;
use crate::provider::DEFAULT;
use crate::rate::COUNT_MAX;
use crate::read::{Keys, Reader, scalar, whole, whole_shape};
use crate::schedule::Schedule;
use crate::write::Map;

/// More providers than receive a measurable share of anybody's mail.
const SHARES_MAX: usize = 64;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// A provider with a small share still gets enough to form an opinion.
const FLOOR_DEFAULT: u64 = 20;
const DEFERRAL_MAX_DEFAULT: u8 = 10;
const DELIVERED_MIN_DEFAULT: u8 = 90;
/// Receivers forget an IP that they have not heard of for about a month.
const REWARM_DAYS_DEFAULT: u32 = 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warmup {
    pub name: Arc<str>,
    pub target: Target,
    pub schedule: Schedule,
    /// Percent of a day's volume that goes to a provider; what is left is for all others.
    pub shares: Vec<Share>,
    /// Messages a day that each provider gets at least.
    pub floor: u64,
    /// Whether it is a sending day, Monday first.
    pub days: [bool; 7],
    /// Minutes that the days' midnights are before those of UTC.
    pub utc_offset_minutes: i32,
    /// With more deferrals than this the stage is held.
    pub deferral_max_percent: u8,
    /// With less than this delivered of a stage's volume the stage is held.
    pub delivered_min_percent: u8,
    /// An IP that was idle for so long begins again.
    pub rewarm_after_days: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Ips(Vec<At<String>>),
    /// All members that the pool has.
    Pool(At<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub provider: String,
    pub percent: u8,
    pub origin: Arc<Origin>,
}

impl Warmup {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        let target = read_target(reader, keys);
        let schedule = Schedule::read(reader, keys).unwrap_or_default();
        let shares = read_shares(reader, keys);
        let floor = keys.whole(reader, "floor", 0..=COUNT_MAX);
        let days = read_days(reader, keys);
        let offset = keys.value(reader, "utc_offset", offset);
        let deferral = keys.whole(reader, "deferral_max_percent", 0..=100);
        let delivered = keys.whole(reader, "delivered_min_percent", 0..=100);
        let rewarm = keys.whole(reader, "rewarm_after_days", 1..=3650);
        Some(Self {
            name: Arc::clone(&reader.name),
            target: target?,
            schedule,
            shares,
            floor: floor.map_or(FLOOR_DEFAULT, |floor| floor.value),
            days,
            utc_offset_minutes: offset.map_or(0, |offset| offset.value),
            deferral_max_percent: deferral.map_or(DEFERRAL_MAX_DEFAULT, |percent| percent.value),
            delivered_min_percent: delivered.map_or(DELIVERED_MIN_DEFAULT, |percent| percent.value),
            rewarm_after_days: rewarm.map_or(REWARM_DAYS_DEFAULT, |days| days.value),
        })
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        let map = match &self.target {
            Target::Ips(ips) => map.list("ips", ips.iter().map(|ip| &ip.value)),
            Target::Pool(pool) => map.set("pool", &pool.value),
        };
        let shares = self.shares.iter();
        let shares = shares.fold(Map::default(), |map, share| {
            map.set(&share.provider, share.percent)
        });
        let days = DAYS.iter().zip(self.days);
        let days = days.filter(|(_, is_sending)| *is_sending && self.days != [true; 7]);
        map.put("schedule", self.schedule.write())
            .map("providers", shares)
            .set("floor", self.floor)
            .list("days", days.map(|(day, _)| day))
            .set("utc_offset", offset_text(self.utc_offset_minutes))
            .set("deferral_max_percent", self.deferral_max_percent)
            .set("delivered_min_percent", self.delivered_min_percent)
            .set("rewarm_after_days", self.rewarm_after_days)
    }
}

fn read_target(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Target> {
    let ips = keys.list(reader, "ips", MEMBERS_MAX, resource_name);
    let pool = keys.value(reader, "pool", resource_name);
    let has_ips = ips.as_ref().is_some_and(|ips| !ips.is_empty());
    if has_ips == pool.is_some() {
        let line = keys.line_of("pool").unwrap_or(keys.line);
        reader.fault(line, "", "must have either ips: [...] or pool: name");
        return None;
    }
    pool.map(Target::Pool).or(ips.map(Target::Ips))
}

fn read_shares(reader: &mut Reader, keys: &mut Keys<'_>) -> Vec<Share> {
    let Some(inner) = keys.map(reader, "providers") else {
        return Vec::new();
    };
    inner.record_names(|| whole_shape(&(1..=100)));
    let path = keys.path("providers");
    let mut shares = Vec::new();
    for entry in inner.entries() {
        let key = inner.path(&crate::shown::shown(&entry.key));
        if let Err(message) = share_name(&entry.key) {
            reader.fault(entry.line, &key, message);
            continue;
        }
        let percent = scalar(reader, &key, &entry.node, |text| whole(text, &(1..=100)));
        shares.extend(percent.map(|percent| Share {
            provider: entry.key.clone(),
            percent,
            origin: Arc::new(reader.origin(entry.line, &key)),
        }));
    }
    if shares.len() > SHARES_MAX {
        let message = format!("has {} entries: {SHARES_MAX} at most", shares.len());
        reader.fault(inner.line, &path, message);
    }
    let sum: u32 = shares.iter().map(|share| u32::from(share.percent)).sum();
    if sum > 100 {
        reader.fault(
            inner.line,
            &path,
            format!("add up to {sum} percent: 100 at most"),
        );
    }
    shares
}

fn share_name(text: &str) -> Result<String, String> {
    match text {
        DEFAULT => Err("has what the others leave: leave it out".into()),
        text => resource_name(text),
    }
}

fn read_days(reader: &mut Reader, keys: &mut Keys<'_>) -> [bool; 7] {
    let day = |text: &str| {
        let nth = DAYS.iter().position(|day| *day == text);
        nth.ok_or_else(|| format!("must be of {}", DAYS.join(", ")))
    };
    let Some(given) = keys.list(reader, "days", DAYS.len(), day) else {
        return [true; 7];
    };
    if keys.is_empty_list("days") {
        let line = keys.line_of("days").unwrap_or(keys.line);
        reader.fault(
            line,
            "days",
            "is empty: name a day, or leave it out for all",
        );
    }
    let mut days = [false; 7];
    for day in given {
        if std::mem::replace(&mut days[day.value], true) {
            let message = format!("names {} twice: leave one out", DAYS[day.value]);
            reader.fault(day.origin.place.line, "days", message);
        }
    }
    days
}

/// `+01:00`, as far as the world's time zones go.
fn offset(text: &str) -> Result<i32, String> {
    let message = "must be from -12:00 to +14:00, such as +01:00";
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(message.into()),
    };
    let (hours, minutes) = text[1..].split_once(':').ok_or(message)?;
    let two_digits = |part: &str, most: i32| {
        (part.len() == 2)
            .then(|| whole(part, &(0..=most)).ok())
            .flatten()
    };
    let hours = two_digits(hours, 14).ok_or(message)?;
    let minutes = two_digits(minutes, 59).ok_or(message)?;
    let offset = sign * (hours * 60 + minutes);
    match (-12 * 60..=14 * 60).contains(&offset) {
        true => Ok(offset),
        false => Err(message.into()),
    }
}

fn offset_text(minutes: i32) -> String {
    let sign = match minutes < 0 {
        true => '-',
        false => '+',
    };
    let minutes = minutes.abs();
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_written() {
        for (text, minutes) in [
            ("+00:00", Some(0)),
            ("+01:00", Some(60)),
            ("-03:30", Some(-210)),
            ("+14:00", Some(840)),
            ("-12:00", Some(-720)),
            ("-12:01", None),
            ("+14:01", None),
            ("+1:00", None),
            ("01:00", None),
            ("+01", None),
            ("+01:60", None),
            ("+é", None),
            ("", None),
        ] {
            assert_eq!(offset(text).ok(), minutes, "{text}");
            if let Some(minutes) = minutes {
                assert_eq!(offset_text(minutes), text);
            }
        }
    }
}

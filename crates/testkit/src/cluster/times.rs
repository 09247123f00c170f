//! How long things took, read from what clients and sinks saw.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::load::Injected;
use crate::sink::Record;

/// A site that had no mail for this long before is no witness.
const RECENT_MS: u64 = 5_000;

/// A sender that brings mail no more, or not for some time.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    pub sender: IpAddr,
    pub began_ms: u64,
    /// What it brings after this counts again.
    pub ended_ms: u64,
}

/// From the beginning of a silence until all sites that had their mail from that sender have some again. `None` if there
/// was no such site. One that never has mail again had none to come: what is acknowledged and does not arrive is lost, and
/// judged as that.
pub fn flows_again<R: Borrow<Record>>(
    records: &[R],
    witnesses: &[IpAddr],
    silence: Silence,
) -> Option<Duration> {
    let Silence {
        sender,
        began_ms,
        ended_ms,
    } = silence;
    let mut sites: BTreeMap<IpAddr, Vec<(u64, IpAddr)>> = BTreeMap::new();
    for record in records.iter().map(Borrow::borrow) {
        if record.accepted && witnesses.contains(&record.local.ip()) {
            let copies = sites.entry(record.local.ip()).or_default();
            copies.push((record.at_ms, record.peer.ip()));
        }
    }
    let waits = sites.into_values().filter_map(|mut copies| {
        copies.sort_unstable();
        let split = copies.partition_point(|(at, _)| *at < began_ms);
        let (before, after) = copies.split_at(split);
        let last = before.last()?;
        if last.1 != sender || last.0 + RECENT_MS < began_ms {
            return None;
        }
        let mut after = after.iter();
        let (first, _) = after.find(|(at, peer)| *peer != sender || *at > ended_ms)?;
        Some(first - began_ms)
    });
    waits.max().map(Duration::from_millis)
}

/// From a moment until each of these groups has acknowledged a message that was begun after it.
pub fn accepted_again(
    injected: &[Injected],
    groups: &[u32],
    began_ms: u64,
    now_ms: u64,
) -> Option<Duration> {
    let acked: Vec<(Queued, u64)> = injected
        .iter()
        .filter_map(|message| Some((queued(message)?, message.answered_at_ms)))
        .filter(|(queued, _)| queued.at_ms >= began_ms)
        .collect();
    let waits = groups.iter().map(|group| {
        let of_group = acked.iter().filter(|(queued, _)| queued.group == *group);
        let first = of_group.map(|(_, at)| *at).min();
        first.unwrap_or(now_ms).saturating_sub(began_ms)
    });
    waits.max().map(Duration::from_millis)
}

/// The longest time in which no message was acknowledged.
pub fn longest_pause(injected: &[Injected]) -> Duration {
    let mut acks: Vec<u64> = injected
        .iter()
        .filter(|message| message.acked())
        .map(|message| message.answered_at_ms)
        .collect();
    acks.sort_unstable();
    let pauses = acks.windows(2).map(|pair| pair[1] - pair[0]);
    Duration::from_millis(pauses.max().unwrap_or(0))
}

/// The smallest time that so many of a hundred stay within.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).max(1) - 1;
    times.get(place).copied().unwrap_or_default()
}

/// What a message's id tells: 48 bits of milliseconds, 16 bits of group, 64 random bits, in Crockford's base 32.
#[derive(Debug, PartialEq, Eq)]
struct Queued {
    at_ms: u64,
    group: u32,
}

fn queued(message: &Injected) -> Option<Queued> {
    read_id(message.queued_as()?)
}

fn read_id(id: &str) -> Option<Queued> {
    const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if id.len() != 26 {
        return None;
    }
    let mut value = 0_u128;
    for digit in id.chars() {
        value = value << 5 | DIGITS.find(digit)? as u128;
    }
    Some(Queued {
        at_ms: u64::try_from(value >> 80).ok()?,
        group: u32::try_from(value >> 64 & 0xffff).ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_id_tells_time_and_group() {
        // 0x0190_0000_0000 ms, group 3, random bits all set.
        let value: u128 = 0x0190_0000_0000 << 80 | 3 << 64 | u128::from(u64::MAX);
        let digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ".as_bytes();
        let id: String = (0..26)
            .rev()
            .map(|place| digits[(value >> (5 * place)) as usize & 31] as char)
            .collect();
        let queued = read_id(&id).unwrap();
        assert_eq!(
            queued,
            Queued {
                at_ms: 0x0190_0000_0000,
                group: 3
            }
        );
        assert_eq!(read_id("no id"), None);
    }

    #[test]
    fn percentiles() {
        let mut times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&mut times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&mut [], 99), Duration::ZERO);
    }
}

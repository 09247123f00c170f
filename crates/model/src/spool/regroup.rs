//! Restoring into a cluster that has fewer spool groups than the one that is lost: where each group goes, with its messages
//! and the numbers of its events.
//!
//! A group keeps its events for sinks in the order of their numbers, without gaps between the first that is kept and the
//! next that is given. Groups that go into one are lined up one behind the other, from the highest of their first numbers
//! on: so no number becomes smaller, and what was trimmed from a group stays below.

use std::collections::BTreeMap;

use super::import::ImportedMessage;
use crate::id::GroupId;

/// Numbers of events that a group keeps: from the first on, below the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventSpan {
    pub first_seq: u64,
    pub next_seq: u64,
}

impl EventSpan {
    fn length(self) -> u64 {
        self.next_seq.saturating_sub(self.first_seq)
    }
}

/// Where one group of a backup goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub group: GroupId,
    /// Of a cluster that has so many spool groups.
    pub spool_groups: u16,
    /// Added to the numbers of its events.
    pub shift: u64,
    /// Of all groups that go there.
    pub events: EventSpan,
}

/// A place for each group of a backup, by what each keeps of its events.
pub fn places(kept: &BTreeMap<GroupId, EventSpan>, spool_groups: u16) -> BTreeMap<GroupId, Place> {
    let mut first: BTreeMap<GroupId, u64> = BTreeMap::new();
    for (group, span) in kept {
        let first = first.entry(group.among(spool_groups)).or_default();
        *first = span.first_seq.max(*first);
    }
    let mut next = first.clone();
    let mut shifts = BTreeMap::new();
    for (group, span) in kept {
        let next = next.entry(group.among(spool_groups)).or_default();
        shifts.insert(*group, *next - span.first_seq);
        *next = next.saturating_add(span.length());
    }
    let place = |(from, shift)| {
        let group = GroupId::among(from, spool_groups);
        let events = EventSpan {
            first_seq: first[&group],
            next_seq: next[&group],
        };
        let place = Place {
            group,
            spool_groups,
            shift,
            events,
        };
        (from, place)
    };
    shifts.into_iter().map(place).collect()
}

impl Place {
    /// The message as it is there. Messages that it names have gone to their places, too.
    #[must_use]
    pub fn take(&self, mut message: ImportedMessage) -> ImportedMessage {
        message.id = message.id.among(self.spool_groups);
        for event in &mut message.history {
            event.seq = event.seq.saturating_add(self.shift);
            event.message = event.message.among(self.spool_groups);
            if let Some(other) = event.kind.other_message_mut() {
                *other = other.among(self.spool_groups);
            }
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept() -> impl Strategy<Value = BTreeMap<GroupId, EventSpan>> {
        let span = (0..1_000_000_u64, 0..50_u64).prop_map(|(first_seq, kept)| EventSpan {
            first_seq,
            next_seq: first_seq + kept,
        });
        let spans = proptest::collection::vec(span, 1..12);
        spans.prop_map(|spans| (1..).map(GroupId).zip(spans).collect())
    }

    proptest! {
        #[test]
        fn events_of_groups_that_meet_are_lined_up_without_gaps(kept in kept(), groups in 1..12_u16) {
            let places = places(&kept, groups);
            let mut all: BTreeMap<GroupId, Vec<u64>> = BTreeMap::new();
            for (from, span) in &kept {
                let place = places[from];
                prop_assert!((1..=groups).contains(&place.group.0));
                prop_assert!(from.0 > groups || place.group == *from);
                let numbers = span.first_seq..span.next_seq;
                all.entry(place.group).or_default().extend(numbers.map(|seq| seq + place.shift));
            }
            for (group, mut numbers) in all {
                numbers.sort_unstable();
                let here = places.values().find(|place| place.group == group).map(|place| place.events);
                let here = here.unwrap_or_default();
                prop_assert!(numbers.into_iter().eq(here.first_seq..here.next_seq));
            }
        }

        #[test]
        fn groups_that_all_have_a_place_of_their_own_keep_their_numbers(kept in kept(), more in 0..4_u16) {
            let groups = kept.len() as u16 + more;
            for (from, place) in places(&kept, groups) {
                prop_assert_eq!((place.group, place.shift, place.events), (from, 0, kept[&from]));
            }
        }
    }
}

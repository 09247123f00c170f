//! A year of one domain, hour by hour, with a DNS that fails, lags and lies.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const HOURS: u64 = 365 * 24;
/// A record that is gone is noticed within this time. In any such span servers fail for 30 hours and lie for 48 at most, so that
/// 22 hours are left in which one that is heard tells the truth and none lies.
const NOTICED_WITHIN_H: u64 = CALM_H;
const FAILING_H: u64 = 30;
const LYING_H: u64 = 48;
/// At least so long between two such faults of one kind.
const CALM_H: u64 = 100;
const REMOVED_H: u64 = 400;
const LAG_H: u64 = 2;
const SOURCES: usize = 4;

/// What a record says: nothing, or a key, or that it is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    None,
    Key(KeyId),
    Revoked,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A slot's record, by the hour: servers and caches show what was there a while ago.
#[derive(Default)]
struct Zone {
    history: Vec<Record>,
    /// Publications that who owns the domain has not come to yet.
    pending: Vec<(u64, Record)>,
    /// Somebody took the record away until then, and what is to come back.
    removed_until: Option<(u64, Record)>,
}

impl Zone {
    fn at(&self, hour: u64) -> Record {
        let hour = usize::try_from(hour).unwrap();
        *self.history.get(hour).unwrap_or(&Record::None)
    }

    fn hour(&mut self, hour: u64, accident: Option<u64>) {
        let mut now = match hour {
            0 => Record::None,
            _ => self.at(hour - 1),
        };
        if let Some((until, record)) = self.removed_until
            && hour >= until
        {
            now = record;
            self.removed_until = None;
        }
        self.pending.retain(|(at, record)| {
            if *at <= hour {
                now = *record;
                self.removed_until = None;
            }
            *at > hour
        });
        if let Some(hours) = accident
            && matches!(now, Record::Key(_))
        {
            self.removed_until = Some((hour + hours, now));
            now = Record::None;
        }
        self.history.push(now);
    }
}

/// Two authoritative servers, one of which lags, and two resolvers with caches.
struct Dns {
    zones: Vec<Zone>,
    failing_until: [u64; SOURCES],
    /// One source at a time lies: it shows a record from the past, or a wrong one.
    liar: Option<(usize, u64)>,
}

impl Dns {
    fn ask(
        &self,
        slot: usize,
        source: usize,
        key: KeyId,
        hour: u64,
        random: &mut Random,
    ) -> Answer {
        if self.failing_until[source] > hour {
            return Answer::Failed;
        }
        let lag = [0, LAG_H, 1, 1][source];
        let mut record = self.zones[slot].at(hour.saturating_sub(lag));
        if self
            .liar
            .is_some_and(|(liar, until)| liar == source && until > hour)
        {
            record = match random.below(3) {
                0 => Record::None,
                1 => Record::Key(KeyId(u64::MAX)),
                _ => self.zones[slot].at(random.below(hour + 1)),
            };
        }
        match record == Record::Key(key) {
            true => Answer::Shows,
            false => Answer::Differs,
        }
    }

    fn observe(&self, slots: &Slots, hour: u64, random: &mut Random) -> Observation {
        let mut observation = Observation::default();
        for (place, slot) in slots.iter().enumerate() {
            let Some(key) = slot.state.key() else {
                continue;
            };
            let answers = (0..SOURCES).map(|source| {
                let kind = match source {
                    0 | 1 => Source::Authoritative,
                    _ => Source::Resolver,
                };
                (kind, self.ask(place, source, key, hour, random))
            });
            observation.slots.push(SlotAnswers {
                selector: slot.selector.clone(),
                key,
                answers: answers.collect(),
            });
        }
        observation
    }

    fn weather(&mut self, hour: u64, random: &mut Random) {
        for until in &mut self.failing_until {
            if hour > *until + CALM_H && random.one_in(300) {
                *until = hour + 1 + random.below(FAILING_H);
            }
        }
        if self.liar.is_none_or(|(_, until)| hour > until + CALM_H) && random.one_in(200) {
            let source = usize::try_from(random.below(SOURCES as u64)).unwrap();
            self.liar = Some((source, hour + 1 + random.below(LYING_H)));
        }
    }
}

#[derive(Debug, Default)]
struct Year {
    activations: usize,
    generated: u64,
    waiting_h: u64,
    alerts: usize,
}

struct Faults {
    dns: bool,
    /// One in so many hours.
    accidents: Option<u64>,
    compromised_at: Option<u64>,
    /// At most, until a record is published.
    slow_owner_h: u64,
}

fn at(hour: u64) -> UnixMs {
    UnixMs(hour * HOUR * 1000)
}

fn place(slots: &Slots, selector: &str) -> usize {
    slots
        .iter()
        .position(|slot| slot.selector == selector)
        .unwrap()
}

/// Runs a year and checks in each hour that no key is signed with that the DNS does not show.
fn year(seed: u64, schedule: Schedule, faults: &Faults) -> Year {
    let mut random = Random(seed | 1);
    let mut slots = Slots::new(["sk1".to_owned(), "sk2".to_owned()], schedule);
    let mut dns = Dns {
        zones: vec![Zone::default(), Zone::default()],
        failing_until: [0; SOURCES],
        liar: None,
    };
    let mut year = Year::default();
    let mut was_active = false;
    for hour in 0..HOURS {
        if faults.dns {
            dns.weather(hour, &mut random);
        }
        for zone in &mut dns.zones {
            let accident = faults.accidents.filter(|one_in| random.one_in(*one_in));
            zone.hour(hour, accident.map(|_| 1 + random.below(REMOVED_H)));
        }
        if faults.compromised_at == Some(hour) {
            slots = slots.compromised();
        }
        let observation = dns.observe(&slots, hour, &mut random);
        let (next, mut actions) = step(&slots, &observation, at(hour));
        slots = next;
        while let Some(action) = actions.pop() {
            match action {
                Action::Generate { selector } => {
                    year.generated += 1;
                    let (next, more) = slots.install(&selector, KeyId(year.generated), at(hour));
                    slots = next;
                    actions.extend(more);
                }
                Action::Publish { selector, key } => {
                    let when = hour + 1 + random.below(faults.slow_owner_h);
                    let zone = &mut dns.zones[place(&slots, &selector)];
                    zone.pending = vec![(when, Record::Key(key))];
                }
                Action::Revoke { selector, .. } => {
                    let zone = &mut dns.zones[place(&slots, &selector)];
                    zone.pending = vec![(hour + 1, Record::Revoked)];
                }
                Action::Remove { selector } => {
                    let zone = &mut dns.zones[place(&slots, &selector)];
                    zone.pending = vec![(hour + 1, Record::None)];
                }
                Action::Activate { selector, key } => {
                    year.activations += 1;
                    // Where others fail, one that lies about the past can be the one server that is heard.
                    let zone = &dns.zones[place(&slots, &selector)];
                    let shown = (0..=LAG_H).all(|lag| zone.at(hour - lag) == Record::Key(key));
                    let heard = (0..=NOTICED_WITHIN_H.min(hour))
                        .any(|lag| zone.at(hour - lag) == Record::Key(key));
                    assert!(
                        heard && (shown || faults.dns),
                        "hour {hour}: {key:?} was not published"
                    );
                }
                Action::Retire { .. } => {}
                Action::Alert { .. } => year.alerts += 1,
            }
        }
        check_signing(&slots, &dns, hour, &mut was_active, &mut year);
    }
    year
}

fn check_signing(slots: &Slots, dns: &Dns, hour: u64, was_active: &mut bool, year: &mut Year) {
    let active = slots
        .iter()
        .filter(|slot| matches!(slot.state, SlotState::Active(_)));
    let active = active.count();
    assert!(active == 1 || !*was_active, "hour {hour}: no active key");
    *was_active = active == 1;
    match slots.signing(at(hour)) {
        Signing::With { selector, key } => {
            let zone = &dns.zones[place(slots, selector)];
            let shown =
                (0..=NOTICED_WITHIN_H.min(hour)).any(|ago| zone.at(hour - ago) == Record::Key(key));
            assert!(
                shown,
                "hour {hour}: {selector} signs with {key:?}, which is gone for long"
            );
        }
        Signing::NoneYet => assert!(!*was_active),
        Signing::Gone { .. } => year.waiting_h += 1,
    }
}

const NO_FAULTS: Faults = Faults {
    dns: false,
    accidents: None,
    compromised_at: None,
    slow_owner_h: 48,
};

/// Six rotations in a year, so that a year has more in it.
fn hurried() -> Schedule {
    Schedule {
        period: DurationMs::from_secs(60 * DAY),
        ..Schedule::default()
    }
}

#[test]
fn a_quiet_year_has_two_keys_and_no_wait() {
    let year = year(1, Schedule::default(), &NO_FAULTS);
    assert_eq!(
        (year.activations, year.waiting_h, year.alerts),
        (2, 0, 0),
        "{year:?}"
    );
}

#[test]
fn a_compromised_key_is_replaced_within_days() {
    for seed in 1..50 {
        let faults = Faults {
            compromised_at: Some(2000),
            ..NO_FAULTS
        };
        let year = year(seed, Schedule::default(), &faults);
        assert_eq!((year.activations, year.waiting_h), (3, 0), "{year:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Never a key that was not seen, never a gap once there was a key, whatever the DNS does.
    #[test]
    fn a_bad_year(
        seed in 1_u64..,
        accidents in prop::option::of(500_u64..4000),
        compromised_at in prop::option::of(0..HOURS),
        slow_owner_h in 1_u64..1000,
    ) {
        let faults = Faults { dns: true, accidents, compromised_at, slow_owner_h };
        let year = year(seed, hurried(), &faults);
        prop_assert!(year.activations >= 1, "{:?}", year);
    }
}

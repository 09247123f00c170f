//! How the volume grows from stage to stage, and what decides whether it does.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::calendar::Calendar;

/// SparkPost's published table for one IP, for one day each.
const STANDARD: [u64; 29] = [
    200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 50_000, 75_000, 100_000, 150_000,
    200_000, 250_000, 325_000, 400_000, 500_000, 600_000, 750_000, 1_000_000, 1_250_000, 1_750_000,
    2_000_000, 3_000_000, 4_250_000, 5_000_000, 6_000_000, 7_500_000, 10_000_000,
];
/// A year of stages; each row keeps its table.
pub const STAGES_MAX: usize = 366;
/// More than any IP sends in a day, and far from what overflows.
pub const VOLUME_MAX: u64 = 1_000_000_000;
/// Fewer a day tell a provider nothing about an IP.
pub const VOLUME_FLOOR: u64 = 20;

/// The volumes of all stages, for all providers together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub enum Schedule {
    #[default]
    #[n(0)]
    Standard,
    /// Never falling.
    #[n(1)]
    Table(#[n(0)] Vec<u64>),
    /// Each stage is this many percent of the one before, until the last one, which is `max`.
    #[n(2)]
    Formula {
        #[n(0)]
        first: u64,
        #[n(1)]
        factor_percent: u32,
        #[n(2)]
        max: u64,
    },
}

/// Why a warm-up cannot go like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum BadPlan {
    #[n(0)]
    #[error("a schedule has from 1 to 366 stages")]
    Stages,
    #[n(1)]
    #[error("a stage has from 1 to 1,000,000,000 messages, and no fewer than the one before")]
    Volumes,
    #[n(2)]
    #[error("a factor is from 101 to 1000 percent")]
    Factor,
    #[n(3)]
    #[error("a provider's share is from 1 to 100 percent")]
    Share,
    #[n(4)]
    #[error("there is at least one sending day, and an offset is from -720 to 840 minutes")]
    Calendar,
    #[n(5)]
    #[error("bounds are from 1 to 100 percent, and from 1 to 365 days")]
    Bounds,
}

impl Schedule {
    fn check(&self) -> Result<(), BadPlan> {
        if let Self::Formula { factor_percent, .. } = self
            && !(101..=1000).contains(factor_percent)
        {
            return Err(BadPlan::Factor);
        }
        if let Self::Formula { first, max, .. } = self
            && first > max
        {
            return Err(BadPlan::Volumes);
        }
        let volumes: Vec<u64> = self.volumes().take(STAGES_MAX + 1).collect();
        if volumes.is_empty() || volumes.len() > STAGES_MAX {
            return Err(BadPlan::Stages);
        }
        let are_in_range = volumes.iter().all(|n| (1..=VOLUME_MAX).contains(n));
        match are_in_range && volumes.is_sorted() {
            true => Ok(()),
            false => Err(BadPlan::Volumes),
        }
    }

    fn volumes(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        match self {
            Self::Standard => Box::new(STANDARD.into_iter()),
            Self::Table(volumes) => Box::new(volumes.iter().copied()),
            Self::Formula {
                first,
                factor_percent,
                max,
            } => {
                let next = move |volume: &u64| {
                    let grown = u128::from(*volume) * u128::from(*factor_percent) / 100;
                    let grown = u64::try_from(grown).unwrap_or(u64::MAX);
                    // A small volume would stand still for ever, being rounded down.
                    let grown = grown.max(volume.saturating_add(1));
                    (volume < max).then(|| grown.min(*max))
                };
                Box::new(std::iter::successors(Some(*first), next))
            }
        }
    }
}

/// Which part of a schedule's volume goes to which provider, in percent.
///
/// By default as mail of consumers is spread over the world's providers, counted by the sites of a large traffic
/// generator. Parts need not add up to 100.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Shares {
    #[n(0)]
    pub of: BTreeMap<String, u8>,
    /// Of each provider that is not named.
    #[n(1)]
    pub others: u8,
}

impl Default for Shares {
    fn default() -> Self {
        let known = [("google", 67), ("outlook", 9), ("yahoo", 6)];
        Self {
            of: known.map(|(name, share)| (name.to_owned(), share)).into(),
            others: 2,
        }
    }
}

impl Shares {
    pub fn percent(&self, provider: &str) -> u8 {
        self.of.get(provider).copied().unwrap_or(self.others)
    }
}

/// What decides about the next stage at the end of a sending day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Bounds {
    /// Of the stage's volume, delivered: with as many the next stage comes.
    #[n(0)]
    pub delivered_percent: u8,
    /// Of attempts, deferred: with more the stage is held, with more than twice as many the one before comes again.
    #[n(1)]
    pub deferred_percent: u8,
    /// Of attempts, bounced: with more the stage before comes again.
    #[n(2)]
    pub bounced_percent: u8,
    /// After so many days in a row without progress the warm-up pauses.
    #[n(3)]
    pub held_days: u16,
    /// After so many days without mail the IP is not known any more.
    #[n(4)]
    pub idle_days: u16,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            delivered_percent: 90,
            deferred_percent: 10,
            bounced_percent: 5,
            held_days: 10,
            idle_days: 30,
        }
    }
}

impl Bounds {
    fn are_valid(&self) -> bool {
        let percents = [
            self.delivered_percent,
            self.deferred_percent,
            self.bounced_percent,
        ];
        let days = [self.held_days, self.idle_days];
        percents.iter().all(|n| (1..=100).contains(n)) && days.iter().all(|n| (1..=365).contains(n))
    }
}

/// How one IP is warmed up at one provider.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Plan {
    #[n(0)]
    pub schedule: Schedule,
    /// The provider's part of the schedule's volume.
    #[n(1)]
    pub share_percent: u8,
    #[n(2)]
    pub calendar: Calendar,
    #[n(3)]
    pub bounds: Bounds,
    /// Attempts a day that the provider gets at least; none: [`VOLUME_FLOOR`].
    #[n(4)]
    pub floor: Option<u64>,
}

impl Plan {
    /// The standard schedule, every day from midnight UTC.
    pub fn standard(share_percent: u8) -> Self {
        Self {
            schedule: Schedule::Standard,
            share_percent,
            calendar: Calendar::default(),
            bounds: Bounds::default(),
            floor: None,
        }
    }

    /// # Errors
    /// The first thing that is out of its range.
    pub fn check(&self) -> Result<(), BadPlan> {
        self.schedule.check()?;
        if !(1..=100).contains(&self.share_percent) {
            return Err(BadPlan::Share);
        }
        if !self.calendar.is_valid() {
            return Err(BadPlan::Calendar);
        }
        match self.bounds.are_valid() {
            true => Ok(()),
            false => Err(BadPlan::Bounds),
        }
    }

    fn volumes(&self) -> impl Iterator<Item = u64> + '_ {
        let share = u64::from(self.share_percent);
        // A stage without any attempt would never end.
        let floor = self.floor.unwrap_or(VOLUME_FLOOR).clamp(1, VOLUME_MAX);
        let all = self.schedule.volumes().take(STAGES_MAX);
        all.map(move |volume| (volume.min(VOLUME_MAX) * share / 100).max(floor))
    }

    pub fn stages(&self) -> u16 {
        u16::try_from(self.volumes().count()).unwrap_or(u16::MAX)
    }

    /// Attempts a day at a stage, counted from 0; the last stage's beyond it.
    pub fn volume(&self, stage: u16) -> u64 {
        let up_to = self.volumes().take(usize::from(stage) + 1);
        up_to.last().unwrap_or(1)
    }

    /// The last stage whose volume is at most this, else the first.
    pub fn stage_of(&self, volume: u64) -> u16 {
        let fits = self.volumes().take_while(|fits| *fits <= volume).count();
        u16::try_from(fits.saturating_sub(1)).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(schedule: Schedule, share_percent: u8) -> Plan {
        Plan {
            schedule,
            ..Plan::standard(share_percent)
        }
    }

    fn formula(first: u64, factor_percent: u32, max: u64) -> Schedule {
        Schedule::Formula {
            first,
            factor_percent,
            max,
        }
    }

    #[test]
    fn a_provider_gets_its_share_and_no_less_than_the_floor() {
        for (schedule, share, stage, expected) in [
            (Schedule::Standard, 100, 0, 200),
            (Schedule::Standard, 100, 28, 10_000_000),
            (Schedule::Standard, 100, 500, 10_000_000),
            (Schedule::Standard, 67, 0, 134),
            (Schedule::Standard, 6, 0, VOLUME_FLOOR),
            (Schedule::Standard, 6, 3, 120),
            (Schedule::Table(vec![50, 333, 1000]), 50, 1, 166),
            (formula(100, 150, 300), 100, 0, 100),
            (formula(100, 150, 300), 100, 1, 150),
            (formula(100, 150, 300), 100, 3, 300),
            (formula(1, 101, 40), 100, 39, 40),
        ] {
            let plan = plan(schedule, share);
            assert_eq!(plan.check(), Ok(()), "{plan:?}");
            assert_eq!(plan.volume(stage), expected, "{plan:?} {stage}");
        }
        assert_eq!(Plan::standard(100).stages(), 29);
        assert_eq!(plan(formula(100, 150, 300), 100).stages(), 4);
    }

    #[test]
    fn a_volume_is_rounded_down_to_a_stage() {
        let plan = Plan::standard(100);
        for (volume, stage) in [
            (0, 0),
            (200, 0),
            (499, 0),
            (500, 1),
            (9_999, 4),
            (u64::MAX, 28),
        ] {
            assert_eq!(plan.stage_of(volume), stage, "{volume}");
        }
    }

    #[test]
    fn plans_out_of_range_are_refused() {
        use BadPlan::*;
        for (schedule, expected) in [
            (Schedule::Table(Vec::new()), Stages),
            (Schedule::Table(vec![1; 367]), Stages),
            (Schedule::Table(vec![0, 5]), Volumes),
            (Schedule::Table(vec![10, 5]), Volumes),
            (Schedule::Table(vec![VOLUME_MAX + 1]), Volumes),
            (formula(20, 100, 40), Factor),
            (formula(20, 1001, 40), Factor),
            (formula(50, 150, 40), Volumes),
            (formula(0, 150, 40), Volumes),
            (formula(1, 101, VOLUME_MAX), Stages),
            (formula(u64::MAX, 1000, u64::MAX), Volumes),
        ] {
            let plan = plan(schedule, 100);
            assert_eq!(plan.check(), Err(expected), "{plan:?}");
        }
        for share in [0, 101, 255] {
            assert_eq!(Plan::standard(share).check(), Err(Share));
        }
        let mut far = Plan::standard(10);
        far.calendar.offset_minutes = 1_000;
        assert_eq!(far.check(), Err(Calendar));
        let mut loose = Plan::standard(10);
        loose.bounds.idle_days = 0;
        assert_eq!(loose.check(), Err(Bounds));
    }

    #[test]
    fn shares_may_be_ones_own() {
        let mut shares = Shares::default();
        shares.of.insert("own".to_owned(), 30);
        for (provider, percent) in [("google", 67), ("own", 30), ("else", 2)] {
            assert_eq!(shares.percent(provider), percent);
        }
    }
}

//! How much a new IP may send on each day of its warm-up.

use crate::rate::COUNT_MAX;
use crate::read::{Keys, Reader, scalar, whole};
use crate::shape::Shape;
use crate::write::{Map, Out};
use crate::yaml::Value;

/// More than a year of sending days: what takes longer is no warm-up.
pub const STAGES_MAX: usize = 400;

/// Messages of an IP on a sending day, by stages. A stage is a day on which the volume was really sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    BuiltIn(Curve),
    Table(Vec<u64>),
    Formula(Formula),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Curve {
    /// From 200 to ten million in 29 stages: what large senders publish and receivers are used to.
    #[default]
    Standard,
    /// From 50 to 50 000 in 44 stages, for addresses that nobody knows and lists of doubtful age.
    Gentle,
}

/// Grows by the same factor each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formula {
    pub first: u64,
    /// 150: half as much again as the day before.
    pub factor_percent: u64,
    /// The volume of the last stage.
    pub max: u64,
}

/// The volumes that ESPs publish for a dedicated IP, day by day.
const STANDARD: [u64; 29] = [
    200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 50_000, 75_000, 100_000, 150_000,
    200_000, 250_000, 325_000, 400_000, 500_000, 600_000, 750_000, 1_000_000, 1_250_000, 1_750_000,
    2_000_000, 3_000_000, 4_250_000, 5_000_000, 6_000_000, 7_500_000, 10_000_000,
];

/// 50 000 a day within 45 days is what the most careful of the published plans ends with.
const GENTLE: Formula = Formula {
    first: 50,
    factor_percent: 118,
    max: 50_000,
};

impl Curve {
    const ALL: [Self; 2] = [Self::Standard, Self::Gentle];

    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Gentle => "gentle",
        }
    }
}

impl Formula {
    /// At most one stage more than [`STAGES_MAX`].
    fn stages(self) -> Vec<u64> {
        let grown = |volume: &u64| {
            let next = u128::from(*volume) * u128::from(self.factor_percent) / 100;
            let next = u64::try_from(next).unwrap_or(u64::MAX).max(volume + 1);
            (*volume < self.max).then_some(next.min(self.max))
        };
        let stages = std::iter::successors(Some(self.first.min(self.max)), grown);
        stages.take(STAGES_MAX + 1).collect()
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::BuiltIn(Curve::default())
    }
}

impl Schedule {
    /// The volume of each stage, at least one. After the last the IP is warm.
    pub fn stages(&self) -> Vec<u64> {
        match self {
            Self::BuiltIn(Curve::Standard) => STANDARD.to_vec(),
            Self::BuiltIn(Curve::Gentle) => GENTLE.stages(),
            Self::Table(stages) => stages.clone(),
            Self::Formula(formula) => formula.stages(),
        }
    }

    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        let curves = || Shape::of_words(&Curve::ALL.map(Curve::name));
        if let Some(mut inner) = keys.record_map_or("schedule", curves) {
            read_table(reader, &mut inner);
            read_formula(reader, &mut inner);
        }
        let entry = keys.take("schedule")?;
        let path = keys.path("schedule");
        if let Value::Scalar { .. } = entry.node.value {
            return scalar(reader, &path, &entry.node, built_in);
        }
        let mut keys = Keys::new(reader, path.clone(), &entry.node)?;
        let is_one = keys.has("table") != keys.has("formula");
        if !is_one {
            let message = "must be the name of a curve, table: [200, 500, ...] or formula: {first, factor_percent, max}";
            reader.fault(entry.line, &path, message);
        }
        let table = read_table(reader, &mut keys);
        let formula = read_formula(reader, &mut keys);
        keys.finish(reader);
        table.map(Self::Table).or(formula.map(Self::Formula))
    }

    pub(crate) fn write(&self) -> Out {
        match self {
            Self::BuiltIn(curve) => Out::Text(curve.name().into()),
            Self::Table(stages) => Out::Map(Map::default().list("table", stages)),
            Self::Formula(formula) => {
                let keys = Map::default()
                    .set("first", formula.first)
                    .set("factor_percent", formula.factor_percent)
                    .set("max", formula.max);
                Out::Map(Map::default().map("formula", keys))
            }
        }
    }
}

fn built_in(text: &str) -> Result<Schedule, String> {
    let found = Curve::ALL.into_iter().find(|curve| curve.name() == text);
    found.map(Schedule::BuiltIn).ok_or_else(|| {
        let names = Curve::ALL.map(Curve::name).join(" and ");
        format!("is no curve: there are {names}, or give a table or a formula")
    })
}

fn read_table(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Vec<u64>> {
    let stages = keys.list(reader, "table", STAGES_MAX, |text| {
        whole(text, &(1..=COUNT_MAX))
    })?;
    let line = keys.line_of("table").unwrap_or(keys.line);
    let path = keys.path("table");
    if stages.is_empty() {
        reader.fault(line, &path, "is empty: give the messages of each day");
    }
    if let Some(pair) = stages.windows(2).find(|pair| pair[1].value < pair[0].value) {
        let (before, after) = (pair[0].value, pair[1].value);
        let message =
            format!("falls from {before} to {after}: a day must not have less than the day before");
        reader.fault(pair[1].origin.place.line, &path, message);
    }
    Some(stages.into_iter().map(|stage| stage.value).collect())
}

fn read_formula(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Formula> {
    let mut keys = keys.map(reader, "formula")?;
    let volume = |text: &str| whole(text, &(1..=COUNT_MAX));
    let first = keys.need(reader, "first", volume);
    let factor = keys.need(reader, "factor_percent", |text| whole(text, &(101..=1000)));
    let max = keys.need(reader, "max", volume);
    let (line, path) = (keys.line, keys.path("max"));
    keys.finish(reader);
    let formula = Formula {
        first: first?.value,
        factor_percent: factor?.value,
        max: max?.value,
    };
    if formula.max < formula.first {
        reader.fault(
            line,
            &path,
            format!("must be at least first, {}", formula.first),
        );
    } else if formula.stages().len() > STAGES_MAX {
        let message =
            format!("is not reached within {STAGES_MAX} days: raise first or factor_percent");
        reader.fault(line, &path, message);
    }
    Some(formula)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn built_in_curves_end_where_they_say() {
        let standard = Schedule::default().stages();
        assert_eq!(
            (standard[0], standard[28], standard.len()),
            (200, 10_000_000, 29)
        );
        let gentle = Schedule::BuiltIn(Curve::Gentle).stages();
        assert_eq!(
            (gentle[0], gentle.last(), gentle.len()),
            (50, Some(&50_000), 44)
        );
    }

    proptest! {
        #[test]
        fn stages_grow_up_to_the_last(first in 1u64..1000, factor_percent in 101u64..1000, max in 1u64..COUNT_MAX) {
            let stages = Schedule::Formula(Formula { first, factor_percent, max }).stages();
            prop_assert!(!stages.is_empty() && stages.len() <= STAGES_MAX + 1);
            prop_assert!(stages.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(stages.iter().all(|stage| *stage <= max));
        }
    }
}

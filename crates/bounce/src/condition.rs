//! Conditions of rules on codes.

use serde::Deserialize;
use skein_smtp::reply::Enhanced;

/// Numbers that a code must have: from and to, each included. A reply code is one number, an enhanced code three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition(Vec<(u16, u16)>);

impl Condition {
    /// Reads `550`, `4xx`, `5.1.1`, `x.7.1`, `5.7.606-649` or `x.7.x`.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split('.').map(|part| match part {
            "x" => Some((0, 999)),
            "4xx" => Some((400, 499)),
            "5xx" => Some((500, 599)),
            _ => {
                let (from, to) = part.split_once('-').unwrap_or((part, part));
                Some((from.parse().ok()?, to.parse().ok()?))
            }
        });
        let numbers: Vec<_> = numbers.collect::<Option<_>>()?;
        matches!(numbers.len(), 1 | 3).then_some(Self(numbers))
    }

    pub fn holds_for_reply(&self, code: u16) -> bool {
        self.holds(&[code])
    }

    pub fn holds_for_enhanced(&self, code: Enhanced) -> bool {
        self.holds(&[code.class.into(), code.subject, code.detail])
    }

    fn holds(&self, numbers: &[u16]) -> bool {
        self.0.len() == numbers.len()
            && self
                .0
                .iter()
                .zip(numbers)
                .all(|((from, to), number)| (from..=to).contains(&number))
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let error = || serde::de::Error::custom(format!("{text:?} is no condition on a code"));
        Self::parse(&text).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_for_their_codes() {
        for (condition, code, holds) in [
            ("x.7.1", (5, 7, 1), true),
            ("x.7.1", (4, 7, 1), true),
            ("5.7.606-649", (5, 7, 649), true),
            ("5.7.606-649", (5, 7, 650), false),
            ("5.7.606-649", (4, 7, 606), false),
            ("x.7.x", (5, 7, 26), true),
            ("x.7.x", (5, 1, 1), false),
            ("550", (5, 5, 0), false),
        ] {
            let condition = Condition::parse(condition).expect(condition);
            assert_eq!(
                condition.holds_for_enhanced(code.into()),
                holds,
                "{condition:?}"
            );
        }
        let temporary = Condition::parse("4xx").expect("a condition");
        assert!(temporary.holds_for_reply(421) && !temporary.holds_for_reply(550));
        for wrong in ["", "5.1", "a", "5.1.1.1", "5-x"] {
            assert_eq!(Condition::parse(wrong), None, "{wrong}");
        }
    }
}

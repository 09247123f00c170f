//! The phrases of reports and answers. They are data, in `rules/reports.toml` and `rules/answers.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

/// How a line names a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naming {
    /// `<user@example.net>:` at its beginning.
    AngleColon,
    /// `<user@example.net>` anywhere.
    Angle,
    /// Nothing but the address, with blanks, signs of lists and a colon around it.
    Alone,
    /// The first word.
    First,
    /// Any word.
    Any,
    /// The next word after this phrase.
    After(String),
}

/// A field of a report and what it must hold, in lower case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Needs {
    pub field: String,
    pub holds: String,
}

/// The reports of one mail system, or of several that write the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Format {
    pub name: String,
    pub needs: Option<Needs>,
    /// Any of these begins it.
    pub begins: Vec<String>,
    /// Any of these ends it, besides those of all.
    #[serde(default)]
    pub ends: Vec<String>,
    /// The first that finds any counts.
    pub naming: Vec<Naming>,
}

/// What reports in words say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reports {
    /// After these the message that came back follows.
    pub ends: Vec<String>,
    /// Mail is still tried.
    pub delays: Vec<String>,
    /// Mail is tried no more.
    pub given_up: Vec<String>,
    /// In From of mail systems.
    pub senders: Vec<String>,
    /// In subjects of reports.
    pub subjects: Vec<String>,
    #[serde(rename = "format")]
    pub formats: Vec<Format>,
}

/// What answers say that are no reports.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answers {
    /// Beginnings of subjects.
    pub auto_subjects: Vec<String>,
    pub challenge_subjects: Vec<String>,
    pub challenge_texts: Vec<String>,
    /// Alone in their line.
    pub unsubscribe: Vec<String>,
}

const REPORTS: &str = include_str!("../../rules/reports.toml");
const ANSWERS: &str = include_str!("../../rules/answers.toml");

/// That the file is read is tested.
pub(crate) fn reports() -> &'static Reports {
    static READ: LazyLock<Reports> = LazyLock::new(|| toml::from_str(REPORTS).unwrap_or_default());
    &READ
}

/// That the file is read is tested.
pub(crate) fn answers() -> &'static Answers {
    static READ: LazyLock<Answers> = LazyLock::new(|| toml::from_str(ANSWERS).unwrap_or_default());
    &READ
}

impl<'de> Deserialize<'de> for Naming {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "angle-colon" => Self::AngleColon,
            "angle" => Self::Angle,
            "alone" => Self::Alone,
            "first" => Self::First,
            "any" => Self::Any,
            other => match other.strip_prefix("after ") {
                Some(phrase) => Self::After(phrase.to_owned()),
                None => return Err(serde::de::Error::custom(format!("{other:?} names nobody"))),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    #[test]
    fn the_files_are_read_and_their_phrases_are_folded() {
        let reports: Reports = toml::from_str(REPORTS).expect("reports");
        let answers: Answers = toml::from_str(ANSWERS).expect("answers");
        let of_formats = reports
            .formats
            .iter()
            .flat_map(|one| one.begins.iter().chain(&one.ends));
        let lists = [
            &reports.ends,
            &reports.delays,
            &reports.given_up,
            &reports.senders,
            &reports.subjects,
            &answers.auto_subjects,
            &answers.challenge_subjects,
            &answers.challenge_texts,
            &answers.unsubscribe,
        ];
        for phrase in lists.into_iter().flatten().chain(of_formats) {
            let bare = phrase.trim_start_matches('^');
            assert_eq!(fold(bare).trim(), bare.trim(), "{phrase:?}");
            assert!(bare.len() > 2, "{phrase:?}");
        }
    }
}

//! The rules: which phrases of which providers mean what. They are data, in `rules/*.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::condition::Condition;
use crate::phrases::Phrases;
use skein_model::bounce::Class;

/// In the order in which they count: providers, then lists and filters that many hosts use, then what any host says. Of the last,
/// what is about us comes before what is about the recipient.
const FILES: [(&str, &str); 19] = [
    ("google", include_str!("../rules/google.toml")),
    ("yahoo", include_str!("../rules/yahoo.toml")),
    ("microsoft", include_str!("../rules/microsoft.toml")),
    ("apple", include_str!("../rules/apple.toml")),
    ("comcast", include_str!("../rules/comcast.toml")),
    ("gmx", include_str!("../rules/gmx.toml")),
    ("t-online", include_str!("../rules/t-online.toml")),
    ("orange", include_str!("../rules/orange.toml")),
    ("laposte", include_str!("../rules/laposte.toml")),
    ("netease-qq", include_str!("../rules/netease-qq.toml")),
    ("north-america", include_str!("../rules/north-america.toml")),
    (
        "western-europe",
        include_str!("../rules/western-europe.toml"),
    ),
    (
        "eastern-europe",
        include_str!("../rules/eastern-europe.toml"),
    ),
    ("asia-pacific", include_str!("../rules/asia-pacific.toml")),
    ("filters", include_str!("../rules/filters.toml")),
    (
        "generic-sender",
        include_str!("../rules/generic-sender.toml"),
    ),
    (
        "generic-limits",
        include_str!("../rules/generic-limits.toml"),
    ),
    (
        "generic-recipient",
        include_str!("../rules/generic-recipient.toml"),
    ),
    ("generic-state", include_str!("../rules/generic-state.toml")),
];

/// Rules of one provider, or of all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    /// What a hint may say: names of providers as policy has them. Empty: rules of any host.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Ends of MX hosts' names.
    #[serde(default)]
    pub mx: Vec<String>,
    /// Where the phrases are from, unless a rule says otherwise.
    #[serde(default)]
    pub source: String,
    pub rule: Vec<Rule>,
}

/// One meaning with the phrases that have it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub id: String,
    #[serde(deserialize_with = "class")]
    pub class: Class,
    /// Any of these; ` ... ` in one stands for any text, `|` for the edge of a word. None: the codes alone decide.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// Any of these: `550`, `4xx`.
    #[serde(default)]
    pub codes: Vec<Condition>,
    /// Any of these: `5.1.1`, `x.7.1`, `5.7.606-649`.
    #[serde(default)]
    pub enhanced: Vec<Condition>,
    /// Only where the hint says that it is this provider: others say the same of something else.
    #[serde(default)]
    pub hinted: bool,
    #[serde(default)]
    pub source: String,
    /// Replies that this rule decides.
    #[cfg_attr(not(test), expect(dead_code, reason = "what tests read"))]
    #[serde(default)]
    pub tests: Vec<String>,
    /// Replies that it does not match.
    #[cfg_attr(not(test), expect(dead_code, reason = "what tests read"))]
    #[serde(default)]
    pub not: Vec<String>,
}

fn class<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Class, D::Error> {
    let name = String::deserialize(deserializer)?;
    Class::of_name(&name).ok_or_else(|| serde::de::Error::custom(format!("no class {name:?}")))
}

/// All rules, ready to be matched.
#[derive(Debug)]
pub(crate) struct Rules {
    pub families: Vec<Family>,
    /// Family and place of each rule, in the order in which they count.
    pub order: Vec<(usize, usize)>,
    pub phrases: Phrases,
    /// Rules without phrases, as indices of `order`.
    pub without_phrases: Vec<usize>,
    /// Families by their providers' names.
    by_provider: BTreeMap<String, usize>,
    /// Families by the domains that their MX hosts are in.
    by_domain: BTreeMap<String, usize>,
}

impl Rules {
    /// The rules that ship with the product. That all their files are read is tested.
    pub fn built_in() -> &'static Self {
        static RULES: LazyLock<Rules> = LazyLock::new(|| {
            let read = FILES
                .iter()
                .filter_map(|(_, text)| toml::from_str(text).ok());
            Rules::new(read.collect())
        });
        &RULES
    }

    fn new(families: Vec<Family>) -> Self {
        let order: Vec<(usize, usize)> = families
            .iter()
            .enumerate()
            .flat_map(|(at, family)| (0..family.rule.len()).map(move |rule| (at, rule)))
            .collect();
        let rule = |&(family, rule): &(usize, usize)| &families[family].rule[rule];
        let phrases = Phrases::new(order.iter().map(|at| rule(at).patterns.as_slice()));
        let without_phrases = (0..order.len())
            .filter(|at| rule(&order[*at]).patterns.is_empty())
            .collect();
        Self {
            by_provider: by_name(&families, |family| {
                family.providers.iter().map(String::as_str)
            }),
            by_domain: by_name(&families, |family| {
                family.mx.iter().map(|end| end.trim_start_matches('.'))
            }),
            phrases,
            without_phrases,
            order,
            families,
        }
    }

    /// The rule at a place of the order, and its family's index.
    pub fn get(&self, at: usize) -> (&Rule, usize) {
        let (family, rule) = self.order[at];
        (&self.families[family].rule[rule], family)
    }

    /// The family that a hint names: a provider, or an MX host.
    pub fn family_of(&self, hint: &str) -> Option<usize> {
        let hint = hint.trim_end_matches('.').to_ascii_lowercase();
        let parents = hint.match_indices('.').map(|(at, _)| &hint[at + 1..]);
        let domain = || {
            std::iter::once(hint.as_str())
                .chain(parents)
                .find_map(|name| self.by_domain.get(name))
        };
        self.by_provider.get(&hint).or_else(domain).copied()
    }
}

/// Where the phrases of a rule are from: a page of the provider, an RFC, or a sentence. None: there is no such rule, or hosts of all
/// kinds say it.
#[must_use]
pub fn source_of(rule: &str) -> Option<&'static str> {
    let rules = Rules::built_in();
    let (found, family) = (0..rules.order.len())
        .map(|at| rules.get(at))
        .find(|(one, _)| one.id == rule)?;
    let of_family = rules.families[family].source.as_str();
    let source = [found.source.as_str(), of_family];
    source.into_iter().find(|source| !source.is_empty())
}

/// Which family has which name; the first counts.
fn by_name<'a, N>(
    families: &'a [Family],
    names: impl Fn(&'a Family) -> N,
) -> BTreeMap<String, usize>
where
    N: Iterator<Item = &'a str>,
{
    let mut found = BTreeMap::new();
    for (at, family) in families.iter().enumerate() {
        for name in names(family) {
            found.entry(name.to_owned()).or_insert(at);
        }
    }
    found
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

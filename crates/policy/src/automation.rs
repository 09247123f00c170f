//! What follows from a host's replies: rules of an expression, a threshold and an action.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use regex::bytes::RegexSet;
use skein_model::DurationMs;
use skein_model::automation::{LASTS_MAX, LASTS_MIN};

use crate::limits::{CONNECTIONS_MAX, DAY};
use crate::place::Origin;
use crate::rate::Rate;
use crate::read::{Keys, Reader, scalar, whole};
use crate::reply_pattern;
use crate::shape::Shape;
use crate::span;
use crate::write::Map;
use crate::yaml::Value;

/// More kinds of reply than any host has; a set of them is matched at once for each failure.
pub const RULES_MAX: usize = 256;
const EXAMPLES_MAX: usize = 8;
/// As much as is kept of a reply.
const EXAMPLE_BYTES_MAX: usize = skein_model::Reply::TEXT_MAX;
/// Each match within the window is remembered until then.
const THRESHOLD_MAX: u64 = skein_model::automation::THRESHOLD_MAX as u64;
const LASTS_DEFAULT: DurationMs = DurationMs::from_secs(30 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing is sent in the rule's scope.
    Suspend,
    /// Messages go out no faster.
    Rate(Rate),
    /// No more connections at the same time.
    Connections(u32),
    /// What is waiting fails at once.
    Bounce,
    /// The IP is used for no site.
    RestIp,
}

/// Whom an action is about, at the site whose reply it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActionScope {
    /// The IP that got the reply.
    #[default]
    Site,
    /// The tenant whose mail it was.
    Tenant,
    /// All IPs of the pool.
    Pool,
}

/// So many matches within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    pub count: u64,
    pub window: DurationMs,
}

impl Default for Threshold {
    /// The first match.
    fn default() -> Self {
        let (count, window) = (1, DurationMs::from_secs(3600));
        Self { count, window }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The regular expression.
    pub pattern: String,
    pub action: Action,
    pub scope: ActionScope,
    pub threshold: Threshold,
    /// How long the action holds.
    pub lasts: DurationMs,
    /// Replies that it is meant for.
    pub examples: Vec<String>,
    pub origin: Arc<Origin>,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspend => f.write_str("suspend"),
            Self::Rate(rate) => write!(f, "rate: {rate}"),
            Self::Connections(connections) => write!(f, "connections: {connections}"),
            Self::Bounce => f.write_str("bounce"),
            Self::RestIp => f.write_str("rest_ip"),
        }
    }
}

impl ActionScope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Tenant => "tenant",
            Self::Pool => "pool",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let all = [Self::Site, Self::Tenant, Self::Pool];
        let found = all.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| "must be site (this IP at this site), tenant or pool".into())
    }
}

const ACTIONS: &str = "must be suspend, rate: 1/min, connections: 1, bounce or rest_ip";

fn action(text: &str) -> Result<Action, String> {
    match text {
        "suspend" => return Ok(Action::Suspend),
        "bounce" => return Ok(Action::Bounce),
        "rest_ip" => return Ok(Action::RestIp),
        _ => {}
    }
    let (key, value) = text.split_once(':').ok_or(ACTIONS)?;
    match key {
        "rate" => value.trim().parse().map(Action::Rate),
        "connections" => whole(value.trim(), &(1..=CONNECTIONS_MAX)).map(Action::Connections),
        _ => Err(ACTIONS.into()),
    }
}

fn threshold(text: &str) -> Result<Threshold, String> {
    let rate: Rate = text.parse()?;
    if rate.burst.is_some() || rate.count > THRESHOLD_MAX || rate.per > DAY {
        return Err(format!(
            "must be up to {THRESHOLD_MAX} matches in up to a day, such as 5/h"
        ));
    }
    let (count, window) = (rate.count, rate.per);
    Ok(Threshold { count, window })
}

fn lasts(text: &str) -> Result<DurationMs, String> {
    let span = span::parse(text)?;
    match (LASTS_MIN..=LASTS_MAX).contains(&span) {
        true => Ok(span),
        false => Err("must be from 10s to 1d".into()),
    }
}

fn example(text: &str) -> Result<String, String> {
    match (1..=EXAMPLE_BYTES_MAX).contains(&text.len()) {
        true => Ok(reply_pattern::one_line(text).into_owned()),
        false => Err(format!("must have up to {EXAMPLE_BYTES_MAX} bytes")),
    }
}

impl Rule {
    fn read(reader: &mut Reader, mut keys: Keys<'_>) -> Option<Self> {
        let compiled = keys.need(reader, "match", |text| {
            reply_pattern::compile(text).map(|regex| (text.to_owned(), regex))
        });
        let action = read_action(reader, &mut keys);
        let scope = keys.value(reader, "scope", ActionScope::parse);
        let threshold = keys.value(reader, "threshold", threshold);
        let lasts = keys.value(reader, "for", lasts);
        let examples = keys.list(reader, "example", EXAMPLES_MAX, example);
        let is_about_all = matches!(action, Some(Action::RestIp));
        if let Some(scope) = scope.as_ref().filter(|_| is_about_all) {
            let origin = &scope.origin;
            let message = "rest_ip is about the IP, at all sites: leave scope out";
            reader.fault(origin.place.line, &origin.key, message);
        }
        keys.finish(reader);
        let compiled = compiled?;
        let (pattern, regex) = compiled.value;
        let examples = examples.unwrap_or_default();
        for example in &examples {
            if !regex.is_match(example.value.as_bytes()) {
                let origin = &example.origin;
                let message = format!("is not matched by {pattern:?}: correct one of them");
                reader.fault(origin.place.line, &origin.key, message);
            }
        }
        Some(Self {
            pattern,
            action: action?,
            scope: scope.map(|scope| scope.value).unwrap_or_default(),
            threshold: threshold.map(|at| at.value).unwrap_or_default(),
            lasts: lasts.map_or(LASTS_DEFAULT, |at| at.value),
            examples: examples.into_iter().map(|example| example.value).collect(),
            origin: compiled.origin,
        })
    }

    fn write(&self) -> Map {
        let map = Map::default().set("match", &self.pattern);
        let map = match self.action {
            Action::Rate(rate) => map.map("action", Map::default().set("rate", rate)),
            Action::Connections(connections) => {
                map.map("action", Map::default().set("connections", connections))
            }
            action => map.set("action", action),
        };
        let scope = (self.scope != ActionScope::Site).then(|| self.scope.name());
        let Threshold { count, window } = self.threshold;
        let (per, burst) = (window, None);
        let threshold =
            (self.threshold != Threshold::default()).then_some(Rate { count, per, burst });
        let map = map
            .set_if("scope", scope)
            .set_if("threshold", threshold)
            .set("for", span::text(self.lasts));
        match self.examples.as_slice() {
            [example] => map.set("example", example),
            examples => map.list("example", examples),
        }
    }
}

/// A word, or a map of one key.
fn read_action(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Action> {
    let words = || Shape::of_words(&["suspend", "bounce", "rest_ip"]);
    if let Some(mut inner) = keys.record_map_or("action", words) {
        keys.record_need("action");
        let _ = inner.value(reader, "rate", str::parse::<Rate>);
        let _ = inner.whole(reader, "connections", 1..=CONNECTIONS_MAX);
    }
    let Some(entry) = keys.take("action") else {
        reader.fault(
            keys.line,
            &keys.path("action"),
            format!("is missing: it {ACTIONS}"),
        );
        return None;
    };
    let path = keys.path("action");
    let Value::Map(inner) = &entry.node.value else {
        return scalar(reader, &path, &entry.node, action);
    };
    let [only] = inner.as_slice() else {
        reader.fault(entry.line, &path, ACTIONS);
        return None;
    };
    let of_key = |text: &str| action(&format!("{}: {text}", only.key));
    scalar(reader, &path, &only.node, of_key)
}

pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Vec<Rule> {
    let rules = keys.maps(reader, "automation", RULES_MAX);
    let rules: Vec<Rule> = rules
        .into_iter()
        .filter_map(|keys| Rule::read(reader, keys))
        .collect();
    check_shadows(reader, &rules);
    rules
}

/// A rule counts only where no earlier one of the same provider does.
fn check_shadows(reader: &mut Reader, rules: &[Rule]) {
    let mut lines = BTreeMap::new();
    let set = reply_pattern::set(rules.iter().map(|rule| rule.pattern.as_str()));
    for (nth, rule) in rules.iter().enumerate() {
        let line = rule.origin.place.line;
        if let Some(earlier) = lines.get(rule.pattern.as_str()) {
            let message = format!(
                "the rule of line {earlier} has the same expression and comes first: leave one out"
            );
            reader.fault(line, &rule.origin.key, message);
            continue;
        }
        lines.insert(rule.pattern.as_str(), line);
        for example in &rule.examples {
            let first = set.matches(example.as_bytes()).iter().next();
            if let Some(earlier) = first.filter(|first| *first < nth) {
                let earlier = rules[earlier].origin.place.line;
                let message = format!(
                    "the rule of line {earlier} comes first and matches the example {example:?}: put the narrower rule before it"
                );
                reader.fault(line, &rule.origin.key, message);
            }
        }
    }
}

pub(crate) fn write(rules: &[Rule]) -> impl Iterator<Item = Map> {
    rules.iter().map(Rule::write)
}

/// Rules of one provider in their order, compiled as one.
#[derive(Debug, Clone)]
pub(crate) struct Automation {
    pub rules: Vec<Rule>,
    set: RegexSet,
}

impl Automation {
    pub fn new(rules: Vec<Rule>) -> Self {
        let set = reply_pattern::set(rules.iter().map(|rule| rule.pattern.as_str()));
        Self { rules, set }
    }

    /// The first rule that matches the reply.
    pub fn first(&self, reply: &str) -> Option<usize> {
        self.set.matches(reply.as_bytes()).iter().next()
    }
}

//! Replies that providers give, each with what must follow: one file of `tests/replays` for each provider.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replay {
    pub provider: String,
    /// One of its MX hosts.
    pub host: String,
    pub replies: Vec<Replied>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replied {
    /// What it answers: connect, mail, rcpt, data or dot.
    pub at: String,
    pub reply: String,
    /// The action, as policy writes it; "nothing" for none.
    pub then: String,
    /// As policy writes it; empty for "nothing".
    pub threshold: String,
    pub lasts: String,
}

impl Replied {
    /// Code and text.
    ///
    /// # Errors
    /// It does not begin with a code.
    pub fn parts(&self) -> Result<(u16, &str)> {
        let (code, text) = self.reply.split_once(' ').context("a code and a text")?;
        Ok((code.parse()?, text))
    }
}

/// All files, by provider.
///
/// # Errors
/// One cannot be read.
pub fn all() -> Result<BTreeMap<String, Replay>> {
    let folder = crate::manifest_dir().join("replays");
    let mut replays = BTreeMap::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let replay = parse(&text).with_context(|| path.display().to_string())?;
        replays.insert(replay.provider.clone(), replay);
    }
    Ok(replays)
}

/// The part of YAML that these files keep to: keys with plain or single-quoted values, one list.
fn parse(text: &str) -> Result<Replay> {
    let mut replay = Replay::default();
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') || content == "replies:" {
            continue;
        }
        let (is_new, content) = match content.strip_prefix("- ") {
            Some(content) => (true, content),
            None => (false, content),
        };
        if is_new {
            replay.replies.push(Replied::default());
        }
        let (key, value) = content
            .split_once(": ")
            .with_context(|| format!("no key: {line}"))?;
        let quoted = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\''));
        let value = quoted.map_or_else(|| value.to_owned(), |text| text.replace("''", "'"));
        let place = match (key, replay.replies.last_mut()) {
            ("provider", None) => &mut replay.provider,
            ("host", None) => &mut replay.host,
            ("at", Some(replied)) => &mut replied.at,
            ("reply", Some(replied)) => &mut replied.reply,
            ("then", Some(replied)) => &mut replied.then,
            ("threshold", Some(replied)) => &mut replied.threshold,
            ("for", Some(replied)) => &mut replied.lasts,
            _ => bail!("no such key here: {line}"),
        };
        *place = value;
    }
    Ok(replay)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use skein_model::automation::{Command, Match, MatchCount, active_actions, commit, set_rules};
    use skein_model::rows::MemoryRows;
    use skein_model::{DurationMs, UnixMs};
    use skein_policy::{Policy, Rule};

    use super::*;

    /// What a rule says, in the words of the files.
    fn words(rule: &Rule) -> (String, String, String) {
        let action = rule.action.to_string().replace("rate: ", "rate ");
        let action = action.replace("connections: ", "connections ");
        let threshold = rule.threshold;
        let per = match threshold.window.0 {
            3_600_000 => "h".to_owned(),
            other => format!("{other} ms"),
        };
        let minutes = rule.lasts.0 / 60_000;
        let lasts = match (minutes % 60, minutes) {
            (0, _) => format!("{}h", minutes / 60),
            (_, minutes) => format!("{minutes}m"),
        };
        (action, format!("{}/{per}", threshold.count), lasts)
    }

    /// How many such replies it takes until something is in force.
    fn takes(policy: &Policy, site: &str, reply: &str) -> u64 {
        let mut rows = MemoryRows::default();
        set_rules(&mut rows, &policy.counted_rules());
        for count in 1..=100 {
            let found = policy.reaction_of(site, reply).unwrap();
            let matched = Match {
                provider: found.provider.to_string(),
                rule: found.nth,
                ip: [192, 0, 2, 1].into(),
                site: site.to_owned(),
                tenant: "shop".to_owned(),
                pool: "main".to_owned(),
                reply: reply.to_owned(),
            };
            let told = vec![MatchCount { matched, count: 1 }];
            let now = UnixMs(1_700_000_000_000) + DurationMs::from_secs(count);
            commit(&mut rows, now, &Command::MatchCount(told));
            if let Some((_, force)) = active_actions(&rows).iter().next() {
                assert_eq!(force.why, reply);
                return count;
            }
        }
        panic!("{reply} has no effect");
    }

    #[test]
    fn replies_as_providers_give_them_have_the_effect_that_is_meant() {
        let (policy, replays) = (Policy::built_in(), all().unwrap());
        let with_rules = policy.providers().map(|provider| provider.name.to_string());
        let known: Vec<String> = replays.keys().cloned().collect();
        assert_eq!(known, with_rules.collect::<Vec<_>>(), "one file for each");
        let mut count = 0;
        for (provider, replay) in &replays {
            let site = policy.site_of("customer.example", &[&replay.host]);
            let found = site.name.as_deref().unwrap_or("default");
            assert_eq!(found, provider, "{}", replay.host);
            for replied in &replay.replies {
                count += 1;
                let found = policy.reaction_of(provider, &replied.reply);
                let Some(found) = found else {
                    assert_eq!(replied.then, "nothing", "{provider}: {replied:?}");
                    continue;
                };
                let expected = [&replied.then, &replied.threshold, &replied.lasts];
                let (action, threshold, lasts) = words(found.rule);
                let said = [&action, &threshold, &lasts];
                assert_eq!(said, expected, "{provider}: {}", replied.reply);
                let takes = takes(&policy, provider, &replied.reply);
                assert_eq!(takes, found.rule.threshold.count, "{}", replied.reply);
            }
        }
        println!("{count} replies of {} providers", replays.len());
    }
}

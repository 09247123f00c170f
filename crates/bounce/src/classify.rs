//! From a refusal to its class: rules on the text and the table of codes, in the order that the codes can be trusted in.

use std::time::Duration;

use skein_smtp::reply::Enhanced;

use crate::code_table::{is_vague, of_enhanced, of_reply};
use crate::fold::{TEXT_BYTES_MAX, cut, decode_words, fold};
use crate::refusal::Refusal;
use crate::retry_after::retry_after;
use crate::rules::{Rule, Rules};
use skein_model::bounce::{Class, Group, Suppression};

/// What a refusal comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    pub class: Class,
    /// The rule that decided, or one of [`BY_ENHANCED_CODE`], [`BY_REPLY_CODE`], [`BY_RETRY_AFTER`], [`BY_NOTHING`].
    pub rule: &'static str,
    /// When the host wants to be asked again, a day at most. None: it does not say, or refuses for good.
    pub retry_after: Option<Duration>,
    /// Whether the host refuses for good.
    pub is_permanent: bool,
}

/// The enhanced status code alone decided.
pub const BY_ENHANCED_CODE: &str = "enhanced-code";
/// The reply code alone decided.
pub const BY_REPLY_CODE: &str = "reply-code";
/// The host said no more than when to come again.
pub const BY_RETRY_AFTER: &str = "retry-after";
/// Neither the codes nor the text say anything.
pub const BY_NOTHING: &str = "none";

impl Classified {
    /// When the address goes on the suppression list. A host that wants another try has not said that an address is no more.
    #[must_use]
    pub const fn suppresses(&self) -> Suppression {
        match self.class.suppresses() {
            Suppression::AtOnce if !self.is_permanent => Suppression::Never,
            rule => rule,
        }
    }
}

/// Classifies a refusal. `hint`: the name of the provider, or of the MX host that said it.
#[must_use]
pub fn classify(refusal: &Refusal<'_>, hint: Option<&str>) -> Classified {
    let rules = Rules::built_in();
    let text = text_of(refusal);
    let is_permanent = refusal.is_permanent();
    let matched = matched(rules, refusal, &text, hint);
    let is_temporary = !is_permanent;
    let retry_after = is_temporary.then(|| retry_after(&text)).flatten();
    let by_table = refusal
        .enhanced
        .and_then(of_enhanced)
        .map(|class| (class, BY_ENHANCED_CODE));
    let by_reply = || {
        let class = refusal.code.and_then(of_reply);
        class.map(|class| (class, BY_REPLY_CODE))
    };
    let by_retry = || retry_after.map(|_| (Class::Greylisted, BY_RETRY_AFTER));
    let table = by_table.map(|(class, _)| class);
    let by_text = matched
        .iter()
        .find(|rule| text_decides(rule, table, refusal.enhanced))
        .map(|rule| (rule.class, rule.id.as_str()));
    let chosen = match by_table {
        // A host that says no more than when to come again has other words for the same.
        Some((Class::Busy, _)) | None => by_text.or_else(by_retry).or(by_table).or_else(by_reply),
        Some(_) => by_text.or(by_table),
    };
    let (class, rule) = chosen.unwrap_or((Class::Other, BY_NOTHING));
    Classified {
        class,
        rule,
        retry_after,
        is_permanent,
    }
}

/// Whether a rule on the text counts for more than what the table has for the enhanced code.
fn text_decides(rule: &Rule, by_table: Option<Class>, code: Option<Enhanced>) -> bool {
    let Some(by_table) = by_table.filter(|_| !code.is_none_or(is_vague)) else {
        return true;
    };
    // The code that the rule expects, or no contradiction: the rule says more.
    let is_expected = !rule.enhanced.is_empty() || rule.class == by_table;
    let spares_address = by_table.group() == Group::Hard
        && !matches!(rule.class.group(), Group::Hard | Group::Technical);
    let is_about_sender = rule.class.is_about_sender() && !by_table.is_about_sender();
    is_expected || spares_address || is_about_sender
}

/// The rules that hold, the one that counts most first.
pub(crate) fn matched(
    rules: &'static Rules,
    refusal: &Refusal<'_>,
    text: &str,
    hint: Option<&str>,
) -> Vec<&'static Rule> {
    let family = hint.and_then(|hint| rules.family_of(hint));
    let by_phrases = rules.phrases.matched(text).into_iter();
    let mut found: Vec<(bool, usize, &Rule)> = by_phrases
        .chain(rules.without_phrases.iter().copied())
        .filter_map(|at| {
            let (rule, of) = rules.get(at);
            let is_hinted = family == Some(of);
            let holds = (is_hinted || !rule.hinted) && holds(rule, refusal);
            holds.then_some((!is_hinted, at, rule))
        })
        .collect();
    found.sort_by_key(|(is_other, at, _)| (*is_other, *at));
    let is_about_sender = |(_, _, rule): &(bool, usize, &Rule)| rule.class.is_about_sender();
    if found.iter().any(is_about_sender) {
        // Such a refusal says nothing of the address, whatever else is in the text.
        found.retain(|(_, _, rule)| rule.class.group() != Group::Hard);
    }
    found.into_iter().map(|(_, _, rule)| rule).collect()
}

fn holds(rule: &Rule, refusal: &Refusal<'_>) -> bool {
    let of_code = |code| rule.codes.iter().any(|one| one.holds_for_reply(code));
    let of_enhanced = |code| rule.enhanced.iter().any(|one| one.holds_for_enhanced(code));
    (rule.codes.is_empty() || refusal.code.is_some_and(of_code))
        && (rule.enhanced.is_empty() || refusal.enhanced.is_some_and(of_enhanced))
}

/// The folded text, without the codes that stand again at the beginning of each line, and without addresses in angle brackets,
/// which may have any word in them.
pub(crate) fn text_of(refusal: &Refusal<'_>) -> String {
    let text = cut(refusal.text, TEXT_BYTES_MAX);
    let text = match text.contains("=?") {
        true => fold(&decode_words(text)),
        false => fold(text),
    };
    let code = refusal.code.map(|code| code.to_string());
    let code = code.as_deref().filter(|code| text.contains(code));
    if code.is_none() && !text.contains('<') {
        return text;
    }
    let enhanced = refusal.enhanced.map(|enhanced| enhanced.to_string());
    let mut joined = String::with_capacity(text.len());
    let mut is_after_code = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let behind = code.and_then(|code| word.strip_prefix(code));
        let kept = match behind.and_then(|behind| behind.strip_prefix('-')) {
            Some(rest) if enhanced.as_deref() == Some(rest) => "",
            Some(rest) => rest,
            None if behind == Some("") => "",
            None if is_after_code && enhanced.as_deref() == Some(word) => "",
            None => without_address(word),
        };
        is_after_code = behind.is_some();
        if !kept.is_empty() {
            joined.push(' ');
            joined.push_str(kept);
        }
    }
    joined.push(' ');
    joined
}

/// What follows `<user@example.net>` in a word that begins so.
fn without_address(word: &str) -> &str {
    let address = word
        .strip_prefix('<')
        .and_then(|inner| inner.split_once('>'));
    match address {
        Some((address, behind)) if address.contains('@') => behind,
        _ => word,
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;

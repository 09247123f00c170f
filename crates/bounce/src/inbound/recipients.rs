//! What a report says of one recipient, as a class.

use skein_mail::dsn::Action;
use skein_smtp::reply::Enhanced;

use crate::address::in_text;
use crate::classify::{BY_NOTHING, Classified, classify};
use crate::fold::{TEXT_BYTES_MAX, cut};
use crate::inbound::found::Recipient;
use crate::inbound::lines::Lines;
use crate::inbound::status::Group;
use crate::inbound::text_report::{Named, says_something, words_about};
use crate::refusal::Refusal;
use skein_model::bounce::Class;

/// A recipient of a report with fields. What the fields leave open, the words of the report may say.
pub(crate) fn of_group(group: Group, lines: &Lines<'_>) -> Option<Recipient> {
    let address = address(&group)?;
    let action = action(&group);
    let has_words = |text: &String| text.chars().filter(|c| c.is_alphabetic()).count() > 3;
    let mut diagnostic = group
        .diagnostic
        .or(group.comment.filter(has_words))
        .unwrap_or_default();
    let host = group.remote_mta.as_deref();
    let mut classified = of_diagnostic(&diagnostic, group.status, host);
    if classified.class == Class::Other
        && let Some(words) = words_about(lines, &address)
        && says_something(&words)
    {
        let by_words = of_diagnostic(&words, group.status, host);
        if by_words.class != Class::Other {
            classified = by_words;
        }
        if diagnostic.is_empty() {
            diagnostic = words;
        }
    }
    Some(Recipient {
        original: group
            .original_recipient
            .filter(|original| *original != address),
        address,
        action,
        status: group.status,
        remote_mta: group.remote_mta,
        diagnostic: cut(&diagnostic, TEXT_BYTES_MAX).to_owned(),
        classified: of_action(classified, action),
    })
}

/// The final recipient, unless it is a name within the system that wrote the report: that helps nobody.
fn address(group: &Group) -> Option<String> {
    let is_of_internet = |address: &&String| {
        let domain = address.rsplit_once('@').map(|(_, domain)| domain);
        domain.is_some_and(|domain| domain.contains('.'))
    };
    let last = group.final_recipient.as_ref();
    let chosen = last
        .filter(is_of_internet)
        .or(group.original_recipient.as_ref())
        .or(last)?;
    Some(chosen.clone())
}

fn action(group: &Group) -> Action {
    let by_status = match group.status.map(|status| status.class) {
        Some(2) => Action::Delivered,
        Some(4) => Action::Delayed,
        _ => Action::Failed,
    };
    group.action.unwrap_or(by_status)
}

/// What the host said counts for more than what the report made of it.
fn of_diagnostic(diagnostic: &str, status: Option<Enhanced>, host: Option<&str>) -> Classified {
    let read = Refusal::read(diagnostic);
    let status = status.filter(|status| status.class != 2);
    // The reply code and the status of the report may be of different attempts: the code counts.
    let enhanced = read.enhanced.or(status);
    classify(
        &Refusal { enhanced, ..read },
        host.or_else(|| quoted_host(diagnostic)),
    )
}

/// The host that a text says a reply is of: `host mx.example.net[192.0.2.1] said`.
fn quoted_host(text: &str) -> Option<&str> {
    let (_, behind) = text.split_once("host ")?;
    let host = behind.split([' ', '[', '(', ':']).next()?;
    host.contains('.').then_some(host)
}

/// A report says itself whether mail is still tried.
fn of_action(classified: Classified, action: Action) -> Classified {
    match action {
        Action::Delayed => Classified {
            class: Class::Delayed,
            is_permanent: false,
            ..classified
        },
        _ => classified,
    }
}

/// A recipient of a report in words. `words`: what is said of all.
pub(crate) fn of_named(named: Named, words: &str, action: Action) -> Recipient {
    let own = classify(
        &Refusal::read(&named.diagnostic),
        quoted_host(&named.diagnostic),
    );
    let (diagnostic, classified) = match own.rule {
        // What is said of all is said of each.
        BY_NOTHING => (words.to_owned(), classify(&Refusal::read(words), None)),
        _ => (named.diagnostic, own),
    };
    let read = Refusal::read(&diagnostic);
    // A system that has given up and quotes no code of a host means it.
    let is_permanent = action == Action::Failed
        && (classified.is_permanent || (read.code.is_none() && read.enhanced.is_none()));
    Recipient {
        address: named.address,
        original: expanded_from(&diagnostic),
        action,
        status: read.enhanced,
        remote_mta: None,
        diagnostic: cut(&diagnostic, TEXT_BYTES_MAX).to_owned(),
        classified: of_action(
            Classified {
                is_permanent,
                ..classified
            },
            action,
        ),
    }
}

/// The alias that Sendmail and Postfix name beside a recipient: `(expanded from: <list@example.net>)`.
fn expanded_from(diagnostic: &str) -> Option<String> {
    let (_, behind) = diagnostic.split_once("(expanded from")?;
    in_text(behind)
}

//! What codes alone say (RFC 3463 and the IANA registry of enhanced status codes).

use skein_smtp::reply::Enhanced;

use skein_model::bounce::Class;

/// Whether hosts use this code for so many things that the text says more: 5.7.1 is a block, a closed group or no relaying.
pub(crate) fn is_vague(code: Enhanced) -> bool {
    matches!(
        (code.subject, code.detail),
        (7, _) | (1..=3 | 5 | 0, 0) | (3, 1) | (4, 1)
    )
}

/// The class of an enhanced code, None if it says nothing.
pub(crate) fn of_enhanced(code: Enhanced) -> Option<Class> {
    Some(match (code.subject, code.detail) {
        (1, 1 | 3 | 4) => Class::InvalidRecipient,
        (1, 2 | 10) | (7, 18) => Class::InvalidDomain,
        (1, 6) => Class::Moved,
        (1, 7 | 8) => Class::Auth,
        (2, 1) | (7, 13 | 17) => Class::InactiveMailbox,
        (2, 2) => Class::MailboxFull,
        (2, 3) | (3, 4) => Class::TooBig,
        (2, 4) | (7, 2) => Class::Policy,
        (4, 2) if code.class == 4 => Class::Network,
        (3, 1 | 2) | (4, 2 | 5) => Class::Busy,
        (3, 0) if code.class == 4 => Class::Busy,
        (3, 5) => Class::Routing,
        (4, 1) => Class::Network,
        (4, 3 | 4) => Class::Dns,
        (4, 6) => Class::Loop,
        (4, 7) => Class::Expired,
        (5, 3) => Class::RateLimited,
        (5, 0) => return None,
        (5 | 6, _) => Class::Protocol,
        // TLS or a login is wanted, or one that we have is not good enough.
        (7, 4..=11) => Class::Auth,
        (7, 20..=27 | 29 | 30 | 509 | 515) => Class::Auth,
        (7, 28) => Class::RateLimited,
        _ => return None,
    })
}

/// The class of a reply code without an enhanced one.
pub(crate) fn of_reply(code: u16) -> Option<Class> {
    Some(match code {
        421 | 450 | 451 | 452 => Class::Busy,
        552 => Class::MailboxFull,
        500..=504 | 555 => Class::Protocol,
        // The host takes no mail at all (RFC 7504).
        521 => Class::Routing,
        523..=525 | 530 | 534 | 535 | 538 | 454 => Class::Auth,
        556 => Class::InvalidDomain,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "code_table_tests.rs"]
mod tests;

//! Whether a mail system wrote a message, by its header.

use skein_mail::field::field_values;

use crate::fold::{decode_words, fold};
use crate::inbound::words::reports;

fn first(header: &[u8], name: &str) -> Option<String> {
    let value = field_values(header, name).into_iter().next()?;
    Some(fold(&decode_words(&value)))
}

/// Whether it says that it is of a mail system: it has no return path, or From or the subject of one.
pub(crate) fn is_mail_system(header: &[u8]) -> bool {
    let is_null = first(header, "Return-Path").is_some_and(|path| path == " <> ");
    let has = |name, phrases: &[String]| {
        first(header, name).is_some_and(|text| phrases.iter().any(|phrase| text.contains(phrase)))
    };
    is_null
        // What some systems put there in place of none.
        || first(header, "Return-Path").is_some_and(|path| path.contains("mailer-daemon@"))
        || has("From", &reports().senders)
        || has("Sender", &reports().senders)
        || (has("Subject", &reports().subjects) && !is_thread(header))
        || !field_values(header, "X-Failed-Recipients").is_empty()
}

/// Whether a person goes on with a conversation.
fn is_thread(header: &[u8]) -> bool {
    let subject = first(header, "Subject").unwrap_or_default();
    subject.starts_with(" re:") || subject.starts_with(" aw:")
}

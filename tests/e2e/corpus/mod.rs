//! Messages of all kinds to hosts of all kinds: what was accepted arrives as it was, or in a form that was said, or there is
//! a report.

mod content;
mod processes;
mod pure;

use content::{Contents, contents};

/// The 16 subsets of the extensions that decide how a message goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    eight_bit_mime: bool,
    smtputf8: bool,
    chunking: bool,
    pipelining: bool,
}

impl Offer {
    fn all() -> impl Iterator<Item = Self> {
        (0..16u8).map(|bits| Self {
            eight_bit_mime: bits & 1 != 0,
            smtputf8: bits & 2 != 0,
            chunking: bits & 4 != 0,
            pipelining: bits & 8 != 0,
        })
    }
}

/// Says what is wrong with the form in which a host got a message of which `stored` is kept, or nothing.
fn fault(stored: &[u8], received: &[u8], offer: Offer) -> Option<String> {
    let whole = skein_tests::corpus::with_crlf(stored);
    let ended = match whole.ends_with(b"\r\n") || whole.is_empty() {
        true => whole.clone(),
        false => [&whole[..], b"\r\n"].concat(),
    };
    if skein_tests::corpus::has_bare(received) {
        return Some("a bare CR or LF was written".to_owned());
    }
    if !offer.eight_bit_mime && !received.is_ascii() {
        return Some("8-bit octets went to a host without 8BITMIME".to_owned());
    }
    if received == whole || received == ended {
        return None;
    }
    if offer.eight_bit_mime || stored.is_ascii() {
        return Some("the message was changed without need".to_owned());
    }
    match (contents(&whole), contents(received)) {
        (Some(before), Some(after)) if before != after => Some(difference(&before, &after)),
        _ => None,
    }
}

fn difference(before: &Contents, after: &Contents) -> String {
    format!("the content was changed: {before:?} became {after:?}")
}

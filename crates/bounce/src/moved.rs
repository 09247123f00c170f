//! Where somebody has gone.

use crate::address::in_word;
use crate::fold::{TEXT_BYTES_MAX, cut};

/// The new address that a refusal of class [`crate::Class::Moved`] names: the last one in its text. It is shown to people, never
/// written to.
#[must_use]
pub fn new_address(text: &str) -> Option<String> {
    let words = cut(text, TEXT_BYTES_MAX).split_whitespace();
    words.rev().find_map(in_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_is_the_new_one() {
        for (text, address) in [
            (
                "551 5.1.6 <a@example.net> has moved to b@example.org",
                Some("b@example.org"),
            ),
            (
                "551 User not local; please try <b@example.org>",
                Some("b@example.org"),
            ),
            ("551 moved", None),
        ] {
            assert_eq!(new_address(text).as_deref(), address, "{text}");
        }
    }
}

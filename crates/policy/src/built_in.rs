//! The providers that ship with the product.

use std::sync::LazyLock;

use crate::draft::{Draft, Resources, Source};
use crate::nearest::did_you_mean;
use crate::provider::ProviderGiven;

/// What the built-in providers' text is called in problems and explanations.
pub const NAME: &str = "built-in/providers.yaml";
/// The text of the built-in providers.
pub const TEXT: &str = include_str!("providers.yaml");

const SOURCE: Source<'_> = Source {
    name: NAME,
    text: TEXT,
};

static GIVEN: LazyLock<Resources<ProviderGiven>> =
    LazyLock::new(|| Draft::read(&[SOURCE]).providers);

/// What people call providers that have another name here.
const ALSO_CALLED: [(&str, &str); 19] = [
    ("gmail", "google"),
    ("googlemail", "google"),
    ("gsuite", "google"),
    ("workspace", "google"),
    ("aol", "yahoo"),
    ("ymail", "yahoo"),
    ("hotmail", "outlook"),
    ("live", "outlook"),
    ("msn", "outlook"),
    ("microsoft", "outlook"),
    ("o365", "office365"),
    ("m365", "office365"),
    ("microsoft365", "office365"),
    ("exchange", "office365"),
    ("icloud", "apple"),
    ("me", "apple"),
    ("webde", "gmx"),
    ("163", "netease"),
    ("126", "netease"),
];

/// ` (did you mean NAME?)` with the built-in provider that somebody may mean, or nothing.
pub(crate) fn meant(name: &str) -> String {
    let plain = name.to_ascii_lowercase();
    let plain = plain.strip_suffix(".com").unwrap_or(&plain);
    let known = ALSO_CALLED.iter().find(|(other, _)| *other == plain);
    match known {
        Some((_, name)) => format!(" (did you mean {name}?)"),
        None => did_you_mean(plain, given().keys().map(|name| &**name)),
    }
}

pub(crate) fn given() -> &'static Resources<ProviderGiven> {
    &GIVEN
}

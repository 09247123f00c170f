//! The providers that ship with the product.

use std::sync::{Arc, LazyLock};

use crate::draft::{Draft, Resources, Source};
use crate::policy::{Overlap, Policy};
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

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let policy = Policy::build(&GIVEN, Draft::default(), Overlap::Refused);
    Arc::new(policy.expect("the built-in providers are sound, as a test asserts"))
});

pub(crate) fn given() -> &'static Resources<ProviderGiven> {
    &GIVEN
}

pub(crate) fn policy() -> Arc<Policy> {
    Arc::clone(&POLICY)
}

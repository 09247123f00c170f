//! The policy as the meta group has it, for what its leader decides.

use skein_model::meta;
use skein_policy::Policy;
use skein_store::Reader;

/// None if this version cannot read it, which is logged with what holds meanwhile.
pub fn read(reader: &Reader, meanwhile: &str) -> Option<Policy> {
    match Policy::of_texts(&meta::policy(reader)) {
        Ok(policy) => Some(policy),
        Err(problems) => {
            let problem = problems.first().map(ToString::to_string);
            tracing::error!(problem, "the policy cannot be read; {meanwhile}");
            None
        }
    }
}

//! The policy as the meta group has it, for what its leader decides.

mod held_back;
mod in_force;
mod quotas;
mod rules;
mod site_spread;
mod warmup_plans;
mod weights;

use skein_model::meta;
use skein_policy::Policy;
use skein_store::Reader;

pub use held_back::{HeldBack, pools};
pub use in_force::InForce;
pub use quotas::{FullTenants, count_quotas};
pub use rules::{keep_rules, pass_time};
pub use site_spread::look_after as spread_sites;
pub use warmup_plans::keep_plans;
pub use weights::{Weights, weight_by_policy, weights};

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

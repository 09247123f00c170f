//! The cluster's policy, pure: YAML resources to checked data, the built-in providers, the linter, and what senders ask.
//!
//! Text comes in and data goes out. Nothing here counts, waits or connects: a [`Policy`] says which limits apply and
//! which rule a reply calls for, and others keep to it.

// Its order differs from one process to the next.
#![deny(clippy::iter_over_hash_type)]

mod allowed;
mod automation;
mod built_in;
mod counted;
mod credential;
mod cross;
mod destination;
mod diff;
mod draft;
mod effective;
mod explain;
mod flat;
mod inbound;
mod intake;
mod ip;
mod kind_shape;
mod limits;
mod local_part;
mod names;
mod nearest;
pub mod network;
mod place;
mod policy;
mod pool;
mod provider;
mod rate;
mod read;
mod reply_pattern;
mod route;
mod schedule;
mod shape;
mod shown;
mod signing_secret;
mod sites;
mod size;
mod span;
mod tenant;
mod timeouts;
mod warmup;
mod warmup_plan;
mod write;
mod yaml;

#[cfg(test)]
mod built_in_tests;
#[cfg(test)]
mod credential_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod problem_tests;
#[cfg(test)]
mod provider_tests;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod resource_tests;

pub use automation::{Action, ActionScope, RULES_MAX, Rule, Threshold};
pub use built_in::{NAME as BUILT_IN_NAME, TEXT as BUILT_IN_TEXT};
pub use counted::Matched;
pub use credential::{Credential, NewCredential, TokenRole};
pub use destination::{Destination, HostPort, Hosts, Url, Webhook};
pub use diff::{KeyChange, diff};
pub use draft::{RESOURCE_BYTES_MAX, RESOURCES_MAX, Source, TEXT_BYTES_MAX};
pub use effective::{EffectiveKey, From};
pub use explain::{EffectiveLimit, EffectiveLimits, LimitValue, Scope};
pub use inbound::{Checks, Hosted, Inbound};
pub use intake::{Held, IntakeRates, Quota};
pub use ip::{Ip, Login, MASK, Proxy};
pub use limits::{CONNECTIONS_MAX, Limits};
pub use local_part::LocalPart;
pub use names::{Pattern, is_resource_name};
pub use nearest::{did_you_mean, nearest};
pub use place::{At, Kind, Origin, Place, Problem};
pub use policy::Policy;
pub use pool::{MEMBERS_MAX, Member, Pool, WEIGHT_MAX};
pub use provider::{DEFAULT as DEFAULT_PROVIDER, PATTERNS_MAX, Provider, Tls};
pub use rate::{COUNT_MAX as RATE_COUNT_MAX, Rate};
pub use route::{DEFAULT_POOL, OWN_ADDRESS, PoolRefused, Route, To};
pub use schedule::{Curve, Formula, STAGES_MAX, Schedule};
pub use shape::{MapShape, Shape};
pub use sites::Site;
pub use size::Size;
pub use skein_credential::SigningSecret;
pub use span::Span;
pub use tenant::{DsnPolicy, TENANT_WEIGHT_MAX, Tenant};
pub use timeouts::Timeouts;
pub use warmup::{Share, Target, Warmup};

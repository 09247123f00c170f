//! The meta group: its control nodes, sender sessions and the slots they own.

mod admission;
mod assign;
mod audit;
mod check;
mod command;
pub mod domains;
mod event_log;
mod import;
mod ip_checks;
mod ips;
mod known_clients;
mod leaders;
mod leases;
mod limit_book;
mod limit_row;
pub mod limits;
mod members;
mod policy;
mod policy_change;
mod policy_history;
mod replies;
mod site_spread;
mod state;
pub mod sts;
pub mod suppressions;
mod tenants;
pub mod tls_reports;
mod token_keys;
mod warmups;

pub use admission::{Admission, CannotJoin, GroupVoters, MemberSeen};
pub use assign::{assign, unfit};
pub use audit::{ASKED_BYTES_MAX, AUDIT_NAME_BYTES_MAX, AuditCommand, AuditEnd, AuditEntry, audit};
pub use check::read_proposed;
pub use command::{Command, Refusal, Response};
pub use event_log::{MetaEvent, MetaEventKind, first_event, is_logged, meta_events};
pub use import::Import;
pub use ip_checks::{FAULTS_BYTES_MAX, IpCheck, ip_checks};
pub use ips::{Addresses, Placement, Wanted, addresses, place, placements, placements_version};
pub use known_clients::{
    AT_ONCE_MAX as KNOWN_AT_ONCE_MAX, CLIENTS_MAX as KNOWN_CLIENTS_MAX, KnownRow,
    WRITE_EVERY as KNOWN_WRITE_EVERY, known_client_row, known_clients,
};
pub use leaders::{Leading, Move};
pub use leases::{Leases, Process, StillHeld};
pub use limit_row::{LimitRow, Part};
pub use members::{
    CannotRemove, ClusterRow, Join, Member, NodeRow, SPOOL_GROUPS_MAX, Step, cluster, invited,
    is_as_told, is_stranger, may_remove, next_step, nodes, was_removed,
};
pub use policy::{
    Kept, POLICY_BYTES_MAX, RESOURCE_BYTES_MAX, kept, policy, policy_sources, policy_version,
};
pub use policy_change::{PolicyChange, Put};
pub use policy_history::{
    HISTORY_BYTES_MAX, HISTORY_VERSIONS_MAX, Made, PolicyVersion, has_history, policy_at,
    policy_history,
};
pub use site_spread::{Allowed, Backlog, SPREAD_MAX, Spread, SpreadControl, Spreads, spreads};
pub use state::{
    Assignment, SessionRow, apply, assignments, assignments_version, drained, session, sessions,
    time,
};
pub use tenants::{WEIGHT_MAX, is_tenant_name, weights, weights_version};
pub use token_keys::{PutTokenKey, TOKEN_KEY_OVERLAP, TOKEN_KEYS_MAX, TokenKeyRow, token_keys};

#[cfg(test)]
mod ips_tests;
#[cfg(test)]
mod limits_lowered_tests;
#[cfg(test)]
mod limits_sim;
#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod site_spread_tests;
#[cfg(test)]
mod tests;

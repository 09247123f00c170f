//! The chart and what belongs to it, judged by the tools that their users have: Helm 3 and 4, schemas of Kubernetes and of
//! custom resources, the product's own `config check` and `provider lint`, linters.
//!
//! `SKEIN_REFRESH=1 cargo xtask test --test chart` writes anew what is derived: golden renders, the table of values, the
//! copies of dashboards and alert rules in the chart.
#![expect(clippy::unwrap_used, reason = "tests")]

mod api_server;
mod changes;
mod configuration;
mod files;
mod golden;
mod objects;
mod packages;
mod readme;
mod refusals;

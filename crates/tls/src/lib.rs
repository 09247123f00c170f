//! What mail on its way out demands of TLS, and what a connection has proved.
//!
//! The policy belongs to the task: [`TaskTls::decide`] gives what a host must prove for it, by the precedence of route, DANE
//! (RFC 7672), MTA-STS (RFC 8461) and provider. The connection records what it proved, [`Proof`], whether or not anything was
//! demanded, and [`Demand::is_met_by`] says whether a task may use it. No IO; time is an argument of rustls.

mod dane;
mod decide;
mod demand;
mod fault;
mod pkix;
mod proof;
mod tlsa;
mod verifier;

pub use dane::DaneRecords;
pub use decide::{Applied, Choice, Decision, ENCRYPTION_NEEDED, SenderWish, Skip, TaskTls};
pub use demand::{Demand, TlsPolicy};
pub use fault::CertificateFault;
pub use pkix::{BadRoot, Roots};
pub use proof::{Level, Proof};
pub use tlsa::{Usable, usable};
pub use verifier::{Verifier, client_config};

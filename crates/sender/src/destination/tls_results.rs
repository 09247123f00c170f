//! How TLS with MX hosts went, as their domains may ask to be told (RFC 8460). Pure, but for the one who counts.

use skein_client::TlsPolicies;
use skein_model::sts::{StsMode, StsPolicy};
use skein_model::tls_report::{AppliedPolicy, FailureKind, TlsResult};
use skein_tls::{Applied, Decision, Demand, SenderWish};

use crate::host::Host;
use crate::route::tls::RouteTls;
use crate::smtp::connection::Connection;
use crate::smtp::no_session::{Cause, NoSession};

/// Counts sessions for the reports to domains. It never waits.
pub trait TlsResults: Send + Sync {
    fn count(&self, result: TlsResult);
}

impl TlsResults for TlsPolicies {
    fn count(&self, result: TlsResult) {
        self.count_tls(result);
    }
}

/// A try to get a session with a host of a route.
#[derive(Debug, Clone, Copy)]
pub struct Tried<'a> {
    pub tls: &'a RouteTls,
    pub host: &'a Host,
    pub decision: &'a Decision,
    /// What the decision comes to.
    pub demand: &'a Demand,
}

impl Tried<'_> {
    /// A session came about, as far as the domain's policy is concerned.
    pub fn connected(&self, connection: &Connection) -> Option<TlsResult> {
        let failure = match (self.policy()?, connection.proof.is_encrypted()) {
            (Policy::Dane, true) if *self.demand == Demand::Tls => Some(FailureKind::TlsaInvalid),
            (Policy::Sts(policy), _) if !policy.allows(&self.host.name) => {
                Some(FailureKind::ValidationFailure)
            }
            (_, false) => Some(FailureKind::StarttlsNotSupported),
            (Policy::Sts(_), true) => connection.proof.pkix_fault().map(|one| one.reported()),
            (Policy::Dane | Policy::None, true) => None,
        };
        let source = connection.source.as_deref();
        let sending_ip = source.and_then(|source| source.parse().ok());
        let result = result(self.tls, self.host, self.decision, failure)?;
        Some(TlsResult {
            sending_ip,
            ..result
        })
    }

    /// None came about. None: TLS has nothing to do with it.
    pub fn failed(&self, failure: &NoSession) -> Option<TlsResult> {
        let kind = kind_of(failure)?;
        result(self.tls, self.host, self.decision, Some(kind))
    }

    fn policy(&self) -> Option<Policy<'_>> {
        policy(self.tls, self.decision)
    }
}

/// What of TLS kept a session from coming about, if it was that.
pub fn kind_of(failure: &NoSession) -> Option<FailureKind> {
    match (failure.cause, failure.certificate) {
        (_, Some(fault)) => Some(fault.reported()),
        (Cause::NoTls, None) => Some(FailureKind::StarttlsNotSupported),
        (Cause::TlsFailed | Cause::TlsNotNow, None) => Some(FailureKind::ValidationFailure),
        (Cause::Host | Cause::Source | Cause::SourceBusy, None) => None,
    }
}

/// How it went with a host that was tried or passed over. None: the domain has no say in its mail's TLS, and hears nothing of it.
pub fn result(
    tls: &RouteTls,
    host: &Host,
    decision: &Decision,
    failure: Option<FailureKind>,
) -> Option<TlsResult> {
    let policy = match policy(tls, decision)? {
        Policy::Dane => AppliedPolicy::tlsa(tls.records(host)),
        Policy::Sts(policy) => AppliedPolicy::sts(policy),
        Policy::None => AppliedPolicy::none(),
    };
    Some(TlsResult {
        domain: tls.task.domain.clone(),
        policy,
        mx_host: host.name.clone(),
        receiving_ip: Some(host.address),
        sending_ip: None,
        failure,
    })
}

enum Policy<'a> {
    Dane,
    Sts(&'a StsPolicy),
    None,
}

fn policy<'a>(tls: &'a RouteTls, decision: &Decision) -> Option<Policy<'a>> {
    let task = &tls.task;
    let is_local = task.is_named || task.route.is_some();
    if is_local || task.wish == SenderWish::NotRequired {
        return None;
    }
    let sts = task.sts.as_deref();
    let sts = sts.filter(|policy| policy.mode != StsMode::None);
    Some(match (decision.applied, sts) {
        (Applied::Dane, _) => Policy::Dane,
        (_, Some(policy)) => Policy::Sts(policy),
        (_, None) => Policy::None,
    })
}

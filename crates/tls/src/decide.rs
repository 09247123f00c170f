//! What each host must prove for a task: route, DANE, MTA-STS, the node's configuration, provider.

use std::sync::Arc;

use skein_dns::{Security, TlsaAnswer};
use skein_model::sts::{StsMode, StsPolicy};
use skein_model::tls_report::FailureKind;

use crate::dane::DaneRecords;
use crate::demand::{Demand, TlsPolicy};
use crate::tlsa::{Usable, usable};

/// What the sender of a message wants of TLS (RFC 8689).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SenderWish {
    /// Nothing that is unusual.
    #[default]
    None,
    /// REQUIRETLS: the mail comes back rather than go to a host that was not found securely, or does not verify.
    Required,
    /// `TLS-Required: No`: what the recipients' domain publishes is passed over.
    NotRequired,
}

/// What decided about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The operator's word for the domain.
    Route,
    Dane,
    /// MTA-STS.
    Sts,
    /// The node's configuration for all domains.
    Node,
    Provider,
    /// REQUIRETLS, which asked for more than the others.
    Sender,
    Opportunistic,
}

impl Applied {
    /// For metrics and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Dane => "dane",
            Self::Sts => "sts",
            Self::Node => "node",
            Self::Provider => "provider",
            Self::Sender => "requiretls",
            Self::Opportunistic => "opportunistic",
        }
    }

    /// In words that begin a reply.
    pub fn text(self) -> &'static str {
        match self {
            Self::Route => "the route's tls policy",
            Self::Dane => "DANE",
            Self::Sts => "the domain's MTA-STS policy",
            Self::Node => "the policy delivery.tls",
            Self::Provider => "the provider's tls policy",
            Self::Sender => "REQUIRETLS",
            Self::Opportunistic => "opportunistic TLS",
        }
    }
}

/// Why a host is not even connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// As a report names it (RFC 8460).
    pub failure: FailureKind,
    /// For replies; it ends a sentence that begins with the host.
    pub text: String,
    /// The reason may pass by itself, as errors of name servers do.
    pub is_temporary: bool,
    /// Of REQUIRETLS mail that finds no other host (RFC 8689 5).
    pub status: (u8, u16, u16),
}

/// Encryption needed (RFC 8689 5).
pub const ENCRYPTION_NEEDED: (u8, u16, u16) = (5, 7, 10);
/// REQUIRETLS support required.
const REQUIRETLS_NEEDED: (u8, u16, u16) = (5, 7, 30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Try(Demand),
    Skip(Skip),
}

/// What is decided about one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub applied: Applied,
    pub choice: Choice,
}

/// All that a task's TLS depends on, but its hosts and the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskTls {
    /// The next-hop domain, in lower case A-labels.
    pub domain: String,
    /// What the operator says of the domain. Goes before all else.
    pub route: Option<TlsPolicy>,
    /// What the operator says of all domains.
    pub node: TlsPolicy,
    /// The operator named the hosts: the domain's policies are about others.
    pub is_named: bool,
    /// Of the MX records, or of the word that there are none.
    pub mx: Security,
    pub sts: Option<Arc<StsPolicy>>,
    pub wish: SenderWish,
}

impl TaskTls {
    /// What a host must prove.
    ///
    /// | MX records | TLSA records | MTA-STS | then |
    /// |---|---|---|---|
    /// | insecure | not asked | | MTA-STS |
    /// | secure | none, insecure, or addresses insecure | | MTA-STS |
    /// | secure | not known | | skipped |
    /// | secure | none usable | enforced | TLS, as MTA-STS wants it |
    /// | secure | none usable | | TLS |
    /// | secure | usable | | DANE |
    /// | | | enforced, host not named | skipped |
    /// | | | enforced | PKIX |
    /// | | | testing, none | configuration, provider |
    pub fn decide(&self, host: &str, tlsa: &TlsaAnswer, provider: TlsPolicy) -> Decision {
        let decision = self
            .published(host, tlsa)
            .unwrap_or_else(|| self.own(provider));
        match self.wish {
            SenderWish::Required => self.required(host, decision),
            SenderWish::None | SenderWish::NotRequired => decision,
        }
    }

    /// The same without the provider: none where it is the provider, or nobody, that decides.
    pub fn fixed(&self, host: &str, tlsa: &TlsaAnswer) -> Option<Decision> {
        let decision = self.decide(host, tlsa, TlsPolicy::Opportunistic);
        (decision.applied != Applied::Opportunistic).then_some(decision)
    }

    /// What a route, or the recipients' domain, says.
    fn published(&self, host: &str, tlsa: &TlsaAnswer) -> Option<Decision> {
        if let Some(route) = self.route {
            return Some(wanted(Applied::Route, route));
        }
        // An operator who sends nothing under TLS does not send half of it so.
        let is_off = self.is_named || self.node == TlsPolicy::Disable;
        if is_off || self.wish == SenderWish::NotRequired {
            return None;
        }
        self.dane(host, tlsa).or_else(|| self.sts(host))
    }

    /// RFC 7672 2.2: only where the MX records are validated, and the addresses, without which nobody has asked for TLSA records.
    fn dane(&self, host: &str, tlsa: &TlsaAnswer) -> Option<Decision> {
        if !self.mx.is_secure() {
            return None;
        }
        let choice = match tlsa {
            TlsaAnswer::NotAsked | TlsaAnswer::None => return None,
            TlsaAnswer::Failed(why) => Choice::Skip(Skip {
                failure: FailureKind::DnssecInvalid,
                text: format!("whether it has TLSA records is not known: {why}"),
                is_temporary: true,
                status: ENCRYPTION_NEEDED,
            }),
            TlsaAnswer::Records { base, records } => match usable(records) {
                Usable::Records(records) => {
                    let records = DaneRecords::new(base, &self.domain, records);
                    Choice::Try(Demand::Dane(records.into()))
                }
                Usable::None => match self.sts(host) {
                    Some(decision) => return Some(decision),
                    None => Choice::Try(Demand::Tls),
                },
            },
        };
        Some(Decision {
            applied: Applied::Dane,
            choice,
        })
    }

    fn enforced(&self) -> Option<&StsPolicy> {
        let policy = self.sts.as_deref();
        policy.filter(|policy| policy.mode == StsMode::Enforce)
    }

    fn sts(&self, host: &str) -> Option<Decision> {
        let policy = self.enforced()?;
        let choice = match policy.allows(host) {
            true => Choice::Try(Demand::Pkix),
            false => Choice::Skip(Skip {
                failure: FailureKind::ValidationFailure,
                text: "the policy does not name this host".to_owned(),
                is_temporary: false,
                status: ENCRYPTION_NEEDED,
            }),
        };
        Some(Decision {
            applied: Applied::Sts,
            choice,
        })
    }

    /// What the operator says where nobody has decided.
    fn own(&self, provider: TlsPolicy) -> Decision {
        match (self.node, provider) {
            (TlsPolicy::Opportunistic, TlsPolicy::Opportunistic) => {
                wanted(Applied::Opportunistic, TlsPolicy::Opportunistic)
            }
            (TlsPolicy::Opportunistic, provider) => wanted(Applied::Provider, provider),
            (node, _) => wanted(Applied::Node, node),
        }
    }

    /// RFC 8689 4.2.1: a host that was found securely, and verifies. Of one that an operator named, the operator says so: with
    /// `tls: require`, without which nobody has promised that the mail is in safe hands there.
    fn required(&self, host: &str, decision: Decision) -> Decision {
        let Choice::Try(demand) = decision.choice else {
            return decision;
        };
        let names_host = self.enforced().is_some_and(|policy| policy.allows(host));
        let is_found_securely = match self.is_named {
            true => self.route.unwrap_or(self.node) == TlsPolicy::Require,
            false => self.mx.is_secure() || names_host,
        };
        let applied = match demand {
            Demand::Pkix | Demand::Dane(_) => decision.applied,
            Demand::Clear | Demand::Opportunistic | Demand::Tls => Applied::Sender,
        };
        let choice = match (is_found_securely, demand) {
            (true, dane @ Demand::Dane(_)) => Choice::Try(dane),
            (true, _) => Choice::Try(Demand::Pkix),
            (false, _) => {
                let (why, status) = match self.is_named {
                    true => (
                        "the route to this host does not say that it is secure (tls: require)",
                        REQUIRETLS_NEEDED,
                    ),
                    false => (
                        "neither DNSSEC nor MTA-STS vouches for this host",
                        ENCRYPTION_NEEDED,
                    ),
                };
                return Decision {
                    applied: Applied::Sender,
                    choice: Choice::Skip(Skip {
                        failure: FailureKind::ValidationFailure,
                        text: why.to_owned(),
                        is_temporary: false,
                        status,
                    }),
                };
            }
        };
        Decision { applied, choice }
    }
}

fn wanted(applied: Applied, policy: TlsPolicy) -> Decision {
    Decision {
        applied,
        choice: Choice::Try(policy.into()),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

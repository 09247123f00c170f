//! What the hosts of a route must prove for one task.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use skein_client::{LeasedTask, SpoolError, TlsPolicies};
use skein_dns::{Plan, Tlsa, TlsaAnswer};
use skein_model::Envelope;
use skein_model::sts::StsPolicy;
use skein_tls::{Applied, Choice, Decision, SenderWish, Skip, TaskTls, TlsPolicy};

use crate::config::rule;
use crate::host::Host;
use crate::smtp::outgoing::requires_tls;

/// Where MTA-STS policies are known.
pub trait StsPolicies: Sync {
    /// The policy of a domain; none: it has none. `again`: one that was fetched a moment ago.
    fn sts_policy(
        &self,
        domain: &str,
        again: bool,
    ) -> impl Future<Output = Result<Option<Arc<StsPolicy>>, SpoolError>> + Send;
}

impl StsPolicies for TlsPolicies {
    async fn sts_policy(
        &self,
        domain: &str,
        again: bool,
    ) -> Result<Option<Arc<StsPolicy>>, SpoolError> {
        match again {
            true => self.sts_policy_again(domain).await,
            false => TlsPolicies::sts_policy(self, domain).await,
        }
    }
}

/// What a route's TLS depends on, but for the provider, whose word may change while tasks wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTls {
    pub task: TaskTls,
    /// By name of the host. Those that the operator named have none.
    tlsa: BTreeMap<String, TlsaAnswer>,
}

impl RouteTls {
    /// Of a domain's MX hosts.
    pub fn of_plan(task: TaskTls, plan: &Plan) -> Self {
        let hosts = plan.hosts.iter();
        let tlsa = hosts.map(|host| (host.name.clone(), host.tlsa.clone()));
        Self {
            task,
            tlsa: tlsa.collect(),
        }
    }

    /// Of hosts that the operator named.
    pub fn of_named(task: TaskTls) -> Self {
        Self {
            task,
            tlsa: BTreeMap::new(),
        }
    }

    pub fn decide(&self, host: &Host, provider: TlsPolicy) -> Decision {
        self.task.decide(&host.name, self.tlsa(host), provider)
    }

    /// The TLSA records of a host as they stand in its zone.
    pub fn records(&self, host: &Host) -> Vec<String> {
        match self.tlsa(host) {
            TlsaAnswer::Records { records, .. } => records.iter().map(Tlsa::to_string).collect(),
            TlsaAnswer::NotAsked | TlsaAnswer::None | TlsaAnswer::Failed(_) => Vec::new(),
        }
    }

    /// Whether the sender asked for TLS (RFC 8689): a message that cannot have it fails.
    pub fn is_required(&self) -> bool {
        self.task.wish == SenderWish::Required
    }

    fn tlsa(&self, host: &Host) -> &TlsaAnswer {
        self.tlsa.get(&host.name).unwrap_or(&TlsaAnswer::NotAsked)
    }

    /// Why a host is not to be tried, whatever the provider says.
    fn skip(&self, host: &Host) -> Option<(Applied, Skip)> {
        let decision = self.task.fixed(&host.name, self.tlsa(host))?;
        match decision.choice {
            Choice::Skip(skip) => Some((decision.applied, skip)),
            Choice::Try(_) => None,
        }
    }

    /// Keeps the first hosts that are to be tried, and of those that are not one address each, for what is told of them.
    pub fn bound(&self, hosts: &mut Vec<Host>, tried_max: usize) {
        let (mut tried, mut skipped) = (0, Vec::new());
        hosts.retain(|host| match self.skip(host) {
            Some(_) if skipped.contains(&host.name) => false,
            Some(_) => {
                skipped.push(host.name.clone());
                true
            }
            None => {
                tried += 1;
                tried <= tried_max
            }
        });
    }

    /// Whether MTA-STS alone leaves no host.
    pub fn leaves_none(&self, hosts: &[Host]) -> bool {
        let mut all = hosts.iter().map(|host| self.skip(host));
        !hosts.is_empty() && all.all(|skip| matches!(skip, Some((Applied::Sts, _))))
    }

    /// Sets tasks apart that demand different things of the same hosts, so that none uses a connection which was made for less, nor
    /// waits for hosts that only another one passes over. Domains whose demands are the same share connections. Empty where no
    /// domain and no sender says anything.
    pub fn label(&self, hosts: &[Host]) -> String {
        let mut demands: BTreeMap<&str, Decision> = BTreeMap::new();
        for host in hosts {
            let decision = self.task.fixed(&host.name, self.tlsa(host));
            let of_mail = decision.filter(|one| is_of_mail(one.applied));
            if let Some(decision) = of_mail {
                demands.insert(&host.name, decision);
            }
        }
        // Such mail fails where other mail waits.
        let requires = match self.task.wish {
            SenderWish::Required => " requiretls",
            SenderWish::None | SenderWish::NotRequired => "",
        };
        if demands.is_empty() {
            return requires.to_owned();
        }
        let mut text = String::new();
        for (host, decision) in demands {
            let choice = &decision.choice;
            let written = write!(text, "{host} {} {choice:?};", decision.applied.name());
            written.expect("a string takes all that is written");
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        format!("{requires} tls {:016x}", hasher.finish())
    }
}

/// Whether it is about this mail or its domain, and not about all mail that goes to a site.
pub fn is_of_mail(applied: Applied) -> bool {
    matches!(applied, Applied::Dane | Applied::Sts | Applied::Sender)
}

/// What the sender of a message wants.
pub fn wish(envelope: &Envelope) -> SenderWish {
    match (requires_tls(envelope), envelope.tls_optional) {
        (true, _) => SenderWish::Required,
        (false, true) => SenderWish::NotRequired,
        (false, false) => SenderWish::None,
    }
}

/// What is known of a task before its hosts are.
pub fn of_task(task: &LeasedTask, choice: &rule::Choice) -> TaskTls {
    let (route, node) = match choice.is_rule && !choice.policy.inherits_tls {
        true => (Some(choice.policy.tls), TlsPolicy::default()),
        false => (None, choice.policy.tls),
    };
    TaskTls {
        domain: task.task.domain.as_str().to_owned(),
        route,
        node,
        is_named: !choice.hosts.is_empty(),
        wish: wish(&task.message.envelope),
        ..TaskTls::default()
    }
}

#[cfg(test)]
#[path = "test_policies.rs"]
pub mod test_policies;

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;

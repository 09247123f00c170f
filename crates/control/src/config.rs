//! What the control function is told when it starts.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use skein_client::Connect;
use skein_dns::Questions;
use skein_identity::Operator;
use skein_model::rotation::Schedule;
use skein_store::Options as StoreOptions;
use skein_wire::v1::NodeRole;

use crate::tls_policies::TlsPolicySettings;
use crate::tls_reports::TlsReportSettings;

#[derive(Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Shown by the admin API.
    pub version: String,
    pub role: NodeRole,
    /// Where other nodes reach this one; empty on a node that is alone.
    pub address: String,
    /// The control nodes that found a cluster together, this one among them; empty on a node that is alone.
    pub founders: Vec<String>,
    /// Control nodes to ask for membership in their cluster.
    pub peers: Vec<String>,
    /// Whether this node asks to be let into a cluster that did not invite it, and lets in such nodes while it leads the meta
    /// group.
    pub joins_uninvited: bool,
    /// Spool groups that a new cluster has.
    pub spool_groups: u16,
    /// Nobody said so: a data directory that has another number keeps it.
    pub spool_groups_by_default: bool,
    pub connect: Connect,
    pub store: StoreOptions,
    /// What bodies that this node lacks may take of the network and the disks, together.
    pub pull_bytes_per_second: u64,
    pub find_mx: FindMx,
    /// How domains that mail is sent for are looked after.
    pub domains: Arc<DomainSettings>,
    /// How MTA-STS policies of domains that mail goes to are found.
    pub tls_policies: Arc<TlsPolicySettings>,
    /// How reports on TLS are sent to them.
    pub tls_reports: Arc<TlsReportSettings>,
}

/// How domains that mail is sent for are looked after.
#[derive(Debug)]
pub struct DomainSettings {
    /// What is the same for all domains.
    pub operator: Operator,
    /// How long keys stay in each state.
    pub schedule: Schedule,
    pub questions: Questions,
}

#[cfg(test)]
impl DomainSettings {
    /// For tests that have nothing to do with domains.
    pub fn of_nobody() -> Arc<Self> {
        let dns = skein_dns::Config {
            servers: vec![([127, 0, 0, 1], 9).into()],
            ..skein_dns::Config::default()
        };
        Arc::new(Self {
            operator: Operator::default(),
            schedule: Schedule::default(),
            questions: Questions::new(&dns, &[]).expect("nothing is read"),
        })
    }
}

#[cfg(test)]
impl Config {
    /// For tests that have nothing to do with the TLS of other domains.
    pub fn tls_of_nobody() -> (Arc<TlsPolicySettings>, Arc<TlsReportSettings>) {
        let dns = skein_dns::Config {
            servers: vec![([127, 0, 0, 1], 9).into()],
            ..skein_dns::Config::default()
        };
        let resolver = Arc::new(skein_dns::Resolver::new(dns.clone()).expect("nothing is read"));
        let questions = Questions::new(&dns, &[]).expect("nothing is read");
        let roots = rustls::RootCertStore::empty();
        let https = crate::Https::new(resolver.clone(), roots, 443, false);
        let https = https.expect("the provider supports TLS 1.2 and 1.3");
        let policies = TlsPolicySettings {
            questions: questions.clone(),
            https: https.clone(),
            look_every: skein_model::DurationMs(1),
            resolver,
        };
        let reports = TlsReportSettings {
            reporter: None,
            questions,
            https,
        };
        (Arc::new(policies), Arc::new(reports))
    }
}

/// Where a domain's mail goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MxHosts {
    /// By preference.
    pub names: Vec<String>,
    /// What they have in common.
    pub roll_up: String,
}

/// Finds a domain's MX hosts, or says why they are not known.
pub type FindMx = Arc<dyn Fn(String) -> BoxFuture<'static, Result<MxHosts, String>> + Send + Sync>;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("address", &self.address)
            .field("founders", &self.founders)
            .finish_non_exhaustive()
    }
}

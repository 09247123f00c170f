//! SMTP in and out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use prometheus_client::registry::Registry;
use skein_authentication::Authenticator;
use skein_client::signing::Signing;
use skein_client::{Cluster, ClusterState, Spools};
use skein_dkim::at_rest::Keks;
use skein_dns::{CheckResolver, Resolver};
use skein_sender::{Sender, Sites};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::convert::{dns_config, ingress_config, sender_config};
use super::intake_rates;
use super::lending::router;
use crate::config::Config;
use crate::{events, lockouts, policy, tls};

/// What SMTP in and out take over while they run.
#[derive(Debug, Clone)]
pub struct Settings {
    has_certificate: bool,
    ingress: skein_ingress::Settings,
    sender: skein_sender::CurrentConfig,
    dnsbl_zones: skein_sender::DnsblZones,
    signing: Signing,
}

/// Read from the configuration and the files that it names.
#[derive(Debug)]
pub struct SettingsRead {
    ingress: skein_ingress::Config,
    sender: skein_sender::Config,
    keks: Option<Keks>,
}

impl Settings {
    /// What `set` takes.
    ///
    /// # Errors
    /// A file that the configuration names cannot be read.
    pub fn read(&self, config: &Config) -> anyhow::Result<SettingsRead> {
        Ok(SettingsRead {
            ingress: ingress_config(config, self.has_certificate)?,
            sender: sender_config(config)?,
            keks: config.dkim.keks()?,
        })
    }

    pub fn set(&self, read: SettingsRead) {
        let SettingsRead {
            ingress,
            sender,
            keks,
        } = read;
        self.signing.set_keks(keks);
        self.ingress.set(ingress);
        self.dnsbl_zones.set(sender.dnsbl_zones.clone());
        self.sender.set(sender);
    }
}

/// SMTP in and out, running.
pub struct SendingPart {
    pub working: Arc<AtomicBool>,
    pub drained: Arc<AtomicBool>,
    pub health: Arc<skein_sender::Health>,
    pub settings: Settings,
    intake: JoinHandle<()>,
    delivery: JoinHandle<()>,
    stop_intake: CancellationToken,
    stop_delivery: CancellationToken,
}

impl SendingPart {
    pub async fn start(
        config: &Config,
        cluster: Cluster,
        certificate: Option<skein_ingress::Tls>,
        ports: &tls::Ports,
        sink: events::Sink,
        dns: skein_dns::Metrics,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let router = router(config, ports, registry).await?;
        let state = ClusterState::default();
        let policy = policy::follow(&state);
        let spools = Spools::new(cluster, state);
        let signing = spools.signing();
        signing.set_keks(config.dkim.keks()?);
        let resolver = Arc::new(Resolver::counted(dns_config(config), dns).context("dns")?);
        let sender = Sender::new(
            sender_config(config)?,
            spools.clone(),
            resolver,
            policy.clone(),
            router,
            registry,
        )
        .context("delivery.tls_ca")?;
        let has_certificate = certificate.is_some();
        let ingress_config = ingress_config(config, has_certificate)?;
        let drained = sender.drained();
        let checks = CheckResolver::new(&dns_config(config)).context("dns")?;
        let authenticator = Authenticator::new(checks);
        let (ingress, lockouts) = skein_ingress::Server::bind(
            ingress_config,
            certificate,
            spools,
            policy,
            skein_ingress::Hooks {
                site_of: site_of(sender.sites()),
                take_token: intake_rates::take_token(sender.intake_limits()),
                authenticator,
            },
            registry,
            drained.clone(),
        )
        .context("smtp.listener")?;
        for address in ingress.local_addrs() {
            tracing::info!(%address, "SMTP");
        }
        skein_runtime::task("lockout-sink", lockouts::write(sink, lockouts));
        let (stop_intake, stop_delivery) = (CancellationToken::new(), CancellationToken::new());
        let settings = Settings {
            has_certificate,
            ingress: ingress.settings(),
            sender: sender.config(),
            dnsbl_zones: sender.dnsbl_zones(),
            signing,
        };
        Ok(Self {
            working: sender.working(),
            drained,
            settings,
            health: sender.health(),
            intake: tokio::spawn(skein_runtime::watched(
                "smtp-intake",
                ingress.run(stop_intake.clone()),
            )),
            delivery: tokio::spawn(skein_runtime::watched(
                "delivery",
                sender.run(stop_delivery.clone()),
            )),
            stop_intake,
            stop_delivery,
        })
    }

    pub async fn drain(self) -> anyhow::Result<()> {
        self.stop_intake.cancel();
        self.intake.await.context("the intake ended badly")?;
        self.stop_delivery.cancel();
        self.delivery.await.context("the sender ended badly")
    }
}

/// How intake finds the site of a domain.
fn site_of(sites: Sites) -> skein_ingress::SiteOf {
    Arc::new(move |domain| {
        let sites = sites.clone();
        Box::pin(async move { sites.site_of(domain.as_str()).await })
    })
}

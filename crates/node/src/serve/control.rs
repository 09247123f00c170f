//! The control function of a node.

use std::sync::Arc;

use anyhow::Context;
use skein_client::tls::Protocol;
use skein_client::{ClusterState, Spools};
use skein_control::{
    Control, DomainSettings, FindMx, Https, MxHosts, TlsPolicySettings, TlsReportSettings,
};
use skein_dns::{Questions, Resolver};
use tokio_util::sync::CancellationToken;

use super::convert::{cluster, control_config, dns_config, events_path};
use super::listen;
use crate::cli::SkipEntry;
use crate::config::Config;
use crate::{automation_events, events, links, meta_events, tls};

/// The control function, served.
pub struct ControlPart {
    pub control: Arc<Control>,
    /// To this node's own services, without a socket.
    pub channel: skein_client::Channel,
}

impl ControlPart {
    pub async fn start(
        config: &Config,
        skip_entries: &[SkipEntry],
        ports: &tls::Ports,
        stop: &CancellationToken,
        dns: skein_dns::Metrics,
    ) -> anyhow::Result<Self> {
        let data_dir = std::path::absolute(&config.data_dir).context("data_dir")?;
        tracing::info!(data_dir = %data_dir.display(), "control");
        let admin = listen(config.admin.listen, "admin.listen").await?;
        let internal = match config.cluster.listen {
            Some(address) => Some(listen(address, "cluster.listen").await?),
            None => None,
        };
        let to_nodes = links::connect(ports.cluster.clone());
        let resolver = Resolver::counted(dns_config(config), dns).context("dns")?;
        let resolver = Arc::new(resolver);
        let find_mx = find_mx(resolver.clone());
        let questions = Questions::new(&dns_config(config), &config.dkim.authoritative_servers);
        let questions = questions.context("dns")?;
        let tls = tls_settings(config, resolver, &questions)?;
        let domains = Arc::new(DomainSettings {
            operator: config.dkim.operator(),
            schedule: config.dkim.schedule(),
            questions,
        });
        let mut control_config =
            control_config(config, data_dir.clone(), to_nodes, find_mx, domains, tls);
        let skip_entries = skip_entries.iter().map(|entry| (entry.group, entry.index));
        control_config.store.skip_entries = skip_entries.collect();
        let keks = config.dkim.keks()?;
        let control = Arc::new(Control::start(control_config).await?);
        control.set_dkim_keys(keks);
        let channel = skein_client::in_process(control.internal_router());
        if let Some(internal) = internal {
            tracing::info!(address = %internal.local_addr()?, "other nodes");
            let guard = ports.for_nodes(Protocol::Grpc);
            links::serve(control.internal_router(), internal, guard, ports.limits);
            let (control, stop) = (control.clone(), stop.clone());
            skein_runtime::task("membership", async move {
                let reason = control.take_part().await;
                tracing::error!(%reason, "stopping");
                stop.cancel();
                std::future::pending().await
            });
        }
        let part = Self { control, channel };
        let control = &part.control;
        tracing::info!(address = %admin.local_addr()?, "admin");
        let spools = Spools::new(
            cluster(config, ports, Some(part.channel.clone())),
            ClusterState::default(),
        );
        control.send_tls_reports(spools.clone());
        let guard = ports.for_operators();
        links::serve(control.admin_router(spools), admin, guard, ports.limits);
        for reader in control.events() {
            let sink = part.event_sink(config);
            skein_runtime::task("event-sink", sink.write(reader));
        }
        let automation = control.automation_events();
        let write = automation_events::write(part.event_sink(config), automation);
        skein_runtime::task("automation-sink", write);
        let write = meta_events::write(part.event_sink(config), control.meta_events());
        skein_runtime::task("meta-sink", write);
        Ok(part)
    }

    pub fn event_sink(&self, config: &Config) -> events::Sink {
        let control = &self.control;
        events::Sink::new(
            events_path(config),
            control.disk_bytes(),
            control.own_health(),
        )
    }
}

/// How policies of other domains are found, and reports sent to them.
fn tls_settings(
    config: &Config,
    resolver: Arc<Resolver>,
    questions: &Questions,
) -> anyhow::Result<(Arc<TlsPolicySettings>, Arc<TlsReportSettings>)> {
    let allow_private = config.delivery.allow_private_addresses;
    let roots = config.tls_policies.roots()?;
    let https = Https::new(
        resolver.clone(),
        roots,
        config.tls_policies.https_port,
        allow_private,
    )?;
    let policies = TlsPolicySettings {
        questions: questions.clone(),
        https: https.clone(),
        look_every: config.tls_policies.look_every.into(),
        resolver,
    };
    let reports = TlsReportSettings {
        reporter: config.tls_reports.reporter(&config.smtp.hostname),
        questions: questions.clone(),
        https,
    };
    Ok((Arc::new(policies), Arc::new(reports)))
}

/// For what operators ask; mail is routed by senders.
fn find_mx(resolver: Arc<Resolver>) -> FindMx {
    Arc::new(move |domain| {
        let resolver = resolver.clone();
        Box::pin(async move {
            let plan = resolver.mx_plan(&domain).await;
            let plan = plan.map_err(|error| error.to_string())?;
            Ok(MxHosts {
                names: plan.hosts.iter().map(|host| host.name.clone()).collect(),
                roll_up: plan.site.clone(),
            })
        })
    })
}

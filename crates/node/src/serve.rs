//! `skein serve`: build the parts, join them, wait, drain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use skein_client::ports::Limits;
use skein_client::tls::Protocol;
use skein_client::{Cluster, ClusterState, Spools};
use skein_control::{Control, FindMx, MxHosts, NodeRole};
use skein_dns::{OwnAddresses, Resolver};
use skein_egress::{Egress, Targets};
use skein_sender::{Sender, Sites, SourceIpRouter};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::SkipEntry;
use crate::config::{BareNewlines, Config, Kind, ListenerTls, Role};
use crate::http::{self, Health};
use crate::telemetry::Telemetry;
use crate::tls::Follower;
use crate::{
    automation_events, events, links, lockouts, open_files, own_files, policy, telemetry, tls,
};

/// How long what still blocks a thread is waited for after everything was drained.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(path: Option<&Path>, skip_entries: &[SkipEntry]) -> anyhow::Result<()> {
    let (config, warnings) = Config::read(path)?;
    let telemetry = telemetry::start(&config.log, &config.telemetry)?;
    for warning in warnings {
        tracing::warn!("configuration: {warning}");
    }
    let limits = Limits::of(open_files::raise_limit());
    own_files::keep_private();
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm()?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed first"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(config, limits, skip_entries, &telemetry));
    if served.is_err() {
        skein_runtime::hear_cause();
    }
    // A look-up or a read of a file that hangs must not keep the process.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    telemetry.stop();
    served
}

async fn serve(
    config: Config,
    limits: Limits,
    skip_entries: &[SkipEntry],
    telemetry: &Telemetry,
) -> anyhow::Result<()> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = config.role.name(),
        "starting"
    );
    claim_folders(&config)?;
    let stop = on_signal()?;
    let web = listen(config.http.listen, "http.listen").await?;
    let mut registry = Registry::default();
    telemetry.register(&mut registry, config.role.name());
    let follower = Follower::new(&mut registry);
    let dns = skein_dns::Metrics::register(&mut registry);
    let ports = tls::Ports::load(&config, &follower, limits)?;
    let control = match config.role.controls() {
        true => Some(ControlPart::start(&config, skip_entries, &ports, &stop, dns.clone()).await?),
        false => None,
    };
    if let Some(part) = &control {
        part.control.own_health().set_certificates(follower.ends());
        part.control.register(&mut registry);
    }
    let sending = match config.role.sends() {
        true => {
            let certificate = tls::smtp(&config, &follower)?;
            let cluster = cluster(&config, &ports, control.as_ref());
            // A node of both functions tells of its certificates once.
            let ends = control.is_none().then(|| follower.ends());
            let sink = match &control {
                Some(part) => part.event_sink(&config),
                None => events::Sink::of_sender(events_path(&config)),
            };
            let part = SendingPart::start(
                &config,
                cluster,
                certificate,
                &ports,
                sink,
                dns,
                &mut registry,
            );
            let part = part.await?;
            if let Some(ends) = ends {
                part.health.set_certificates(ends);
            }
            Some(part)
        }
        false => None,
    };
    let draining = Arc::new(AtomicBool::new(false));
    let health = health(
        registry,
        control.as_ref(),
        sending.as_ref(),
        draining.clone(),
    );
    skein_runtime::task(
        "http-server",
        http::serve(web, http::router(Arc::new(health))),
    );
    skein_runtime::running();
    tracing::info!(http = %config.http.listen, "ready to be asked");

    stop.cancelled().await;
    skein_runtime::stopping();
    tracing::info!("draining");
    draining.store(true, Ordering::Release);
    if let Some(sending) = sending {
        sending.drain().await?;
    }
    if let Some(control) = control {
        control.control.shutdown().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The control function, served.
struct ControlPart {
    control: Arc<Control>,
    /// To this node's own services, without a socket.
    channel: skein_client::Channel,
}

impl ControlPart {
    async fn start(
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
        let find_mx = find_mx(Arc::new(resolver));
        let mut control_config = control_config(config, data_dir.clone(), to_nodes, find_mx);
        let skip_entries = skip_entries.iter().map(|entry| (entry.group, entry.index));
        control_config.store.skip_entries = skip_entries.collect();
        let control = Arc::new(Control::start(control_config).await?);
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
        let spools = Spools::new(cluster(config, ports, Some(&part)), ClusterState::default());
        let guard = ports.for_operators();
        links::serve(control.admin_router(spools), admin, guard, ports.limits);
        for reader in control.events() {
            let sink = part.event_sink(config);
            skein_runtime::task("event-sink", sink.write(reader));
        }
        let automation = control.automation_events();
        let write = automation_events::write(part.event_sink(config), automation);
        skein_runtime::task("automation-sink", write);
        Ok(part)
    }

    fn event_sink(&self, config: &Config) -> events::Sink {
        let control = &self.control;
        events::Sink::new(
            events_path(config),
            control.disk_bytes(),
            control.own_health(),
        )
    }
}

fn events_path(config: &Config) -> PathBuf {
    let path = config.events.path.clone();
    path.unwrap_or_else(|| config.data_dir.join("events.jsonl"))
}

/// SMTP in and out, running.
struct SendingPart {
    working: Arc<AtomicBool>,
    drained: Arc<AtomicBool>,
    health: Arc<skein_sender::Health>,
    intake: JoinHandle<()>,
    delivery: JoinHandle<()>,
    stop_intake: CancellationToken,
    stop_delivery: CancellationToken,
}

impl SendingPart {
    async fn start(
        config: &Config,
        cluster: Cluster,
        certificate: Option<Arc<rustls::ServerConfig>>,
        ports: &tls::Ports,
        sink: events::Sink,
        dns: skein_dns::Metrics,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let router = router(config, ports, registry).await?;
        let state = ClusterState::default();
        let policy = policy::follow(&state);
        let spools = Spools::new(cluster, state);
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
        let ingress_config = ingress_config(config, certificate.is_some())?;
        let drained = sender.drained();
        let (ingress, lockouts) = skein_ingress::Server::bind(
            ingress_config,
            certificate,
            spools,
            policy,
            site_of(sender.sites()),
            registry,
            drained.clone(),
        )
        .context("smtp.listener")?;
        for address in ingress.local_addrs() {
            tracing::info!(%address, "SMTP");
        }
        skein_runtime::task("lockout-sink", lockouts::write(sink, lockouts));
        let (stop_intake, stop_delivery) = (CancellationToken::new(), CancellationToken::new());
        Ok(Self {
            working: sender.working(),
            drained,
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

    async fn drain(self) -> anyhow::Result<()> {
        self.stop_intake.cancel();
        self.intake.await.context("the intake ended badly")?;
        self.stop_delivery.cancel();
        self.delivery.await.context("the sender ended badly")
    }
}

/// The source IPs of this node and the ways to those of others, and the port where others go out through this one's.
async fn router(
    config: &Config,
    ports: &tls::Ports,
    registry: &mut Registry,
) -> anyhow::Result<Arc<SourceIpRouter>> {
    let metrics = skein_egress::Metrics::register(registry);
    let egress_config = skein_egress::Config {
        targets: targets(config),
        ..skein_egress::Config::default()
    };
    let egress = Egress::new(&egress_config, metrics);
    if let Some(address) = config.egress.listen {
        let listener = listen(address, "egress.listen").await?;
        tracing::info!(%address, "egress");
        // A tunnel that is open has its place until it ends; how many there are the egress decides.
        let limits = Limits {
            open: usize::MAX,
            ..ports.limits
        };
        let guard = ports.for_nodes(Protocol::Tunnel);
        links::serve_egress(egress.clone(), listener, guard, limits);
    }
    let to_others = links::to_egress(ports.cluster.clone());
    Ok(SourceIpRouter::new(
        egress,
        config.egress.advertised(),
        to_others,
    ))
}

/// Where other nodes do not come to through this one.
fn targets(config: &Config) -> Targets {
    let (cluster, admin, http) = (&config.cluster, &config.admin, &config.http);
    let own = [cluster.listen, config.egress.listen, Some(http.listen)];
    let admin = config.role.controls().then_some(admin.listen);
    let own = own.into_iter().chain([admin]).flatten();
    let nodes = cluster.peers.iter().filter_map(|peer| peer.parse().ok());
    Targets {
        allow_local: config.delivery.allow_private_addresses,
        own_ports: own.map(|address| address.port()).collect(),
        nodes: nodes.collect(),
    }
}

/// How intake finds the site of a domain.
fn site_of(sites: Sites) -> skein_ingress::SiteOf {
    Arc::new(move |domain| {
        let sites = sites.clone();
        Box::pin(async move { sites.site_of(domain.as_str()).await })
    })
}

/// The control nodes as this process reaches them: its own without a socket.
fn cluster(config: &Config, ports: &tls::Ports, control: Option<&ControlPart>) -> Cluster {
    let own = control.map(|control| control.channel.clone());
    match own {
        Some(channel) if config.cluster.is_alone() => Cluster::in_process(channel),
        own => {
            let address = config.cluster.own_address();
            let connect = links::connect(ports.cluster.clone());
            let to_node = move |to: &str| match &own {
                Some(channel) if to == address => channel.clone(),
                _ => connect(to),
            };
            let mut seeds = config.cluster.peers.clone();
            if config.role.controls() {
                seeds.push(config.cluster.own_address());
            }
            Cluster::find(seeds, Arc::new(to_node))
        }
    }
}

fn sender_config(config: &Config) -> anyhow::Result<skein_sender::Config> {
    let mut sender = config.delivery.sender(&config.smtp.hostname)?;
    let own = config.cluster.own_address();
    let given = config.cluster.name.clone();
    let named = given.or_else(|| (!own.is_empty()).then_some(own));
    sender.name = named.unwrap_or_else(|| config.smtp.hostname.clone());
    let scratch_dir = config.delivery.scratch_dir.clone();
    let scratch_dir = scratch_dir.unwrap_or_else(|| config.data_dir.join("scratch"));
    sender.dnsbl_zones = config.dns.dnsbl_zones.clone();
    sender.own_addresses = own_addresses(config);
    sender.scratch_dir = (!scratch_dir.as_os_str().is_empty()).then_some(scratch_dir);
    Ok(sender)
}

/// Before anything is written.
fn claim_folders(config: &Config) -> anyhow::Result<()> {
    let scratch_dir = &config.delivery.scratch_dir;
    if config.role.controls() || scratch_dir.is_none() {
        own_files::claim(&config.data_dir).context("data_dir")?;
    }
    Ok(())
}

/// Cancelled at the first SIGTERM or SIGINT; the second ends the process at once. SIGHUP ends nothing: it comes from
/// terminals that are closed and from log rotation, and files of certificates are followed without it.
fn on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt, mut hang_up) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    skein_runtime::task("hang-ups", async move {
        while hang_up.recv().await.is_some() {
            tracing::info!(
                "SIGHUP is ignored: changed certificates are read by themselves, the rest of the configuration at a start"
            );
        }
    });
    let token = stop.clone();
    skein_runtime::task("signals", async move {
        for nth in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if nth > 0 {
                tracing::warn!("stopping at once");
                skein_runtime::exit_at_once(1);
            }
            token.cancel();
        }
    });
    Ok(stop)
}

async fn listen(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: listening on {address}"))
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

fn control_config(
    config: &Config,
    data_dir: std::path::PathBuf,
    connect: skein_client::Connect,
    find_mx: FindMx,
) -> skein_control::Config {
    skein_control::Config {
        data_dir,
        version: env!("CARGO_PKG_VERSION").into(),
        role: match config.role {
            Role::All => NodeRole::All,
            Role::Control => NodeRole::Control,
            Role::Sender => NodeRole::Sender,
        },
        address: config.cluster.own_address(),
        founders: config.cluster.founders(),
        peers: config.cluster.peers.clone(),
        spool_groups: config.cluster.spool_groups(),
        connect,
        store: config.storage.options(),
        pull_bytes_per_second: config.storage.pull_bytes_per_second,
        find_mx,
    }
}

fn health(
    registry: Registry,
    control: Option<&ControlPart>,
    sending: Option<&SendingPart>,
    draining: Arc<AtomicBool>,
) -> Health {
    let control = control.map(|part| part.control.clone());
    let working = sending.map(|part| part.working.clone());
    let drained = sending.map(|part| part.drained.clone());
    let checked = control.clone();
    Health {
        registry,
        broken: Box::new(move || checked.as_ref().and_then(|control| control.broken())),
        not_ready: Box::new(move || {
            let (control, draining) = (control.clone(), draining.clone());
            let (working, drained) = (working.clone(), drained.clone());
            Box::pin(async move {
                let holds = |flag: &Option<Arc<AtomicBool>>| {
                    flag.as_ref().map(|flag| flag.load(Ordering::Acquire))
                };
                if draining.load(Ordering::Acquire) {
                    return Some("draining".to_owned());
                }
                if let Some(control) = control
                    && let Some(why) = control.not_ready().await
                {
                    return Some(why);
                }
                match (holds(&working), holds(&drained)) {
                    (Some(false), _) => Some("the sender has no session".to_owned()),
                    (_, Some(true)) => Some("drained by an operator".to_owned()),
                    _ => None,
                }
            })
        }),
    }
}

fn dns_config(config: &Config) -> skein_dns::Config {
    skein_dns::Config {
        servers: config.dns.servers.clone(),
        allow_private: config.delivery.allow_private_addresses,
        own_hostname: config.smtp.hostname.clone(),
        own_addresses: own_addresses(config),
        port: config.delivery.port,
        ..skein_dns::Config::default()
    }
}

/// What the configuration says of where mail comes back to us.
fn own_addresses(config: &Config) -> OwnAddresses {
    let listeners = match config.role.sends() {
        true => config
            .smtp
            .listeners
            .iter()
            .map(|one| one.address)
            .collect(),
        false => Vec::new(),
    };
    OwnAddresses {
        named: config.delivery.own_addresses.iter().copied().collect(),
        listeners,
        ..OwnAddresses::default()
    }
}

fn ingress_config(config: &Config, has_certificate: bool) -> anyhow::Result<skein_ingress::Config> {
    let smtp = &config.smtp;
    let listeners = smtp
        .listeners
        .iter()
        .map(|listener| skein_ingress::Listener {
            address: listener.address,
            kind: match listener.kind {
                Kind::Relay => skein_ingress::ListenerKind::Relay,
                Kind::Submission => skein_ingress::ListenerKind::Submission,
            },
            tls: match listener.tls {
                ListenerTls::Auto if has_certificate => skein_ingress::TlsMode::StartTls,
                ListenerTls::Auto | ListenerTls::None => skein_ingress::TlsMode::None,
                ListenerTls::Starttls => skein_ingress::TlsMode::StartTls,
                ListenerTls::Implicit => skein_ingress::TlsMode::Implicit,
            },
        })
        .collect();
    let users = smtp.users.iter().map(|user| {
        Ok(skein_ingress::User {
            name: user.name.clone(),
            password: user.password()?,
            tenant: user.tenant.clone(),
        })
    });
    Ok(skein_ingress::Config {
        hostname: smtp.hostname.clone(),
        relay_networks: smtp.relay_networks.clone(),
        relay_tenant: smtp.relay_tenant.clone(),
        proxy_networks: smtp.proxy_networks.clone(),
        listeners,
        users: users.collect::<anyhow::Result<_>>()?,
        recipients_per_task: config.delivery.recipients_per_transaction,
        fix_bare_newlines: smtp.bare_newlines == BareNewlines::Fix,
        limits: skein_ingress::Limits {
            message_bytes: smtp.limits.message_bytes,
            recipients: smtp.limits.recipients,
            messages: smtp.limits.messages_per_connection,
            commands: smtp.limits.commands_per_connection,
            errors: smtp.limits.errors_per_connection,
            line_bytes: smtp.limits.line_bytes,
            command_timeout: smtp.limits.command_timeout,
            body_timeout: smtp.limits.body_timeout,
            ..skein_ingress::Limits::default()
        },
        connections_max: smtp.limits.connections,
        connections_per_client_max: smtp.limits.connections_per_client,
        memory_bytes: smtp.limits.memory_bytes,
        body_rate_min: smtp.limits.body_rate_min,
        shutdown_grace: smtp.limits.shutdown_grace,
    })
}

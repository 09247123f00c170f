//! `skein serve`: build the parts, join them, wait, drain.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use prometheus_client::registry::Registry;
use skein_client::{Cluster, Spools};
use skein_control::Control;
use skein_dns::Resolver;
use skein_sender::Sender;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{BareNewlines, Config, Kind, ListenerTls};
use crate::http::{self, Health};
use crate::{events, telemetry, tls};

pub fn run(path: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(path)?;
    telemetry::start(&config.log)?;
    #[cfg(feature = "failpoints")]
    crate::failpoints::arm()?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider was installed first"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let data_dir = std::path::absolute(&config.data_dir).context("data_dir")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data_dir = %data_dir.display(), "starting");
    let stop = on_signal()?;
    let admin = listen(&config.admin.listen, "admin.listen").await?;
    let web = listen(&config.http.listen, "http.listen").await?;
    let control = start_control(&config, data_dir.clone()).await?;
    let internal = skein_client::in_process(control.internal_router());
    let spools = Spools::new(Cluster::in_process(internal));

    let mut registry = Registry::default();
    let resolver = Arc::new(Resolver::new(dns_config(&config)).context("dns")?);
    let sender = Sender::new(
        config.delivery.sender(&config.smtp.hostname)?,
        spools.clone(),
        resolver,
        &mut registry,
    )
    .context("delivery.tls_ca")?;
    let server_tls = tls::load(&config.smtp.tls)?;
    let ingress_config = ingress_config(&config, server_tls.is_some());
    let ingress = skein_ingress::Server::bind(ingress_config, server_tls, spools, &mut registry)
        .await
        .context("smtp.listener")?;
    for address in ingress.local_addrs() {
        tracing::info!(%address, "SMTP");
    }

    let control = Arc::new(control);
    let draining = Arc::new(AtomicBool::new(false));
    let health = health(registry, &control, sender.working(), draining.clone());
    tokio::spawn(axum::serve(web, http::router(Arc::new(health))).into_future());
    let admin_address = admin.local_addr()?;
    let incoming = tonic::transport::server::TcpIncoming::from(admin);
    tokio::spawn(control.admin_router().serve_with_incoming(incoming));
    tracing::info!(admin = %admin_address, http = %config.http.listen, "ready to be asked");

    let events_path = config
        .events
        .path
        .clone()
        .unwrap_or_else(|| data_dir.join("events.jsonl"));
    for reader in control.events() {
        tokio::spawn(events::write(reader, events_path.clone()));
    }
    let (stop_intake, stop_sender) = (CancellationToken::new(), CancellationToken::new());
    let intake = tokio::spawn(ingress.run(stop_intake.clone()));
    let delivery = tokio::spawn(sender.run(stop_sender.clone()));

    stop.cancelled().await;
    tracing::info!("draining");
    draining.store(true, Ordering::Release);
    stop_intake.cancel();
    intake.await.context("the intake ended badly")?;
    stop_sender.cancel();
    delivery.await.context("the sender ended badly")?;
    control.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// Cancelled at the first SIGTERM or SIGINT; the second ends the process at once.
fn on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let token = stop.clone();
    tokio::spawn(async move {
        for nth in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if nth > 0 {
                tracing::warn!("stopping at once");
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(stop)
}

async fn listen(address: &std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: listening on {address}"))
}

async fn start_control(config: &Config, data_dir: std::path::PathBuf) -> anyhow::Result<Control> {
    let config = skein_control::Config {
        data_dir,
        version: env!("CARGO_PKG_VERSION").into(),
        role: config.role.name().into(),
        address: String::new(),
        founders: Vec::new(),
        spool_groups: 1,
        connect: Arc::new(|_| unreachable!("a node that is alone has no peers")),
    };
    Ok(Control::start(config).await?)
}

fn health(
    registry: Registry,
    control: &Arc<Control>,
    working: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
) -> Health {
    let (groups, state) = (control.clone(), control.clone());
    Health {
        registry,
        not_ready: Box::new(move || {
            if draining.load(Ordering::Acquire) {
                Some("draining")
            } else if !groups.is_ready() {
                Some("a Raft group has no leader")
            } else if !working.load(Ordering::Acquire) {
                Some("the sender has no work stream")
            } else {
                None
            }
        }),
        state: Box::new(move || state.open_messages()),
    }
}

fn dns_config(config: &Config) -> skein_dns::Config {
    skein_dns::Config {
        servers: config.dns.servers.clone(),
        allow_private: config.delivery.allow_private_addresses,
        own_hostname: config.smtp.hostname.clone(),
        own_addresses: config.delivery.own_addresses.clone(),
        ..skein_dns::Config::default()
    }
}

fn ingress_config(config: &Config, has_certificate: bool) -> skein_ingress::Config {
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
    let users = smtp.users.iter().map(|user| skein_ingress::User {
        name: user.name.clone(),
        password: user.password.clone(),
    });
    skein_ingress::Config {
        hostname: smtp.hostname.clone(),
        relay_networks: smtp.relay_networks.clone(),
        proxy_networks: smtp.proxy_networks.clone(),
        listeners,
        users: users.collect(),
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
    }
}

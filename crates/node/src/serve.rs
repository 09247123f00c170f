//! `skein serve`: build the parts, join them, wait, drain.

mod control;
mod convert;
mod intake_rates;
mod lending;
mod reload;
mod sending;
mod signals;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use skein_client::ports::Limits;
use tokio::net::TcpListener;

use self::control::ControlPart;
use self::convert::{cluster, events_path};
use self::lending::LendingPart;
use self::reload::{HangUps, Parts, Reload};
use self::sending::SendingPart;
use crate::cli::SkipEntry;
use crate::config::{Config, InUse, Overrides, Read};
use crate::health::{Health, Step};
use crate::telemetry::Telemetry;
use crate::tls::Follower;
use crate::{events, http, open_files, own_files, telemetry, tls};

/// How long what still blocks a thread is waited for after everything was drained.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(
    path: Option<&Path>,
    overrides: &Overrides,
    skip_entries: &[SkipEntry],
) -> anyhow::Result<()> {
    let Read {
        config, warnings, ..
    } = Config::read(path, overrides)?;
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
    let reload = Reload {
        path: path.map(Path::to_owned),
        overrides: overrides.clone(),
        in_use: InUse::of(config.clone())?,
    };
    let served = runtime.block_on(serve(config, limits, skip_entries, reload, &telemetry));
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
    reload: Reload,
    telemetry: &Telemetry,
) -> anyhow::Result<()> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        role = config.role.name(),
        "starting"
    );
    claim_folders(&config)?;
    let stop = signals::on_signal()?;
    let hang_ups = HangUps::listen()?;
    let web = listen(config.http.listen, "http.listen").await?;
    // Probes are answered while stores are opened, however long that takes.
    let health = Arc::new(Health::new(config.role));
    skein_runtime::task(
        "http-server",
        http::serve(web, http::router(health.clone())),
    );
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
        health.set_control(part.control.clone());
    }
    health.done(Step::Stores);
    let (sending, lending) = join(
        &config,
        control.as_ref(),
        &ports,
        &follower,
        &health,
        dns,
        &mut registry,
    )
    .await?;
    reload.begin(
        hang_ups,
        Parts {
            telemetry: telemetry.settings(),
            control: control.as_ref().map(|part| part.control.clone()),
            sending: sending.as_ref().map(|part| part.settings.clone()),
            dnsbl_zones: lending.as_ref().map(|part| part.dnsbl_zones.clone()),
        },
    );
    health.set_registry(registry);
    health.done(Step::Ports);
    skein_runtime::running();
    tracing::info!(http = %config.http.listen, "ready to be asked");

    stop.cancelled().await;
    skein_runtime::stopping();
    tracing::info!("draining");
    health.set_draining();
    if let Some(sending) = sending {
        sending.drain().await?;
    }
    if let Some(lending) = lending {
        lending.drain().await?;
    }
    if let Some(control) = control {
        control.control.shutdown().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The parts that have a session: a sender, or an egress node.
async fn join(
    config: &Config,
    control: Option<&ControlPart>,
    ports: &tls::Ports,
    follower: &Follower,
    health: &Health,
    dns: skein_dns::Metrics,
    registry: &mut Registry,
) -> anyhow::Result<(Option<SendingPart>, Option<LendingPart>)> {
    if config.role.lends_only() {
        let part =
            LendingPart::start(config, cluster(config, ports, None), ports, dns, registry).await?;
        part.health.set_certificates(follower.ends());
        part.health.set_files(follower.faults());
        health.set_lending(part.working.clone());
        return Ok((None, Some(part)));
    }
    if !config.role.sends() {
        return Ok((None, None));
    }
    let certificate = tls::smtp(config, follower)?;
    let own = control.map(|part| part.channel.clone());
    let cluster = cluster(config, ports, own);
    // A node of both functions tells of its certificates once.
    let ends = control.is_none().then(|| follower.ends());
    let sink = match control {
        Some(part) => part.event_sink(config),
        None => events::Sink::of_sender(events_path(config)),
    };
    let part = SendingPart::start(config, cluster, certificate, ports, sink, dns, registry).await?;
    if let Some(ends) = ends {
        part.health.set_certificates(ends);
    }
    part.health.set_files(follower.faults());
    health.set_sending(part.working.clone(), part.drained.clone());
    Ok((Some(part), None))
}

/// Before anything is written. An egress node writes nothing.
fn claim_folders(config: &Config) -> anyhow::Result<()> {
    let scratch_dir = &config.delivery.scratch_dir;
    let may_write = config.role.sends() && scratch_dir.is_none();
    if config.role.controls() || may_write {
        own_files::claim(&config.data_dir).context("data_dir")?;
    }
    Ok(())
}

async fn listen(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: listening on {address}"))
}

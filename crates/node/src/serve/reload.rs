//! SIGHUP: the configuration is read again from where it came from, the parts take over what they can, and it is told what
//! that was and what needs a restart.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use skein_control::Control;
use skein_sender::DnsblZones;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::sending;
use crate::config::{Changes, Config, InUse, Overrides, Read};
use crate::telemetry;

/// Hang-ups of the process. They end nothing: they also come from terminals that are closed, and from log rotation. One that
/// comes before the parts are there is heard when they are.
#[derive(Debug)]
pub struct HangUps(Signal);

impl HangUps {
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }
}

/// The parts of the process that take over other settings.
pub struct Parts {
    pub telemetry: telemetry::Settings,
    pub control: Option<Arc<Control>>,
    pub sending: Option<sending::Settings>,
    /// Of a node that only lends its source IPs.
    pub dnsbl_zones: Option<DnsblZones>,
}

impl Parts {
    /// All of the configuration or nothing.
    fn take_over(&self, config: &Config) -> anyhow::Result<()> {
        // What can fail comes first.
        let of_telemetry = telemetry::Settings::read(&config.log)?;
        let of_sending = match &self.sending {
            Some(sending) => Some((sending, sending.read(config)?)),
            None => None,
        };
        let keks = config.dkim.keks()?;
        self.telemetry.set(of_telemetry);
        if let Some(control) = &self.control {
            let of = &config.storage;
            control.set_storage(of.soft_mark, of.hard_mark, of.pull_bytes_per_second);
            control.set_dkim_keys(keks);
        }
        if let Some(dnsbl_zones) = &self.dnsbl_zones {
            dnsbl_zones.set(config.dns.dnsbl_zones.clone());
        }
        if let Some((sending, read)) = of_sending {
            sending.set(read);
        }
        Ok(())
    }
}

/// What the process was started with.
pub struct Reload {
    pub path: Option<PathBuf>,
    pub overrides: Overrides,
    pub in_use: InUse,
}

impl Reload {
    /// From here on the parts follow what is configured, at each hang-up.
    pub fn begin(mut self, mut hang_ups: HangUps, parts: Parts) {
        skein_runtime::task("hang-ups", async move {
            while hang_ups.0.recv().await.is_some() {
                if let Err(error) = self.follow(&parts) {
                    let error = format!("{error:#}");
                    tracing::error!(
                        error,
                        "SIGHUP: the changed configuration cannot be used, all former settings stay"
                    );
                }
            }
        });
    }

    fn follow(&mut self, parts: &Parts) -> anyhow::Result<()> {
        let Read {
            config, warnings, ..
        } = Config::read(self.path.as_deref(), &self.overrides)?;
        let changes = self.in_use.changed_to(&InUse::of(config)?)?;
        if !changes.taken_over.is_empty() {
            let config = &changes.next.config;
            parts.take_over(config).context("nothing is taken over")?;
        }
        for warning in warnings {
            tracing::warn!("configuration: {warning}");
        }
        tell(&changes);
        self.in_use = changes.next;
        Ok(())
    }
}

fn tell(changes: &Changes) {
    let taken_over = changes.taken_over.join(", ");
    let waiting = changes.need_restart.iter();
    let waiting: Vec<String> = waiting.map(|(key, why)| format!("{key} ({why})")).collect();
    let needs_restart = waiting.join(", ");
    match (taken_over.is_empty(), needs_restart.is_empty()) {
        (true, true) => tracing::info!(
            "SIGHUP: no setting has changed; files of certificates are followed by themselves"
        ),
        (false, true) => tracing::info!(taken_over, "SIGHUP: changed settings are taken over"),
        (_, false) => tracing::warn!(
            taken_over,
            needs_restart,
            "SIGHUP: some of the changed settings need a restart"
        ),
    }
}

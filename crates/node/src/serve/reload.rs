//! SIGHUP: the configuration is read again from where it came from, and what it means for this process is told.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, Overrides, Read};

/// What the process was started with.
pub struct Reload {
    pub path: Option<PathBuf>,
    pub overrides: Overrides,
    pub in_use: Config,
}

impl Reload {
    /// Listens to the signal from here on. It ends nothing: it also comes from terminals that are closed, and from log
    /// rotation.
    pub fn begin(self) -> anyhow::Result<()> {
        let mut hang_up = signal(SignalKind::hangup())?;
        skein_runtime::task("hang-ups", async move {
            while hang_up.recv().await.is_some() {
                self.look();
            }
        });
        Ok(())
    }

    fn look(&self) {
        let read = Config::read(self.path.as_deref(), &self.overrides);
        let changed = read.and_then(|Read { config, .. }| self.in_use.changed(&config));
        match changed {
            Ok(changed) if changed.is_empty() => tracing::info!(
                "SIGHUP: no setting has changed; files of certificates are followed by themselves"
            ),
            Ok(changed) => {
                let changed: Vec<String> = changed.into_iter().collect();
                let changed = changed.join(", ");
                tracing::warn!(changed, "SIGHUP: settings have changed that need a restart");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "SIGHUP: the changed configuration cannot be used, the former settings stay"
                );
            }
        }
    }
}

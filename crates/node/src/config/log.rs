//! `[log]`: what is written, and how.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use skein_policy::did_you_mean;
use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A tracing filter: `info`, `debug`, `skein_sender=debug,info`. What repeats is written once a second at most, after
    /// the first 30 lines.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
        }
    }
}

impl Log {
    /// A word that is no level is a module to the filter, and all else would be silent.
    pub fn check(&self) -> anyhow::Result<()> {
        let examples =
            "write error, warn, info, debug or trace, or such as skein_sender=debug,info";
        let bare = self.level.split(',').map(str::trim);
        let bare = bare.filter(|part| !part.contains(['=', '[']));
        for word in bare {
            let level = word.to_ascii_lowercase();
            if !LEVELS.contains(&level.as_str()) {
                let meant = did_you_mean(word, LEVELS);
                bail!("log.level: {word:?} is no level: {examples}{meant}");
            }
        }
        EnvFilter::try_new(&self.level)
            .map(|_| ())
            .with_context(|| format!("log.level: {:?} is no filter: {examples}", self.level))
    }
}

//! How senders are and what their tasks wait for: in memory only, as they last said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_wire::internal::{self, SenderHealth, Wait};

use crate::clock;

/// Senders tell every two seconds as long as something waits.
const KEPT: Duration = Duration::from_secs(8);
/// Of one sender; more is not kept.
const WAITS_MAX: usize = 128;
/// More senders than a cluster has.
const SENDERS_MAX: usize = 1024;

/// Senders hear of a probe within two seconds, and take up to ten for it.
const PROBE_ASKED_FOR: Duration = Duration::from_secs(15);
/// Probes that are under way at once; an operator that asks for more waits.
const PROBES_MAX: usize = 4;

#[derive(Debug, Clone, Default)]
pub struct SenderWaits(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// By sender.
    said: BTreeMap<String, Said>,
    /// What senders are to try to connect to, and since when.
    probes: BTreeMap<String, Instant>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    waits: Vec<Wait>,
    health: Option<SenderHealth>,
    /// Its clock less this node's.
    clock_ahead_ms: i64,
}

impl Known {
    fn forget_probes(&mut self) {
        self.probes
            .retain(|_, since| since.elapsed() < PROBE_ASKED_FOR);
    }
}

impl Said {
    fn is_recent(&self) -> bool {
        self.at.elapsed() < KEPT
    }
}

impl SenderWaits {
    /// Keeps what a sender says, and returns what it is to try to connect to.
    pub fn tell(
        &self,
        sender: String,
        mut waits: Vec<Wait>,
        health: Option<SenderHealth>,
    ) -> Vec<String> {
        waits.truncate(WAITS_MAX);
        let mut all = self.0.lock();
        all.said.retain(|_, said| said.is_recent());
        if all.said.len() < SENDERS_MAX {
            let at = Instant::now();
            let now_ms = health.as_ref().map_or(0, |health| health.now_ms);
            let said = Said {
                at,
                waits,
                health,
                clock_ahead_ms: now_ms
                    .cast_signed()
                    .wrapping_sub(clock::now().0.cast_signed()),
            };
            all.said.insert(sender, said);
        }
        all.forget_probes();
        all.probes.keys().cloned().collect()
    }

    /// Senders are to try to connect to this `host:port`, and tell what came of it.
    pub fn ask_probe(&self, target: &str) {
        let mut all = self.0.lock();
        all.forget_probes();
        if all.probes.len() < PROBES_MAX {
            let now = Instant::now();
            all.probes.entry(target.to_owned()).or_insert(now);
        }
    }

    pub fn all(&self) -> Vec<internal::SenderWaits> {
        let all = self.0.lock();
        let known = all.said.iter().filter(|(_, said)| said.is_recent());
        let senders = known.map(|(sender, said)| {
            let passed = u64::try_from(said.at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let now = |wait: &Wait| Wait {
                for_ms: wait.for_ms.saturating_sub(passed),
                ..wait.clone()
            };
            internal::SenderWaits {
                sender: sender.clone(),
                waits: said.waits.iter().map(now).collect(),
                health: said.health.clone(),
                clock_ahead_ms: said.clock_ahead_ms,
            }
        });
        senders.collect()
    }
}

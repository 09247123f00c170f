//! What tasks wait for that are at senders: in memory only, as they last said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_wire::internal::{self, Wait};

/// Senders tell every two seconds as long as something waits.
const KEPT: Duration = Duration::from_secs(8);
/// Of one sender; more is not kept.
const WAITS_MAX: usize = 128;
/// More senders than a cluster has.
const SENDERS_MAX: usize = 1024;

/// By sender.
#[derive(Debug, Clone, Default)]
pub struct SenderWaits(Arc<Mutex<BTreeMap<String, Said>>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    waits: Vec<Wait>,
}

impl Said {
    fn is_recent(&self) -> bool {
        self.at.elapsed() < KEPT
    }
}

impl SenderWaits {
    pub fn tell(&self, sender: String, mut waits: Vec<Wait>) {
        waits.truncate(WAITS_MAX);
        let mut all = self.0.lock();
        all.retain(|_, said| said.is_recent());
        if all.len() < SENDERS_MAX {
            let at = Instant::now();
            all.insert(sender, Said { at, waits });
        }
    }

    pub fn all(&self) -> Vec<internal::SenderWaits> {
        let all = self.0.lock();
        let known = all.iter().filter(|(_, said)| said.is_recent());
        let senders = known.map(|(sender, said)| {
            let passed = u64::try_from(said.at.elapsed().as_millis()).unwrap_or(u64::MAX);
            let now = |wait: &Wait| Wait {
                for_ms: wait.for_ms.saturating_sub(passed),
                ..wait.clone()
            };
            internal::SenderWaits {
                sender: sender.clone(),
                waits: said.waits.iter().map(now).collect(),
            }
        });
        senders.collect()
    }
}

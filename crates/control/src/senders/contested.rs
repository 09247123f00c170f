//! Names of senders that more than one process asks for: in memory only, as they were last refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skein_wire::internal::ContestedName;

/// A process that is refused asks again several times a second.
const KEPT: Duration = Duration::from_secs(10);
/// What is not new is said again after this.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// More senders than a cluster has.
const NAMES_MAX: usize = 1024;

#[derive(Debug, Clone, Default)]
pub struct ContestedNames(Arc<Mutex<BTreeMap<String, Refused>>>);

#[derive(Debug)]
struct Refused {
    place: String,
    at: Instant,
    told: Instant,
}

impl ContestedNames {
    /// A process was refused because another one has the name.
    pub fn refused(&self, sender: &str, holder: &str, place: &str) {
        let now = Instant::now();
        let mut names = self.0.lock();
        names.retain(|_, refused| refused.at.elapsed() < KEPT.max(TELL_AGAIN));
        let known = names.get(sender).filter(|known| known.place == place);
        let told = known.map(|known| known.told);
        let is_news = told.is_none_or(|told| told.elapsed() > TELL_AGAIN);
        if is_news {
            tracing::warn!(
                sender,
                holder,
                place,
                "two senders have one name: the second is refused until it has a cluster.name of its own"
            );
        }
        if names.len() < NAMES_MAX {
            let refused = Refused {
                place: place.to_owned(),
                at: now,
                told: told.filter(|_| !is_news).unwrap_or(now),
            };
            names.insert(sender.to_owned(), refused);
        }
    }

    pub fn all(&self) -> Vec<ContestedName> {
        let names = self.0.lock();
        let recent = names
            .iter()
            .filter(|(_, refused)| refused.at.elapsed() < KEPT);
        let recent = recent.map(|(sender, refused)| ContestedName {
            sender: sender.clone(),
            place: refused.place.clone(),
        });
        recent.collect()
    }
}

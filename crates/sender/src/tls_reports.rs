//! Tells the leader how TLS with hosts went, for the reports to the domains that ask for them (RFC 8460).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use skein_client::{ClusterState, KeptSession, since_boot};
use skein_dns::Resolver;
use skein_model::DurationMs;
use skein_model::tls_report::{Day, DayCounts, TOLD_MAX, Told, parse_record};
use tokio::sync::Mutex;

const TELL_EVERY: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// When the sender stops.
const TELL_REST_WITHIN: Duration = Duration::from_secs(2);
/// A domain says for a whole day whether it wants its report.
const ASKED_EVERY: DurationMs = DurationMs::from_secs(6 * 3600);
/// One about which the DNS says nothing is asked about again; what was counted meanwhile is lost.
const FAILED_FOR: DurationMs = DurationMs::from_secs(300);
const LOOKUPS_AT_ONCE: usize = 32;
/// Twice so many domains are remembered, some 100 bytes each.
const GENERATION_MAX: usize = 50_000;

/// Takes what was counted and tells of the domains that want to hear it.
pub struct TlsTeller {
    state: ClusterState,
    resolver: Arc<Resolver>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    wants: Wants,
    /// Of the latest batch of the session.
    batch: u64,
}

impl TlsTeller {
    pub fn new(state: ClusterState, resolver: Arc<Resolver>) -> Self {
        Self {
            state,
            resolver,
            inner: Mutex::default(),
        }
    }

    /// Tells what was counted, until the process ends.
    pub async fn tell(self: Arc<Self>, session: Arc<KeptSession>) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            self.tell_once(&session).await;
        }
    }

    /// Tells what was counted last.
    pub async fn tell_rest(&self, session: &KeptSession) {
        // What does not arrive in time is in no report.
        let _ = tokio::time::timeout(TELL_REST_WITHIN, self.tell_once(session)).await;
    }

    async fn tell_once(&self, session: &KeptSession) {
        let mut inner = self.inner.lock().await;
        let counted = self.state.tls_counts().take();
        let told = self.wanted(&mut inner.wants, counted).await;
        for told in told.chunks(TOLD_MAX) {
            inner.batch += 1;
            while let Err(error) = session.tell_tls(inner.batch, told).await {
                tracing::info!(%error, "how TLS went is told again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }

    /// What is counted of domains that ask for reports.
    async fn wanted(
        &self,
        wants: &mut Wants,
        counted: BTreeMap<(Day, String), DayCounts>,
    ) -> Vec<Told> {
        let now = since_boot();
        let domains = counted.keys().map(|(_, domain)| domain);
        let unknown: Vec<String> = domains
            .filter(|domain| wants.get(domain, now).is_none())
            .cloned()
            .collect();
        let asking = unknown.into_iter().map(|domain| async move {
            let found = self.resolver.txt(&format!("_smtp._tls.{domain}")).await;
            let found =
                found.map(|texts| !parse_record(texts.iter().map(String::as_str)).is_empty());
            (domain, found)
        });
        let mut asking = futures::stream::iter(asking).buffer_unordered(LOOKUPS_AT_ONCE);
        while let Some((domain, found)) = asking.next().await {
            match found {
                Ok(wanted) => wants.put(domain, wanted, now.0 + ASKED_EVERY.0),
                Err(error) => {
                    tracing::debug!(domain, %error, "whether reports on TLS are wanted is not known");
                    wants.put(domain, false, now.0 + FAILED_FOR.0);
                }
            }
        }
        let wanted = counted.into_iter().filter(|((_, domain), _)| {
            let wanted = wants.get(domain, now);
            wanted.unwrap_or(false)
        });
        wanted
            .map(|((day, domain), counts)| Told {
                domain,
                day,
                counts,
            })
            .collect()
    }
}

/// Which domains ask for reports, and until when that holds, since the machine started.
#[derive(Debug, Default)]
struct Wants {
    young: HashMap<String, (bool, u64)>,
    old: HashMap<String, (bool, u64)>,
}

impl Wants {
    fn get(&mut self, domain: &str, now: DurationMs) -> Option<bool> {
        if let Some((wanted, until)) = self.old.remove(domain) {
            self.put(domain.to_owned(), wanted, until);
        }
        let (wanted, until) = *self.young.get(domain)?;
        (now.0 < until).then_some(wanted)
    }

    fn put(&mut self, domain: String, wanted: bool, until: u64) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&domain) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(domain, (wanted, until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_domain_wants_is_remembered_for_a_while_and_in_bounds() {
        let mut wants = Wants::default();
        assert_eq!(wants.get("a.example", DurationMs(0)), None);
        wants.put("a.example".to_owned(), true, 10);
        assert_eq!(wants.get("a.example", DurationMs(9)), Some(true));
        assert_eq!(wants.get("a.example", DurationMs(10)), None);
        for n in 0..3 * GENERATION_MAX {
            wants.put(format!("d{n}.example"), false, 10);
            if n % 10_000 == 0 {
                assert_eq!(wants.get("a.example", DurationMs(1)), Some(true));
            }
        }
        assert!(wants.young.len() + wants.old.len() <= 2 * GENERATION_MAX);
    }
}

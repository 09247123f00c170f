//! The sites of a message's domains, looked up while its body arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skein_model::Domain;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Finds the site of a domain. None: it is not known now.
pub type SiteOf =
    Arc<dyn Fn(Domain) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// Domains of one message whose sites are looked up. Nearly all messages have fewer; one with more would keep the name
/// servers busy while its client waits.
const DOMAINS_MAX: usize = 100;
/// Look-ups of one message at once.
const AT_ONCE: usize = 16;
/// A client waits this long after its body, at most.
const WAIT: Duration = Duration::from_secs(1);

/// Look-ups for one message. They end with it.
pub struct Lookups {
    find: SiteOf,
    asked: BTreeSet<Domain>,
    running: JoinSet<(Domain, Option<String>)>,
    places: Arc<Semaphore>,
}

impl Lookups {
    pub fn new(find: SiteOf) -> Self {
        Self {
            find,
            asked: BTreeSet::new(),
            running: JoinSet::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Once for each domain.
    pub fn begin(&mut self, domain: &Domain) {
        if self.asked.len() >= DOMAINS_MAX || !self.asked.insert(domain.clone()) {
            return;
        }
        let (find, places, domain) = (self.find.clone(), self.places.clone(), domain.clone());
        self.running.spawn(async move {
            let _place = places.acquire_owned().await;
            let site = find(domain.clone()).await;
            (domain, site)
        });
    }

    /// What is known by now or within a second.
    pub async fn finish(&mut self) -> BTreeMap<Domain, String> {
        let until = Instant::now() + WAIT;
        let mut found = BTreeMap::new();
        while let Ok(Some(looked_up)) = timeout_at(until, self.running.join_next()).await {
            if let Ok((domain, Some(site))) = looked_up {
                found.insert(domain, site);
            }
        }
        self.running.abort_all();
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn each_domain_is_looked_up_once_a_few_at_a_time_and_not_waited_for_long() {
        let (asked, now, most) =
            <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let counts = (asked.clone(), now.clone(), most.clone());
        let find: SiteOf = Arc::new(move |domain| {
            let (asked, now, most) = counts.clone();
            Box::pin(async move {
                asked.fetch_add(1, Ordering::Relaxed);
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let takes = match domain.as_str() {
                    "slow.test" => Duration::from_secs(3600),
                    _ => Duration::from_millis(10),
                };
                tokio::time::sleep(takes).await;
                now.fetch_sub(1, Ordering::Relaxed);
                (domain.as_str() != "gone.test").then(|| "site".to_owned())
            })
        });
        let mut lookups = Lookups::new(find);
        lookups.begin(&Domain::new("slow.test"));
        lookups.begin(&Domain::new("gone.test"));
        for n in (0..200).chain(0..200) {
            lookups.begin(&Domain::new(&format!("d{n}.test")));
        }
        let began = Instant::now();
        let found = lookups.finish().await;
        assert!(began.elapsed() >= WAIT && began.elapsed() < 10 * WAIT);
        assert_eq!(found.len(), DOMAINS_MAX - 2);
        assert_eq!(found[&Domain::new("d0.test")], "site");
        assert_eq!(asked.load(Ordering::Relaxed), DOMAINS_MAX);
        assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
    }
}

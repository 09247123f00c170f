//! What is counted of policies.

use std::sync::atomic::{AtomicU64, Ordering};

use skein_model::sts::{FetchFault, StsPolicy};

/// Fetches by their results.
#[derive(Debug, Default)]
pub struct Counters {
    fetched: AtomicU64,
    failed: AtomicU64,
    invalid: AtomicU64,
    webpki: AtomicU64,
}

impl Counters {
    pub fn count(&self, fetched: &Result<StsPolicy, FetchFault>) {
        let counter = match fetched {
            Ok(_) => &self.fetched,
            Err(FetchFault::Fetch(_)) => &self.failed,
            Err(FetchFault::Invalid(_)) => &self.invalid,
            Err(FetchFault::WebPki(_)) => &self.webpki,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn fetches(&self) -> [(&'static str, u64); 4] {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("fetched", of(&self.fetched)),
            ("failed", of(&self.failed)),
            ("invalid", of(&self.invalid)),
            ("certificate", of(&self.webpki)),
        ]
    }
}

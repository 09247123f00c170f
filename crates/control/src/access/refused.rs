//! Calls of the admin API that were refused: counted, and written down within bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use skein_model::UnixMs;
use skein_model::meta::{AuditEnd, AuditEntry};
use tonic::Status;

use super::Audit;
use super::audit::bounded;

/// Entries of a minute: strangers could fill the log otherwise. All are counted.
const NOTED_MAX: u32 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// Refusals of one port.
#[derive(Clone)]
pub struct Refusals {
    pub audit: Audit,
    pub count: Counter,
    noted: Arc<Mutex<(Instant, u32)>>,
}

impl Refusals {
    pub fn new(audit: Audit) -> Self {
        Self {
            audit,
            count: Counter::default(),
            noted: Arc::new(Mutex::new((Instant::now(), 0))),
        }
    }

    pub fn note(&self, path: &str, who: String, from: Option<SocketAddr>, status: &Status) {
        self.count.inc();
        if !self.has_room(Instant::now()) {
            return;
        }
        let call = path.rsplit('/').next().unwrap_or_default();
        let entry = AuditEntry {
            id: rand::random(),
            at: UnixMs(0),
            who: bounded(&who),
            from: from.map(|from| from.to_string()).unwrap_or_default(),
            call: bounded(call),
            asked: String::new(),
            ended: Some(AuditEnd {
                code: i32::from(status.code()).unsigned_abs(),
                message: bounded(status.message()),
            }),
        };
        let audit = self.audit.clone();
        tokio::spawn(async move { audit.refused(entry).await });
    }

    fn has_room(&self, now: Instant) -> bool {
        let mut noted = self.noted.lock();
        if now.saturating_duration_since(noted.0) >= MINUTE {
            *noted = (now, 0);
        }
        noted.1 += 1;
        noted.1 <= NOTED_MAX
    }
}

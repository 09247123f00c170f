//! What this node holds at the moment: its IPs, and the tunnels through them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::open::{Open, OpenTunnels};
use crate::refused::Refused;
use crate::request::Request;
use crate::table::{Admitted, Placements, admit, let_go};

/// Whether this node may use its IPs at this moment.
type Guard = Box<dyn Fn() -> bool + Send + Sync>;

pub struct LocalIps {
    tunnels_max: u32,
    metrics: Metrics,
    now: Mutex<Now>,
    a_tunnel_ended: Notify,
    guard: OnceLock<Guard>,
}

impl fmt::Debug for LocalIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIps")
            .field("now", &*self.now.lock())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Now {
    table: Placements,
    open: Open,
    /// One for each IP of the table that was asked for.
    cuts: BTreeMap<String, CancellationToken>,
}

/// The right to one of the tunnels of an IP, from when it is admitted until its sockets are closed and this is dropped.
#[derive(Debug)]
pub struct TunnelPermit {
    held: Arc<LocalIps>,
    pub admitted: Admitted,
    /// The IP is here no longer.
    pub cut: CancellationToken,
}

impl LocalIps {
    pub fn new(tunnels_max: u32, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            tunnels_max,
            metrics,
            now: Mutex::default(),
            a_tunnel_ended: Notify::new(),
            guard: OnceLock::new(),
        })
    }

    pub fn only_while(&self, guard: impl Fn() -> bool + Send + Sync + 'static) {
        // The first one stays: a node has one session at a time, and one clock.
        let _ = self.guard.set(Box::new(guard));
    }

    pub fn may_use(&self) -> bool {
        self.guard.get().is_none_or(|guard| guard())
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub fn set(&self, table: Placements) {
        let mut now = self.now.lock();
        let before = std::mem::replace(&mut now.table, table);
        for ip in let_go(&before, &now.table) {
            if let Some(cut) = now.cuts.remove(ip) {
                cut.cancel();
            }
        }
        for ip in before.keys().chain(now.table.keys()) {
            self.publish(&now, ip);
        }
    }

    /// Decides and counts the tunnel at once, so that no two requests get the last one.
    pub fn admit(self: &Arc<Self>, request: &Request) -> Result<TunnelPermit, Refused> {
        if !self.may_use() {
            let ip = request.ip.clone();
            return Err(Refused::NotHeld { ip });
        }
        let mut now = self.now.lock();
        let admitted = admit(&now.table, request, &now.open, self.tunnels_max)?;
        now.open.enter(&admitted.ip, admitted.epoch);
        let cut = now.cuts.entry(admitted.ip.clone()).or_default().clone();
        self.publish(&now, &admitted.ip);
        Ok(TunnelPermit {
            held: self.clone(),
            admitted,
            cut,
        })
    }

    pub fn open(&self) -> Vec<OpenTunnels> {
        self.now.lock().open.list()
    }

    /// Tunnels of this IP under this epoch and earlier ones.
    pub fn up_to(&self, ip: &str, epoch: u64) -> u32 {
        self.now.lock().open.up_to(ip, epoch)
    }

    /// Completes when a tunnel ends after this was called.
    pub fn a_tunnel_ended(&self) -> Notified<'_> {
        self.a_tunnel_ended.notified()
    }

    pub async fn closed(&self, ip: &str, epoch: u64) {
        loop {
            let ended = self.a_tunnel_ended.notified();
            tokio::pin!(ended);
            // Before the look, so that no end falls between the two.
            ended.as_mut().enable();
            if self.now.lock().open.up_to(ip, epoch) == 0 {
                return;
            }
            ended.await;
        }
    }

    fn publish(&self, now: &Now, ip: &str) {
        match now.open.of(ip) {
            0 if !now.table.contains_key(ip) => self.metrics.forget(ip),
            tunnels => self.metrics.set_tunnels(ip, tunnels),
        }
    }
}

impl TunnelPermit {
    /// Whether a byte may leave from the IP now.
    pub fn holds(&self) -> bool {
        !self.cut.is_cancelled() && self.held.may_use()
    }
}

impl Drop for TunnelPermit {
    fn drop(&mut self) {
        let mut now = self.held.now.lock();
        now.open.leave(&self.admitted.ip, self.admitted.epoch);
        self.held.publish(&now, &self.admitted.ip);
        drop(now);
        self.held.a_tunnel_ended.notify_waiters();
    }
}

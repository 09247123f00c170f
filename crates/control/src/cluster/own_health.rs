//! How this node is, as it knows itself or was told, for surveys of the cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use skein_model::doctor::Founding;
use skein_model::{DurationMs, NodeId};
use skein_wire::internal::CertificateEnd;

/// Says when the certificates end that this node shows.
pub type CertificateEnds = Arc<dyn Fn() -> Vec<CertificateEnd> + Send + Sync>;

#[derive(Default)]
pub struct OwnHealth {
    events_fault: Mutex<Option<String>>,
    certificates: OnceLock<CertificateEnds>,
    founding: Mutex<Option<Founding>>,
    /// When other nodes said that they stop.
    stops: Mutex<BTreeMap<NodeId, Instant>>,
}

impl std::fmt::Debug for OwnHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnHealth")
    }
}

impl OwnHealth {
    /// Why events cannot be written, or that they can.
    pub fn set_events_fault(&self, fault: Option<String>) {
        *self.events_fault.lock() = fault;
    }

    pub fn events_fault(&self) -> Option<String> {
        self.events_fault.lock().clone()
    }

    /// The function that says when they end; the first counts.
    pub fn set_certificates(&self, ends: CertificateEnds) {
        // Set once, when the node starts.
        let _ = self.certificates.set(ends);
    }

    pub fn certificates(&self) -> Vec<CertificateEnd> {
        self.certificates.get().map_or_else(Vec::new, |ends| ends())
    }

    pub fn set_founding(&self, founding: Option<Founding>) {
        *self.founding.lock() = founding;
    }

    /// None where there is a cluster, or is to be none.
    pub fn founding(&self) -> Option<Founding> {
        self.founding.lock().clone()
    }

    /// Why a member does not take this node in.
    pub fn set_refused(&self, refused: &str) {
        if let Some(founding) = self.founding.lock().as_mut() {
            refused.clone_into(&mut founding.refused);
        }
    }

    /// Another node says that it is about to stop. Nodes of a cluster are few, and an id that is none says nothing.
    pub fn note_stop(&self, node: NodeId) {
        /// Many times what a cluster has.
        const NODES_MAX: usize = 1024;
        let mut stops = self.stops.lock();
        if stops.len() < NODES_MAX || stops.contains_key(&node) {
            stops.insert(node, Instant::now());
        }
    }

    /// It answers as one that runs on.
    pub fn note_alive(&self, node: NodeId) {
        self.stops.lock().remove(&node);
    }

    pub fn stopped_for(&self, node: NodeId) -> Option<DurationMs> {
        let stops = self.stops.lock();
        stops.get(&node).map(|at| at.elapsed().into())
    }
}

//! The settings of this moment, which may change while mail is on its way.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::config::Config;

/// Cheap to clone; clones change together.
#[derive(Debug, Clone)]
pub struct CurrentConfig(Arc<RwLock<Arc<Config>>>);

impl CurrentConfig {
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    pub fn get(&self) -> Arc<Config> {
        self.0.read().clone()
    }

    /// From here on retries, routes, the node's own source address, and limits of connections are as this says: for routes at
    /// the next attempt of each task, for connections from the next one on. All else is read once, at the start.
    pub fn set(&self, config: Config) {
        *self.0.write() = Arc::new(config);
    }
}

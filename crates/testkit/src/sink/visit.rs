//! When who was connected.

use std::net::SocketAddr;

use parking_lot::Mutex;

use crate::unix_ms;

/// One connection; times in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    pub peer: SocketAddr,
    pub began_ms: u64,
    /// None: it is still open.
    pub ended_ms: Option<u64>,
}

/// Those after the first so many are not kept.
#[derive(Debug)]
pub(super) struct Visits {
    kept: Mutex<Vec<Visit>>,
    most: usize,
}

impl Visits {
    pub fn new(most: usize) -> Self {
        let kept = Mutex::default();
        Self { kept, most }
    }

    pub fn begin(&self, peer: SocketAddr) -> Option<usize> {
        let mut kept = self.kept.lock();
        let number = kept.len();
        (number < self.most).then(|| {
            kept.push(Visit {
                peer,
                began_ms: unix_ms(),
                ended_ms: None,
            });
            number
        })
    }

    pub fn end(&self, number: Option<usize>) {
        if let Some(number) = number {
            self.kept.lock()[number].ended_ms = Some(unix_ms());
        }
    }

    pub fn all(&self) -> Vec<Visit> {
        self.kept.lock().clone()
    }
}

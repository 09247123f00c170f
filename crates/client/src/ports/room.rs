//! The places of a port, as connections hold them.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::places::Places;
use crate::connection::Line;

/// Places that several tasks share.
#[derive(Debug, Clone)]
pub struct Room(Arc<Mutex<Places>>);

/// A place, and the line of the connection that has it.
#[derive(Debug)]
pub struct Permit {
    room: Room,
    id: u64,
    pub line: Arc<Line>,
}

impl Room {
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Places::new(max))))
    }

    pub fn enter(&self, network: IpAddr, is_known: bool, line: Arc<Line>) -> Option<Permit> {
        let entered = self.0.lock().enter(network, is_known, line.clone());
        let (id, displaced) = entered.ok()?;
        if let Some(displaced) = displaced {
            displaced.cut();
        }
        let room = self.clone();
        Some(Permit { room, id, line })
    }
}

impl AsRef<Line> for Permit {
    fn as_ref(&self) -> &Line {
        &self.line
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.room.0.lock().leave(self.id);
    }
}

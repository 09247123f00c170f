//! Where a task waits.

use crate::id::{Fnv, QueueId, Slot};
use crate::mail::{Domain, Envelope};
use crate::priority::Priority;

/// Stands for a tenant's name where names would take too much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantKey(pub u64);

impl TenantKey {
    pub fn of(tenant: &str) -> Self {
        Self(hash([tenant.as_bytes()]))
    }
}

/// Stands for all queues of one site, slot and priority: they share the site's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey(pub u64);

/// A queue by all that decides about its turn.
///
/// People see queues by domain, tenant and pool. Each is kept apart by priority, so that either has an order of its
/// own, and by slot, because a hot site has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Queue {
    pub id: QueueId,
    pub slot: Slot,
    pub priority: Priority,
    pub tenant: TenantKey,
    pub site: SiteKey,
}

impl Queue {
    pub fn of(domain: &Domain, tenant: &str, pool: &str, priority: Priority, slot: Slot) -> Self {
        let domain = domain.as_str().as_bytes();
        let slot_bytes = slot.0.to_be_bytes();
        let class = [&[priority as u8][..], &slot_bytes].concat();
        Self {
            id: QueueId(hash([domain, tenant.as_bytes(), pool.as_bytes(), &class])),
            slot,
            priority,
            tenant: TenantKey::of(tenant),
            site: SiteKey(hash([domain, &class])),
        }
    }

    /// Of a message with this envelope.
    pub fn of_task(envelope: &Envelope, domain: &Domain, slot: Slot) -> Self {
        let Envelope {
            tenant,
            pool,
            priority,
            ..
        } = envelope;
        Self::of(domain, tenant, pool, *priority, slot)
    }
}

/// No part but the last holds a zero byte, so that what ends a part is no part of one.
fn hash<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hash = Fnv::new();
    for part in parts {
        hash.write(part);
        hash.write(&[0]);
    }
    hash.mixed()
}

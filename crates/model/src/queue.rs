//! Where a task waits.

use crate::id::{Fnv, QueueId, Slot};
use crate::mail::{Domain, Envelope};
use crate::priority::Priority;

/// A site's name has at most this many bytes, as a domain (RFC 1035 2.3.4): names of providers and of sets of MX hosts are
/// shorter. It is kept with each task and each queue.
pub const SITE_BYTES_MAX: usize = 255;

/// Whether a site can have this name.
pub fn is_site_name(name: &str) -> bool {
    (1..=SITE_BYTES_MAX).contains(&name.len()) && !name.bytes().any(|byte| byte.is_ascii_control())
}

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
    /// Without a site, the domain is one.
    pub fn of(
        domain: &Domain,
        site: Option<&str>,
        tenant: &str,
        pool: &str,
        priority: Priority,
        slot: Slot,
    ) -> Self {
        let domain = domain.as_str().as_bytes();
        let slot_bytes = slot.0.to_be_bytes();
        let class = [&[priority as u8][..], &slot_bytes].concat();
        let (of_tenant, of_pool) = (tenant.as_bytes(), pool.as_bytes());
        let id = match site {
            // A class begins with a byte that no site has.
            Some(site) => hash([domain, of_tenant, of_pool, site.as_bytes(), &class]),
            None => hash([domain, of_tenant, of_pool, &class]),
        };
        Self {
            id: QueueId(id),
            slot,
            priority,
            tenant: TenantKey::of(tenant),
            site: SiteKey(hash([site.map_or(domain, str::as_bytes), &class])),
        }
    }

    /// Of a message with this envelope.
    pub fn of_task(envelope: &Envelope, domain: &Domain, site: Option<&str>, slot: Slot) -> Self {
        let Envelope {
            tenant,
            pool,
            priority,
            ..
        } = envelope;
        Self::of(domain, site, tenant, pool, *priority, slot)
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

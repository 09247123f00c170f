//! Where a task waits.

use crate::id::{Fnv, QueueId, Slot};
use crate::mail::Domain;
use crate::priority::Priority;

/// A site's name has at most this many bytes, as a domain (RFC 1035 2.3.4): names of providers and of sets of MX hosts are
/// shorter. It is kept with each task and each queue.
pub const SITE_BYTES_MAX: usize = 255;

/// Whether a site can have this name.
pub fn is_site_name(name: &str) -> bool {
    (1..=SITE_BYTES_MAX).contains(&name.len()) && !name.bytes().any(|byte| byte.is_ascii_control())
}

/// Whether a campaign can have this name. It is part of the names of queues, so there is one for each campaign and domain.
pub fn is_campaign_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Stands for a tenant's name where names would take too much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantKey(pub u64);

impl TenantKey {
    pub fn of(tenant: &str) -> Self {
        Self(hash([tenant.as_bytes()]))
    }
}

/// Stands for a pool's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey(pub u64);

impl PoolKey {
    pub fn of(pool: &str) -> Self {
        Self(hash([pool.as_bytes()]))
    }
}

/// Stands for all queues of one site, slot and priority: they share the site's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey(pub u64);

impl SiteKey {
    /// By the name that tasks are filed under: their site, or else their domain.
    pub fn of(name: &str, priority: Priority, slot: Slot) -> Self {
        Self(hash([name.as_bytes(), &class(priority, slot)]))
    }
}

fn class(priority: Priority, slot: Slot) -> [u8; 3] {
    let [high, low] = slot.0.to_be_bytes();
    [priority as u8, high, low]
}

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
    pub pool: PoolKey,
}

/// What tells one queue from another.
#[derive(Debug, Clone, Copy)]
pub struct QueueNames<'n> {
    pub domain: &'n Domain,
    /// None: the domain is one.
    pub site: Option<&'n str>,
    pub tenant: &'n str,
    pub pool: &'n str,
    pub campaign: Option<&'n str>,
    pub priority: Priority,
    pub slot: Slot,
}

impl Queue {
    pub fn of(names: &QueueNames<'_>) -> Self {
        let QueueNames {
            domain,
            site,
            tenant,
            pool,
            campaign,
            priority,
            slot,
        } = *names;
        let name = site.unwrap_or(domain.as_str());
        let domain = domain.as_str().as_bytes();
        let class = class(priority, slot);
        let (of_tenant, of_pool) = (tenant.as_bytes(), pool.as_bytes());
        let of_all = match site {
            // A class begins with a byte that no site has.
            Some(site) => hash([domain, of_tenant, of_pool, site.as_bytes(), &class]),
            None => hash([domain, of_tenant, of_pool, &class]),
        };
        let id = campaign.map_or(of_all, |campaign| {
            hash([campaign.as_bytes(), &of_all.to_be_bytes()])
        });
        Self {
            id: QueueId(id),
            slot,
            priority,
            tenant: TenantKey::of(tenant),
            site: SiteKey::of(name, priority, slot),
            pool: PoolKey::of(pool),
        }
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

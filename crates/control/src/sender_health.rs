//! What senders say of themselves, in the words of the model.

use skein_model::UnixMs;
use skein_model::doctor::{self, Connects, NameServer};
use skein_wire::internal::{CertificateEnd, SenderHealth};

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub fn certificates(ends: Vec<CertificateEnd>) -> Vec<doctor::CertificateEnd> {
    let ends = ends.into_iter().map(|end| doctor::CertificateEnd {
        setting: end.setting,
        path: end.path,
        at: UnixMs(end.at_ms),
    });
    ends.collect()
}

/// `clock_ahead_ms` is the sender's clock less that of the node that asks.
pub fn read(health: SenderHealth, clock_ahead_ms: i64) -> doctor::SenderHealth {
    let servers = health.name_servers.into_iter().map(|server| NameServer {
        address: server.address,
        fault: given(server.fault),
    });
    let connects = health.connects.unwrap_or_default();
    doctor::SenderHealth {
        clock_ahead_ms,
        name_servers: servers.collect(),
        needs_dns: health.needs_dns,
        connects: Connects {
            minutes: connects.minutes,
            hosts: connects.hosts,
            connected: connects.connected,
            sites: connects.sites,
            last_fault: connects.last_fault,
        },
        certificates: certificates(health.certificates),
    }
}

//! What senders say of themselves, in the words of the model.

use skein_model::doctor::{self, Connects, FileFault, NameServer};
use skein_wire::internal::SenderHealth;

use crate::cluster::certificates;

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// `clock_ahead_ms` is the sender's clock less that of the node that asks.
pub fn read(health: SenderHealth, clock_ahead_ms: i64) -> doctor::SenderHealth {
    let servers = health.name_servers.into_iter().map(|server| NameServer {
        address: server.address,
        fault: given(server.fault),
    });
    let files = health.files.into_iter().map(|file| FileFault {
        setting: file.setting,
        path: file.path,
        fault: file.fault,
    });
    let connects = health.connects.unwrap_or_default();
    doctor::SenderHealth {
        clock_ahead_ms,
        name_servers: servers.collect(),
        needs_dns: health.needs_dns,
        validation_fault: given(health.validation_fault),
        connects: Connects {
            minutes: connects.minutes,
            hosts: connects.hosts,
            connected: connects.connected,
            sites: connects.sites,
            last_fault: connects.last_fault,
        },
        certificates: certificates(health.certificates),
        files: files.collect(),
    }
}

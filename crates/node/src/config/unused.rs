//! Keys that a node of this role does not read.

use super::{Config, Role};

/// What starts with one of these has no effect at the role, and why.
const UNUSED: [(Role, &[&str], &str); 7] = [
    (
        Role::Sender,
        &[
            "cluster.listen",
            "cluster.address",
            "cluster.bootstrap_expect",
            "cluster.spool_groups",
        ],
        "senders connect to control nodes, and are not connected to",
    ),
    (
        Role::Sender,
        &["admin", "storage"],
        "control nodes have the spool and the admin API",
    ),
    (
        Role::Egress,
        &[
            "cluster.listen",
            "cluster.address",
            "cluster.bootstrap_expect",
            "cluster.spool_groups",
        ],
        "egress nodes connect to control nodes, and are not connected to by those",
    ),
    (
        Role::Egress,
        &["data_dir", "admin", "storage", "events"],
        "egress nodes keep nothing",
    ),
    (
        Role::Egress,
        &[
            "smtp",
            "delivery.smarthost",
            "delivery.port",
            "delivery.own_addresses",
            "delivery.tls",
            "delivery.tls_ca",
            "delivery.source_address",
            "delivery.connections_per_destination",
            "delivery.messages_per_connection",
            "delivery.recipients_per_transaction",
            "delivery.window",
            "delivery.scratch_dir",
            "delivery.retry",
            "delivery.route",
        ],
        "egress nodes only lend their source IPs, and senders take mail in and deliver it",
    ),
    (
        Role::Control,
        &[
            "smtp.relay_networks",
            "smtp.relay_tenant",
            "smtp.proxy_networks",
            "smtp.bare_newlines",
            "smtp.tls",
            "smtp.limits",
            "smtp.listener",
            "smtp.user",
        ],
        "senders take mail in",
    ),
    (
        Role::Control,
        &[
            "cluster.name",
            "delivery.smarthost",
            "delivery.port",
            "delivery.tls",
            "delivery.tls_ca",
            "delivery.source_address",
            "delivery.connections_per_destination",
            "delivery.messages_per_connection",
            "delivery.recipients_per_transaction",
            "delivery.window",
            "delivery.scratch_dir",
            "delivery.retry",
            "delivery.route",
            "dns.dnsbl_zones",
        ],
        "senders deliver mail",
    ),
];

/// Of a node without `cluster.listen` and `cluster.peers`.
const UNUSED_ALONE: [&str; 2] = ["cluster.address", "cluster.bootstrap_expect"];

/// A warning for each key of the file that has no effect; for a whole section, one.
pub fn unused(config: &Config, keys: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let is_given = |key: &str| keys.iter().any(|given| given == key);
    for (role, unused, why) in UNUSED {
        if role != config.role {
            continue;
        }
        for key in unused.iter().filter(|key| is_given(key)) {
            let role = role.name();
            found.push(format!(
                "{key}: has no effect at a node of role {role:?}, because {why}; leave it out, or say it in the file of \
                 those"
            ));
        }
    }
    if config.role == Role::All && config.cluster.is_alone() {
        for key in UNUSED_ALONE.iter().filter(|key| is_given(key)) {
            found.push(format!(
                "{key}: has no effect without cluster.listen and cluster.peers"
            ));
        }
    }
    found
}

//! Keys that a node of this role does not read.

use super::{Config, Role};

/// Of a control node, as others find it.
const MEMBERSHIP: &[&str] = &[
    "cluster.listen",
    "cluster.address",
    "cluster.bootstrap_expect",
    "cluster.join",
    "cluster.spool_groups",
];

/// How mail goes out.
const DELIVERY: &[&str] = &[
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
];

const LENDS_ONLY: &str =
    "egress nodes only lend their source IPs, and senders take mail in and deliver it";
const SENDERS_DELIVER: &str = "senders deliver mail";

/// Keys, or sections, that have no effect at the role, and why.
const UNUSED: [(Role, &[&str], &str); 11] = [
    (
        Role::Sender,
        MEMBERSHIP,
        "senders connect to control nodes, and are not connected to",
    ),
    (
        Role::Sender,
        &["admin", "storage"],
        "control nodes have the spool and the admin API",
    ),
    (
        Role::Sender,
        &[
            "dkim.zone",
            "dkim.return_path_host",
            "dkim.tracking_host",
            "dkim.report_address",
            "dkim.ttl",
            "dkim.rotate_after",
            "dkim.authoritative_servers",
        ],
        "control nodes look after domains",
    ),
    (
        Role::Sender,
        &["tls_policies", "tls_reports"],
        "control nodes keep the policies of other domains and send reports",
    ),
    (
        Role::Egress,
        MEMBERSHIP,
        "egress nodes connect to control nodes, and are not connected to by those",
    ),
    (
        Role::Egress,
        &[
            "data_dir",
            "admin",
            "storage",
            "events",
            "dkim",
            "tls_policies",
            "tls_reports",
        ],
        "egress nodes keep nothing",
    ),
    (
        Role::Egress,
        &["smtp", "delivery.own_addresses"],
        LENDS_ONLY,
    ),
    (Role::Egress, DELIVERY, LENDS_ONLY),
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
        &["cluster.name", "dns.dnsbl_zones"],
        SENDERS_DELIVER,
    ),
    (Role::Control, DELIVERY, SENDERS_DELIVER),
];

/// Of a node without `cluster.listen` and `cluster.peers`.
const UNUSED_ALONE: [&str; 3] = [
    "cluster.address",
    "cluster.bootstrap_expect",
    "cluster.join",
];

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

//! Which settings a running node takes over at SIGHUP, and why others wait for its next start.

/// What SIGHUP does about a key whose value has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtHangUp {
    TakenOver,
    /// The node goes on as before, for this reason.
    NeedsRestart(&'static str),
}

use AtHangUp::{NeedsRestart, TakenOver};

const PARTS: AtHangUp = NeedsRestart("the role decides which parts there are");
const STORES: AtHangUp = NeedsRestart("stores are opened at the start");
const SOCKETS: AtHangUp = NeedsRestart("sockets are opened at the start");
const MEMBERSHIP: AtHangUp = NeedsRestart("other nodes know this one by it");
const PEERS: AtHangUp = NeedsRestart("the way to other nodes is found at the start");
const CERTIFICATES: AtHangUp =
    NeedsRestart("files of certificates are followed as they are named at the start");
const HOSTNAME: AtHangUp =
    NeedsRestart("intake, sender and resolver must agree on it, and DSNs that wait have it");
const RESOLVER: AtHangUp = NeedsRestart("the resolver and what it remembers are made with it");
const RECORDS: AtHangUp = NeedsRestart("all control nodes must agree on the records of domains");
const REPORTS: AtHangUp = NeedsRestart("all control nodes must agree on who reports");
const STREAMS: AtHangUp = NeedsRestart("streams of tasks are opened with it");
const JOURNAL: AtHangUp = NeedsRestart("results that are not reported are kept there");
const FORMAT: AtHangUp = NeedsRestart("readers of a log expect one format");
const COLLECTOR: AtHangUp = NeedsRestart("the way to the collector is found at the start");

/// Every key, once. A list of tables (`[[smtp.user]]`, `[[smtp.tls.sni]]`) counts as one value, and so do `[cluster.tls]` and `[admin.tls]`, which
/// may be missing as a whole.
pub const KEYS: [(&str, AtHangUp); 93] = [
    ("role", PARTS),
    ("data_dir", STORES),
    ("cluster.listen", SOCKETS),
    ("cluster.address", MEMBERSHIP),
    ("cluster.peers", PEERS),
    ("cluster.bootstrap_expect", MEMBERSHIP),
    ("cluster.join", MEMBERSHIP),
    ("cluster.spool_groups", MEMBERSHIP),
    ("cluster.name", MEMBERSHIP),
    ("cluster.plaintext", PEERS),
    ("cluster.tls", CERTIFICATES),
    ("storage.soft_mark", TakenOver),
    ("storage.hard_mark", TakenOver),
    ("storage.ballast_bytes", STORES),
    ("storage.segment_bytes", STORES),
    ("storage.wal_bytes", STORES),
    ("storage.pull_bytes_per_second", TakenOver),
    ("smtp.hostname", HOSTNAME),
    ("smtp.relay_networks", TakenOver),
    ("smtp.relay_tenant", TakenOver),
    ("smtp.proxy_networks", TakenOver),
    ("smtp.bare_newlines", TakenOver),
    ("smtp.tls.certificate", CERTIFICATES),
    ("smtp.tls.key", CERTIFICATES),
    ("smtp.tls.sni", CERTIFICATES),
    ("smtp.tls.client_ca", CERTIFICATES),
    ("smtp.tls.client_revoked", CERTIFICATES),
    ("smtp.limits.message_bytes", TakenOver),
    ("smtp.limits.recipients", TakenOver),
    ("smtp.limits.connections", TakenOver),
    ("smtp.limits.connections_per_client", TakenOver),
    ("smtp.limits.messages_per_connection", TakenOver),
    ("smtp.limits.commands_per_connection", TakenOver),
    ("smtp.limits.errors_per_connection", TakenOver),
    ("smtp.limits.line_bytes", TakenOver),
    ("smtp.limits.command_timeout", TakenOver),
    ("smtp.limits.body_timeout", TakenOver),
    ("smtp.limits.body_rate_min", TakenOver),
    ("smtp.limits.memory_bytes", TakenOver),
    ("smtp.limits.shutdown_grace", TakenOver),
    ("smtp.listener", SOCKETS),
    ("smtp.user", TakenOver),
    ("admin.listen", SOCKETS),
    ("admin.plaintext", SOCKETS),
    ("admin.tls", CERTIFICATES),
    ("http.listen", SOCKETS),
    ("delivery.smarthost", TakenOver),
    ("delivery.port", RESOLVER),
    ("delivery.allow_private_addresses", RESOLVER),
    ("delivery.own_addresses", RESOLVER),
    ("delivery.tls", TakenOver),
    ("delivery.tls_ca", CERTIFICATES),
    ("delivery.source_address", TakenOver),
    ("delivery.connections_per_destination", TakenOver),
    ("delivery.messages_per_connection", TakenOver),
    ("delivery.recipients_per_transaction", TakenOver),
    ("delivery.window", STREAMS),
    ("delivery.scratch_dir", JOURNAL),
    ("delivery.retry.first", TakenOver),
    ("delivery.retry.cap", TakenOver),
    ("delivery.retry.max_age", TakenOver),
    ("delivery.retry.delay_notice", TakenOver),
    ("delivery.route", TakenOver),
    ("egress.listen", SOCKETS),
    ("egress.address", MEMBERSHIP),
    ("dkim.key_file", TakenOver),
    ("dkim.previous_key_file", TakenOver),
    ("dkim.zone", RECORDS),
    ("dkim.return_path_host", RECORDS),
    ("dkim.tracking_host", RECORDS),
    ("dkim.report_address", RECORDS),
    ("dkim.ttl", RECORDS),
    ("dkim.rotate_after", RECORDS),
    ("dkim.authoritative_servers", RESOLVER),
    ("dns.servers", RESOLVER),
    ("dns.trust_ad", RESOLVER),
    ("dns.validation_probe.signed", RESOLVER),
    ("dns.validation_probe.broken", RESOLVER),
    ("dns.dnsbl_zones", TakenOver),
    ("tls_policies.roots", CERTIFICATES),
    ("tls_policies.https_port", RESOLVER),
    ("tls_policies.look_every", RESOLVER),
    ("tls_reports.from", REPORTS),
    ("tls_reports.organization", REPORTS),
    ("tls_reports.contact", REPORTS),
    ("events.path", STORES),
    ("log.level", TakenOver),
    ("log.format", FORMAT),
    ("telemetry.otlp_endpoint", COLLECTOR),
    ("telemetry.otlp_ca", COLLECTOR),
    ("telemetry.otlp_headers", COLLECTOR),
    ("telemetry.sample_ratio", TakenOver),
    ("telemetry.tenants", TakenOver),
];

/// One line for each key.
pub fn listed() -> String {
    let lines = KEYS.iter().map(|(key, at)| match at {
        TakenOver => format!("{key}  # taken over at SIGHUP\n"),
        NeedsRestart(why) => format!("{key}  # needs a restart: {why}\n"),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Config;
    use super::*;

    /// Tables whose keys are decided about together.
    const WHOLE: [&str; 6] = [
        "admin.tls",
        "cluster.tls",
        "delivery.route",
        "smtp.listener",
        "smtp.tls.sni",
        "smtp.user",
    ];

    /// The keys that a section may have, as the refusal of one that it may not have lists them; none where nothing has keys.
    fn keys_of(header: &str) -> Option<Vec<String>> {
        let error = Config::parse(&format!("{header}\nno_such_key = 1\n")).err()?;
        let said = format!("{error:#}");
        let (_, expected) = said.split_once("unknown field `no_such_key`, expected ")?;
        let expected = expected.lines().next().unwrap_or_default();
        let names = expected.split('`').skip(1).step_by(2);
        Some(names.map(str::to_owned).collect())
    }

    /// All keys that there are, down to those of tables in lists.
    fn all_keys() -> BTreeSet<String> {
        let mut open = keys_of("").unwrap_or_default();
        let mut found = BTreeSet::new();
        while let Some(path) = open.pop() {
            let keys = keys_of(&format!("[{path}]")).or_else(|| keys_of(&format!("[[{path}]]")));
            match keys {
                Some(keys) => open.extend(keys.iter().map(|key| format!("{path}.{key}"))),
                None => {
                    found.insert(path);
                }
            }
        }
        found
    }

    #[test]
    fn it_is_decided_for_each_key_whether_sighup_takes_it_over() {
        let there = all_keys();
        assert!(there.len() > 80, "{there:?}");
        let covers = |entry: &str, key: &str| {
            let is_within = key
                .strip_prefix(entry)
                .is_some_and(|rest| rest.starts_with('.'));
            key == entry || (is_within && WHOLE.contains(&entry))
        };
        for key in &there {
            let entries = KEYS.iter().filter(|(entry, _)| covers(entry, key));
            assert_eq!(entries.count(), 1, "{key} stands in KEYS once");
        }
        for (entry, _) in KEYS {
            let is_there = there.iter().any(|key| covers(entry, key));
            assert!(is_there, "{entry} is no key");
        }
    }
}

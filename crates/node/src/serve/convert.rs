//! From the configuration of the node to those of its parts.

use std::path::PathBuf;
use std::sync::Arc;

use skein_client::{Channel, Cluster};
use skein_control::{DomainSettings, FindMx, NodeRole, TlsPolicySettings, TlsReportSettings};
use skein_dns::OwnAddresses;

use crate::config::{BareNewlines, Config, Join, Kind, ListenerTls, Role};
use crate::{links, tls};

pub fn events_path(config: &Config) -> PathBuf {
    let path = config.events.path.clone();
    path.unwrap_or_else(|| config.data_dir.join("events.jsonl"))
}

/// The control nodes as this process reaches them: its own without a socket.
pub fn cluster(config: &Config, ports: &tls::Ports, own: Option<Channel>) -> Cluster {
    match own {
        Some(channel) if config.cluster.is_alone() => Cluster::in_process(channel),
        own => {
            let address = config.cluster.own_address();
            let connect = links::connect(ports.cluster.clone());
            let to_node = move |to: &str| match &own {
                Some(channel) if to == address => channel.clone(),
                _ => connect(to),
            };
            let mut seeds = config.cluster.peers.clone();
            if config.role.controls() {
                seeds.push(config.cluster.own_address());
            }
            Cluster::find(seeds, Arc::new(to_node))
        }
    }
}

pub fn sender_config(config: &Config) -> anyhow::Result<skein_sender::Config> {
    let mut sender = config.delivery.sender(&config.smtp.hostname)?;
    let own = config.cluster.own_address();
    let given = config.cluster.name.clone();
    let named = given.or_else(|| (!own.is_empty()).then_some(own));
    sender.name = named.unwrap_or_else(|| config.smtp.hostname.clone());
    let scratch_dir = config.delivery.scratch_dir.clone();
    let scratch_dir = scratch_dir.unwrap_or_else(|| config.data_dir.join("scratch"));
    sender.dnsbl_zones = config.dns.dnsbl_zones.clone();
    sender.own_addresses = own_addresses(config);
    sender.scratch_dir = (!scratch_dir.as_os_str().is_empty()).then_some(scratch_dir);
    Ok(sender)
}

pub fn control_config(
    config: &Config,
    data_dir: PathBuf,
    connect: skein_client::Connect,
    find_mx: FindMx,
    domains: Arc<DomainSettings>,
    (tls_policies, tls_reports): (Arc<TlsPolicySettings>, Arc<TlsReportSettings>),
) -> skein_control::Config {
    skein_control::Config {
        data_dir,
        version: env!("CARGO_PKG_VERSION").into(),
        role: match config.role {
            Role::All => NodeRole::All,
            Role::Control => NodeRole::Control,
            // Neither has a control function to tell of.
            Role::Sender | Role::Egress => NodeRole::Sender,
        },
        address: config.cluster.own_address(),
        founders: config.cluster.founders(),
        peers: config.cluster.peers.clone(),
        joins_uninvited: config.cluster.join == Join::Auto,
        spool_groups: config.cluster.spool_groups(),
        spool_groups_by_default: config.cluster.spool_groups.is_none(),
        connect,
        store: config.storage.options(),
        pull_bytes_per_second: config.storage.pull_bytes_per_second,
        find_mx,
        domains,
        tls_policies,
        tls_reports,
    }
}

pub fn dns_config(config: &Config) -> skein_dns::Config {
    skein_dns::Config {
        servers: config.dns.servers.clone(),
        trust_ad: config.dns.trust_ad.clone(),
        validation_probe: config.dns.validation_probe.clone().into(),
        allow_private: config.delivery.allow_private_addresses,
        own_hostname: config.smtp.hostname.clone(),
        own_addresses: own_addresses(config),
        port: config.delivery.port,
        ..skein_dns::Config::default()
    }
}

/// What the configuration says of where mail comes back to us.
fn own_addresses(config: &Config) -> OwnAddresses {
    let listeners = match config.role.sends() {
        true => config
            .smtp
            .listeners
            .iter()
            .map(|one| one.address)
            .collect(),
        false => Vec::new(),
    };
    OwnAddresses {
        named: config.delivery.own_addresses.iter().copied().collect(),
        listeners,
        ..OwnAddresses::default()
    }
}

pub fn ingress_config(
    config: &Config,
    has_certificate: bool,
) -> anyhow::Result<skein_ingress::Config> {
    let smtp = &config.smtp;
    let listeners = smtp
        .listeners
        .iter()
        .map(|listener| skein_ingress::Listener {
            address: listener.address,
            kind: match listener.kind {
                Kind::Relay => skein_ingress::ListenerKind::Relay,
                Kind::Submission => skein_ingress::ListenerKind::Submission,
            },
            tls: match listener.tls {
                ListenerTls::Auto if has_certificate => skein_ingress::TlsMode::StartTls,
                ListenerTls::Auto | ListenerTls::None => skein_ingress::TlsMode::None,
                ListenerTls::Starttls => skein_ingress::TlsMode::StartTls,
                ListenerTls::Implicit => skein_ingress::TlsMode::Implicit,
            },
        })
        .collect();
    let users = smtp.users.iter().map(|user| {
        Ok(skein_ingress::User {
            name: user.name.clone(),
            password: user.password()?,
            tenant: user.tenant.clone(),
        })
    });
    Ok(skein_ingress::Config {
        hostname: smtp.hostname.clone(),
        relay_networks: smtp.relay_networks.clone(),
        relay_tenant: smtp.relay_tenant.clone(),
        proxy_networks: smtp.proxy_networks.clone(),
        listeners,
        users: users.collect::<anyhow::Result<_>>()?,
        recipients_per_task: config.delivery.recipients_per_transaction,
        fix_bare_newlines: smtp.bare_newlines == BareNewlines::Fix,
        limits: skein_ingress::Limits {
            message_bytes: smtp.limits.message_bytes,
            recipients: smtp.limits.recipients,
            messages: smtp.limits.messages_per_connection,
            commands: smtp.limits.commands_per_connection,
            errors: smtp.limits.errors_per_connection,
            line_bytes: smtp.limits.line_bytes,
            command_timeout: smtp.limits.command_timeout,
            body_timeout: smtp.limits.body_timeout,
            ..skein_ingress::Limits::default()
        },
        connections_max: smtp.limits.connections,
        connections_per_client_max: smtp.limits.connections_per_client,
        memory_bytes: smtp.limits.memory_bytes,
        body_rate_min: smtp.limits.body_rate_min,
        shutdown_grace: smtp.limits.shutdown_grace,
        sampling: config.telemetry.sampling(),
    })
}

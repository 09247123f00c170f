//! What may be proposed to the meta group.

use super::audit;
use super::command::Command;
use super::domains;
use super::import::Import;
use super::ips::Addresses;
use super::known_clients;
use super::limits;
use super::members::{Join, NODES_MAX, SPOOL_GROUPS_MAX};
use super::policy_change::PolicyChange;
use super::{sts, suppressions, tls_reports, token_keys};
use crate::HostPort;
use crate::automation::{self, Rules};
use crate::feature::Feature;
use crate::id::{NodeId, SessionId};
use crate::proposal::{self, Invalid};
use crate::throttle::LimitId;

/// Of an address that is taken back: an older version let others in than are let in here.
const ADDRESS_BYTES_MAX: usize = 1024;
/// What is said once a second, and orders of operators; beyond, a command would be applied for long.
const ORDERS_MAX: usize = 10_000;

/// Reads a command that is to be proposed.
///
/// # Errors
/// The group could not apply it, or it says what cannot be.
pub fn read_proposed(command: &[u8]) -> Result<Command, Invalid> {
    let command = proposal::read(command)?;
    check(&command)?;
    Ok(command)
}

impl Command {
    /// What a member must know to read it; none if every build does. Fields that are appended need a feature as well, where a
    /// node that passes over them would come to other rows.
    pub fn feature(&self) -> Option<Feature> {
        match self {
            Self::Suppression(_) => Some(Feature::Suppressions),
            Self::Import(import) if !import.suppressions.is_empty() => Some(Feature::Suppressions),
            Self::OpenEgress { .. } => Some(Feature::EgressSessions),
            Self::ChangePolicy(change) if change.put.iter().any(|put| is_inbound(&put.key)) => {
                Some(Feature::Inbound)
            }
            Self::SetPolicy { put, .. } if put.iter().any(|(key, _)| is_inbound(key)) => {
                Some(Feature::Inbound)
            }
            Self::Import(import) if import.policy.iter().any(|(key, _)| is_inbound(key)) => {
                Some(Feature::Inbound)
            }
            Self::ChangePolicy(_) => Some(Feature::PolicyHistory),
            Self::Audit(_) => Some(Feature::Audit),
            Self::TakeEvents(_) => Some(Feature::MetaEvents),
            Self::KnownClients(_) => Some(Feature::KnownClients),
            Self::PutTokenKey(_) => Some(Feature::Attribution),
            Self::Import(import) if !import.token_keys.is_empty() => Some(Feature::Attribution),
            Self::Import(import) if !import.sources.is_empty() => Some(Feature::PolicyHistory),
            Self::Domain(_) => Some(Feature::Domains),
            Self::ReportLimits { told, .. }
                if told.iter().any(limits::SessionReports::has_intake) =>
            {
                Some(Feature::IntakeLimits)
            }
            Self::TendLimits { limits, .. } if limits.iter().any(LimitId::is_of_intake) => {
                Some(Feature::IntakeLimits)
            }
            Self::Import(import) if !import.domains.is_empty() => Some(Feature::Domains),
            Self::Sts(_) => Some(Feature::StsPolicies),
            Self::Import(import) if !import.sts.is_empty() => Some(Feature::StsPolicies),
            Self::TlsReport(_) => Some(Feature::TlsReports),
            Self::OpenSession { .. }
            | Self::CloseSession(_)
            | Self::Release { .. }
            | Self::SetFit { .. }
            | Self::Retire(_)
            | Self::SetDrained { .. }
            | Self::MoveSlot { .. }
            | Self::Found { .. }
            | Self::Join(_)
            | Self::Invite(_)
            | Self::RemoveNode(_)
            | Self::SetWeight { .. }
            | Self::SetSpread { .. }
            | Self::Withdraw(_)
            | Self::SetPolicy { .. }
            | Self::Automation(_)
            | Self::Import(_)
            | Self::SetAddresses { .. }
            | Self::MoveIps(_)
            | Self::ReleaseIps { .. }
            | Self::SetRules(_)
            | Self::TellReplies { .. }
            | Self::SetIpChecks { .. }
            | Self::ReportLimits { .. }
            | Self::TendLimits { .. }
            | Self::Warmup(_)
            | Self::GrantWarmup { .. } => None,
        }
    }

    /// Whether any control node may ask the leader to propose it: what operators order, and what nodes say of themselves.
    /// Everything else comes over a service of the leader's own, which knows who asks and what it is based on.
    pub fn is_forwarded(&self) -> bool {
        match self {
            Self::SetDrained { .. }
            | Self::MoveSlot { .. }
            | Self::Join(_)
            | Self::Invite(_)
            | Self::Withdraw(_)
            | Self::RemoveNode(_)
            | Self::SetWeight { .. }
            | Self::SetSpread { .. }
            | Self::SetPolicy { .. }
            | Self::ChangePolicy(_)
            | Self::Audit(_)
            | Self::Warmup(_)
            | Self::Domain(_)
            | Self::Import(_) => true,
            // The rest follows from what the leader found and was told.
            Self::Sts(command) => matches!(**command, sts::Command::Flush { .. }),
            Self::TlsReport(command) => matches!(**command, tls_reports::Command::Hurry { .. }),
            // Spool groups' leaders tell of bounces, and others of complaints and unsubscribes.
            Self::Suppression(command) => {
                !matches!(**command, suppressions::Command::Expire { .. })
            }
            Self::Automation(command) => matches!(
                **command,
                automation::Command::Suspend { .. }
                    | automation::Command::Resume { .. }
                    | automation::Command::Lift { .. }
            ),
            _ => false,
        }
    }
}

fn check(command: &Command) -> Result<(), Invalid> {
    match command {
        Command::OpenSession {
            session: id,
            sender,
            ..
        } => {
            session(*id)?;
            proposal::name("sender", sender)
        }
        Command::OpenEgress {
            session: id, node, ..
        } => {
            session(*id)?;
            proposal::name("node", node)
        }
        Command::CloseSession(id) | Command::Retire(id) => session(*id),
        Command::SetFit { session: id, .. } => session(*id),
        Command::Release { session: id, slots } => {
            session(*id)?;
            proposal::slots(slots)
        }
        Command::SetDrained { sender, .. } => proposal::name("sender", sender),
        Command::MoveSlot { slot, to } => {
            session(*to)?;
            proposal::slot(*slot)
        }
        Command::Found { cluster, nodes } => check_founding(cluster.spool_groups, nodes),
        Command::Join(join) => check_join(join),
        Command::Invite(text) => address(text),
        Command::Withdraw(text) => proposal::text("address", text, 1..=ADDRESS_BYTES_MAX),
        Command::RemoveNode(id) => node(*id),
        Command::SetWeight { tenant, .. } => proposal::name("tenant", tenant),
        Command::SetSpread { site, .. } => proposal::name("site", site),
        // Texts, whose sizes `apply` looks at together.
        Command::SetPolicy { put, delete, .. } => {
            let keys = put.iter().map(|(key, _)| key).chain(delete);
            keys.into_iter()
                .try_for_each(|key| proposal::name("resource", key))
        }
        Command::ChangePolicy(change) => check_policy(change),
        Command::Audit(command) => audit::check(command),
        // It is bounded by the events that there are.
        Command::TakeEvents(_) => Ok(()),
        Command::KnownClients(accounts) => known_clients::check(accounts),
        Command::PutTokenKey(put) => token_keys::check(put),
        Command::Automation(command) => check_automation(command),
        Command::Import(import) => check_import(import),
        Command::SetAddresses {
            session: id,
            addresses,
        } => {
            session(*id)?;
            check_addresses(addresses)
        }
        Command::MoveIps(moves) => moves
            .iter()
            .try_for_each(|(ip, _)| proposal::name("ip", ip)),
        Command::ReleaseIps { session: id, ips } => {
            session(*id)?;
            ips.iter().try_for_each(|(ip, epoch)| {
                proposal::name("ip", ip)?;
                proposal::number("epoch", epoch.0)
            })
        }
        Command::SetRules(rules) => check_rules(rules),
        Command::TellReplies {
            session: id, batch, ..
        }
        | Command::GrantWarmup {
            session: id, batch, ..
        } => {
            session(*id)?;
            proposal::number("batch", *batch)
        }
        Command::SetIpChecks {
            session: id,
            checks,
        } => {
            session(*id)?;
            checks.iter().try_for_each(|(ip, check)| {
                proposal::name("ip", ip)?;
                proposal::time("at", check.at)
            })
        }
        Command::ReportLimits { at, told } => {
            proposal::limit_time("at", *at)?;
            let mut reports = told.iter().flat_map(|told| &told.reports);
            reports.try_for_each(|report| {
                limits::check(report).map_err(|why| Invalid::field("reports", why))
            })
        }
        Command::TendLimits { at, .. } => proposal::limit_time("at", *at),
        Command::Warmup(orders) if orders.len() > ORDERS_MAX => {
            Err(Invalid::field("orders", "are too many for one command"))
        }
        // Each is refused by itself.
        Command::Warmup(_) => Ok(()),
        Command::Domain(command) => domains::check(command),
        Command::Sts(command) => sts::check(command),
        Command::TlsReport(command) => tls_reports::check(command),
        Command::Suppression(command) => suppressions::check(command),
    }
}

/// Nodes that do not know a kind of resource cannot read the policy any more.
fn is_inbound(key: &str) -> bool {
    key.starts_with("inbound/")
}

fn session(id: SessionId) -> Result<(), Invalid> {
    match id == SessionId::NONE {
        true => Err(Invalid::field("session", "stands for no session")),
        false => Ok(()),
    }
}

fn node(id: NodeId) -> Result<(), Invalid> {
    match id.0 {
        0 => Err(Invalid::field("node", "stands for no node")),
        _ => Ok(()),
    }
}

fn address(text: &str) -> Result<(), Invalid> {
    let parsed = text.parse::<HostPort>();
    parsed
        .map(|_| ())
        .map_err(|error| Invalid::field("address", error))
}

fn spool_groups(groups: u16) -> Result<(), Invalid> {
    match (1..=SPOOL_GROUPS_MAX).contains(&groups) {
        true => Ok(()),
        false => Err(Invalid::field(
            "spool_groups",
            format!("from 1 to {SPOOL_GROUPS_MAX}"),
        )),
    }
}

fn check_founding(groups: u16, nodes: &[(NodeId, String)]) -> Result<(), Invalid> {
    spool_groups(groups)?;
    if !(1..=NODES_MAX).contains(&nodes.len()) {
        return Err(Invalid::field("nodes", format!("from 1 to {NODES_MAX}")));
    }
    nodes.iter().try_for_each(|(id, at)| {
        node(*id)?;
        address(at)
    })
}

fn check_join(join: &Join) -> Result<(), Invalid> {
    node(join.node)?;
    address(&join.address)?;
    proposal::text("version", &join.version, ..=64)?;
    spool_groups(join.spool_groups)
}

fn check_addresses(addresses: &Addresses) -> Result<(), Invalid> {
    match &addresses.egress {
        None => Ok(()),
        Some(egress) => egress
            .parse::<HostPort>()
            .map(|_| ())
            .map_err(|error| Invalid::field("egress", error)),
    }
}

fn check_policy(change: &PolicyChange) -> Result<(), Invalid> {
    proposal::text("by", &change.by, ..=audit::AUDIT_NAME_BYTES_MAX)?;
    let keys = change.put.iter().map(|put| &put.key);
    keys.chain(&change.delete)
        .try_for_each(|key| proposal::name("resource", key))?;
    let mut sources = change.put.iter().filter_map(|put| put.source.as_ref());
    sources.try_for_each(|source| proposal::name("source", source))
}

fn check_automation(command: &automation::Command) -> Result<(), Invalid> {
    match command {
        automation::Command::Lift { at, order: _ } => proposal::name("provider", &at.provider),
        // Selectors and times are refused by `apply`, and what operators say is cut there.
        _ => Ok(()),
    }
}

fn check_rules(rules: &Rules) -> Result<(), Invalid> {
    for (provider, rules) in rules {
        proposal::name("provider", provider)?;
        for rule in rules {
            rule.check()
                .map_err(|error| Invalid::field("rules", error))?;
        }
    }
    Ok(())
}

fn check_import(import: &Import) -> Result<(), Invalid> {
    proposal::imported_slots(&import.epochs)?;
    import
        .drained
        .iter()
        .try_for_each(|sender| proposal::name("drained", sender))?;
    import.removed.iter().try_for_each(|id| node(*id))?;
    import
        .domains
        .iter()
        .try_for_each(|(name, row)| domains::check_row(name, row))?;
    import
        .sts
        .iter()
        .try_for_each(|(domain, row)| sts::check_row(domain, row))?;
    import.token_keys.iter().try_for_each(token_keys::check)?;
    import
        .suppressions
        .iter()
        .try_for_each(|(key, row)| suppressions::check_row(key, row))?;
    import
        .warmups
        .iter()
        .try_for_each(|(target, _)| proposal::name("provider", &target.provider))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::{Made, Put};

    fn changed(key: &str) -> [Command; 3] {
        let put = Put {
            key: key.to_owned(),
            text: String::new(),
            source: None,
        };
        let import = Import {
            policy: vec![(key.to_owned(), String::new())],
            ..Import::default()
        };
        [
            Command::ChangePolicy(Box::new(PolicyChange {
                base: None,
                put: vec![put],
                delete: Vec::new(),
                by: String::new(),
                made: Made::Applied,
            })),
            Command::SetPolicy {
                base: None,
                put: vec![(key.to_owned(), String::new())],
                delete: Vec::new(),
            },
            Command::Import(import),
        ]
    }

    #[test]
    fn a_resource_for_mail_of_strangers_is_put_when_all_know_its_kind() {
        for command in changed("inbound/hooks") {
            assert_eq!(command.feature(), Some(Feature::Inbound), "{command:?}");
        }
        let history = Some(Feature::PolicyHistory);
        let features = changed("tenant/inbound").map(|command| command.feature());
        assert_eq!(features, [history, None, None]);
        // What goes is known to all.
        let delete = Command::SetPolicy {
            base: None,
            put: Vec::new(),
            delete: vec!["inbound/hooks".to_owned()],
        };
        assert_eq!(delete.feature(), None);
    }
}

//! Source IPs: what policy says of them, and where they are.

use std::collections::BTreeMap;

use skein_model::meta::Placement;
use skein_model::preflight::Fault;
use skein_model::{SessionId, meta};
use skein_policy::{Ip, Policy};
use skein_wire::v1::{IpCheck, IpFault, SourceIp, SourceIpState};
use tonic::Status;

use super::AdminService;

impl AdminService {
    pub(super) fn read_policy(&self) -> Result<Policy, Status> {
        Policy::of_texts(&meta::policy(&self.meta)).map_err(|problems| {
            let first = problems.first().map(ToString::to_string);
            Status::failed_precondition(first.unwrap_or_default())
        })
    }

    pub(super) fn source_ips(&self) -> Result<Vec<SourceIp>, Status> {
        let policy = self.read_policy()?;
        let rows = self.meta.view();
        let (placements, sessions) = (meta::placements(&rows), meta::sessions(&rows));
        let checks = meta::ip_checks(&rows);
        let ips = policy.ips().map(|ip| {
            let placement = placements.get(&*ip.name);
            let by = placement.map(|placement| placement.session);
            let node = by.and_then(|session| sessions.get(&session));
            let is_at_egress_node = node.is_some_and(|row| !row.is_senders());
            let node = node.map(|row| row.sender.as_str());
            let mut shown = source_ip(&policy, ip, placement, node);
            shown.is_at_egress_node = is_at_egress_node;
            if let Some(check) = latest_check(&checks, ip, by) {
                shown.checked_at = check.at.0;
                shown.faults = check.faults.iter().map(fault).collect();
            }
            shown
        });
        Ok(ips.collect())
    }

    /// Those that no node has, and what is wrong with others, for the examination.
    pub(super) fn ip_facts(&self) -> (Vec<String>, Vec<(String, String)>) {
        let ips = self.source_ips().unwrap_or_default();
        let unplaced = ips
            .iter()
            .filter(|ip| ip.state() == SourceIpState::Unplaced);
        let unplaced = unplaced.map(|ip| ip.name.clone()).collect();
        let faults = ips.into_iter().flat_map(|ip| {
            let faults = ip.faults.into_iter();
            faults.map(move |fault| (ip.name.clone(), fault.text))
        });
        (unplaced, faults.collect())
    }
}

fn source_ip(
    policy: &Policy,
    ip: &Ip,
    placement: Option<&Placement>,
    node: Option<&str>,
) -> SourceIp {
    let placement = placement.filter(|placement| placement.session != SessionId::NONE);
    let state = match (ip.is_suspended, &ip.proxy, placement) {
        (true, _, _) => SourceIpState::Suspended,
        (_, Some(_), _) => SourceIpState::Active,
        (_, _, None) => SourceIpState::Unplaced,
        (_, _, Some(placement)) if placement.moving_to.is_some() => SourceIpState::Leaving,
        _ => SourceIpState::Active,
    };
    let node = match &ip.proxy {
        Some(_) => "proxy",
        None => node.unwrap_or_default(),
    };
    let pools = policy.pools().filter(|pool| {
        let mut members = pool.members.iter();
        members.any(|member| *member.ip.value == *ip.name)
    });
    SourceIp {
        name: ip.name.to_string(),
        bind: ip.bind.to_string(),
        public: ip.public.to_string(),
        ehlo: ip.ehlo.clone(),
        state: state.into(),
        node: node.to_owned(),
        epoch: placement.map_or(0, |placement| placement.epoch.0),
        home: ip.home.clone().unwrap_or_default(),
        pools: pools.map(|pool| pool.name.to_string()).collect(),
        checked_at: 0,
        faults: Vec::new(),
        is_behind_proxy: ip.proxy.is_some(),
        is_at_egress_node: false,
    }
}

/// By the session that has an IP; the latest of any for one behind a proxy.
fn latest_check<'a>(
    checks: &'a BTreeMap<SessionId, BTreeMap<String, meta::IpCheck>>,
    ip: &Ip,
    by: Option<SessionId>,
) -> Option<&'a meta::IpCheck> {
    let told = checks
        .iter()
        .filter(|(session, _)| ip.proxy.is_some() || Some(**session) == by);
    let told = told.filter_map(|(_, checks)| checks.get(&*ip.name));
    told.max_by_key(|check| check.at)
}

fn fault(fault: &Fault) -> IpFault {
    IpFault {
        check: IpCheck::from(fault.check).into(),
        text: fault.text.clone(),
    }
}

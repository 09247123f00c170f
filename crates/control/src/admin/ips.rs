//! Source IPs: what policy says of them, and where they are.

use skein_model::meta::Placement;
use skein_model::{SessionId, meta};
use skein_policy::{Ip, Policy};
use skein_wire::v1::SourceIp;
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
        let placements = meta::placements(&self.meta);
        let ips = policy
            .ips()
            .map(|ip| self.source_ip(&policy, ip, placements.get(&*ip.name)));
        Ok(ips.collect())
    }

    fn source_ip(&self, policy: &Policy, ip: &Ip, placement: Option<&Placement>) -> SourceIp {
        let placement = placement.filter(|placement| placement.session != SessionId::NONE);
        let node = placement.and_then(|placement| meta::session(&self.meta, placement.session));
        let state = match (ip.is_suspended, &ip.proxy, placement) {
            (true, _, _) => "suspended",
            (_, Some(_), _) => "active",
            (_, _, None) => "unplaced",
            (_, _, Some(placement)) if placement.moving_to.is_some() => "leaving",
            _ => "active",
        };
        let node = match &ip.proxy {
            Some(_) => "proxy".to_owned(),
            None => node.map(|row| row.sender).unwrap_or_default(),
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
            state: state.to_owned(),
            node,
            epoch: placement.map_or(0, |placement| placement.epoch.0),
            home: ip.home.clone().unwrap_or_default(),
            pools: pools.map(|pool| pool.name.to_string()).collect(),
        }
    }

    /// Those that no node has, for the examination.
    pub(super) fn unplaced_ips(&self) -> Vec<String> {
        let ips = self.source_ips().unwrap_or_default().into_iter();
        let unplaced = ips.filter(|ip| ip.state == "unplaced");
        unplaced.map(|ip| ip.name).collect()
    }
}

//! Where source IPs are used: told by nodes, decided by the leader of the meta group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_model::meta::{self, Addresses, Command, Wanted};
use skein_model::preflight::Fault;
use skein_model::{SessionId, UnixMs, codec};
use skein_policy::Policy;
use skein_store::Reader;
use skein_wire::convert;
use skein_wire::internal::{IpCheck, IpFault, NodeAddresses, PlacedIp, Placements};
use tokio::sync::watch;
use tonic::Status;

use crate::policy;
use crate::raft::Group;

const LOOK: Duration = Duration::from_secs(1);
/// A change of the group's rows is looked at at once, and those that follow it together.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// An IP that no node has is spoken of this often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Reads what a sender says that its node has.
pub fn read_addresses(told: &NodeAddresses) -> Result<Addresses, Status> {
    let local = told.local.iter().map(|text| text.parse());
    let local: Result<BTreeSet<_>, _> = local.collect();
    let bad = |error| Status::invalid_argument(format!("addresses.local: {error}"));
    Ok(Addresses {
        local: local.map_err(bad)?,
        egress: (!told.egress.is_empty()).then(|| told.egress.clone()),
    })
}

/// Reads how a sender found its IPs.
pub fn read_checks(told: Vec<IpCheck>) -> Result<BTreeMap<String, meta::IpCheck>, Status> {
    let read = told.into_iter().map(|told| {
        let faults = told.faults.into_iter().map(read_fault);
        let check = meta::IpCheck {
            at: UnixMs(told.at_ms),
            faults: faults.collect::<Result<_, _>>()?,
        };
        Ok((told.ip, check))
    });
    read.collect()
}

fn read_fault(told: IpFault) -> Result<Fault, Status> {
    convert::ip_fault_told(told)
        .map_err(|error| Status::invalid_argument(format!("checks.faults.check: {error}")))
}

/// Where every IP is that some node has.
pub fn placements(reader: &Reader) -> Placements {
    let rows = reader.view();
    let version = meta::placements_version(&rows);
    let (live, has) = (meta::sessions(&rows), meta::addresses(&rows));
    let placed = meta::placements(&rows).into_iter();
    let ips = placed.filter_map(|(name, placement)| {
        let node = live.get(&placement.session)?;
        let egress = has
            .get(&placement.session)
            .and_then(|has| has.egress.clone());
        Some(PlacedIp {
            name,
            epoch: placement.epoch.0,
            session: placement.session.0,
            node: node.sender.clone(),
            egress: egress.unwrap_or_default(),
            is_leaving: placement.moving_to.is_some(),
        })
    });
    let ips = ips.collect();
    Placements { version, ips }
}

/// The IPs that policy has and that live on nodes: those behind a proxy are on every node.
fn wanted(policy: &Policy) -> Vec<Wanted> {
    let on_nodes = policy.ips().filter(|ip| ip.proxy.is_none());
    let wanted = on_nodes.map(|ip| Wanted {
        name: ip.name.to_string(),
        bind: ip.bind,
        home: ip.home.clone(),
    });
    wanted.collect()
}

/// Moves IPs to nodes that have them, while this node leads the meta group, and says which are on no node.
pub async fn look_after(group: Arc<Group>, reader: Reader, mut applied: watch::Receiver<()>) {
    let mut ips = Ips::default();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        // An error is the end of the group, and of this with it.
        let _ = tokio::time::timeout(LOOK, applied.changed()).await;
        if !group.is_leader() {
            continue;
        }
        let wanted = ips.wanted(&reader);
        let moves = meta::place(wanted, &reader.view());
        if !moves.is_empty() {
            tracing::info!(?moves, "source IPs move");
            let command = Command::MoveIps(moves);
            if let Err(error) = group.propose(codec::encode(&command)).await {
                tracing::warn!(%error, "source IPs do not move yet");
            }
        }
        ips.say_unplaced(&reader);
    }
}

/// What the leader remembers.
#[derive(Default)]
struct Ips {
    version: u64,
    wanted: Vec<Wanted>,
    /// When each IP was last said to be nowhere.
    said: BTreeMap<String, Instant>,
}

impl Ips {
    /// As policy has it now; as it had it before if it cannot be read.
    fn wanted(&mut self, reader: &Reader) -> &[Wanted] {
        let version = meta::policy_version(reader);
        if self.version != version {
            self.version = version;
            if let Some(policy) = policy::read(reader, "IPs stay as they are") {
                self.wanted = wanted(&policy);
            }
        }
        &self.wanted
    }

    fn say_unplaced(&mut self, reader: &Reader) {
        let placed = meta::placements(reader);
        let is_nowhere = |name: &str| {
            let placement = placed.get(name);
            placement.is_none_or(|placement| placement.session == SessionId::NONE)
        };
        self.said.retain(|name, _| is_nowhere(name));
        for ip in self.wanted.iter().filter(|ip| is_nowhere(&ip.name)) {
            let said = self.said.get(&ip.name);
            if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                self.said.insert(ip.name.clone(), Instant::now());
                tracing::warn!(ip = ip.name, bind = %ip.bind, home = ip.home, "no node has this source IP");
            }
        }
    }
}

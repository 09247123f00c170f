//! What tenants and sites have of the cluster.

use std::collections::BTreeMap;

use skein_model::meta::{self, Command, Spread};
use skein_model::spool::{HeldRow, each_held};
use skein_model::{Domain, Slot};
use skein_wire::v1::{SiteSpread, Tenant};
use tonic::Status;

use super::AdminService;
use crate::policy;

impl AdminService {
    pub(super) fn tenants(&self) -> Vec<Tenant> {
        let mut tenants: BTreeMap<String, Tenant> = BTreeMap::new();
        let named = |name: &str| Tenant {
            name: name.to_owned(),
            weight: 1,
            ..Tenant::default()
        };
        self.each_queue(|_, row| {
            let tenant = tenants.entry(row.tenant);
            let name = tenant.key().clone();
            let tenant = tenant.or_insert_with(|| named(&name));
            tenant.queues += 1;
            tenant.tasks += row.tasks;
        });
        for (name, held) in self.held() {
            let tenant = tenants.entry(name.clone());
            let tenant = tenant.or_insert_with(|| named(&name));
            (tenant.recipients, tenant.bytes) = (held.recipients, held.bytes);
        }
        for (name, weight) in policy::weights(&self.meta) {
            let tenant = tenants.entry(name.clone());
            tenant.or_insert_with(|| named(&name)).weight = weight;
        }
        tenants.into_values().collect()
    }

    fn held(&self) -> BTreeMap<String, HeldRow> {
        let mut all: BTreeMap<String, HeldRow> = BTreeMap::new();
        for spool in self.spools.values() {
            each_held(&spool.reader, |tenant, held| {
                let known = all.entry(tenant).or_default();
                *known = known.plus(held);
            });
        }
        all
    }

    pub(super) async fn set_weight(&self, tenant: String, weight: u32) -> Result<(), Status> {
        if let Some(given) = policy::weight_by_policy(&self.meta, &tenant) {
            return Err(Status::failed_precondition(format!(
                "weight: the policy gives tenant {tenant:?} {given}: change weight there, or leave it out and say it here"
            )));
        }
        self.change(&Command::SetWeight { tenant, weight }).await
    }

    pub(super) async fn spread(&self, site: &str, slot_count: u32) -> Result<(), Status> {
        let site = Domain::new(site).to_string();
        let slots = u16::try_from(slot_count).unwrap_or(u16::MAX);
        let is_policy = true;
        let spread = (slot_count > 0).then_some(Spread { slots, is_policy });
        self.change(&Command::SetSpread { site, spread }).await
    }

    async fn change(&self, command: &Command) -> Result<(), Status> {
        match self.forward.commit_meta(command).await? {
            meta::Response::Refused(refusal) => Err(Status::invalid_argument(refusal.to_string())),
            _ => Ok(()),
        }
    }

    pub(super) fn spreads(&self) -> Vec<SiteSpread> {
        let spreads = meta::spreads(&self.meta).into_iter();
        spreads
            .map(|(site, spread)| SiteSpread {
                slots: (0..spread.slots)
                    .map(|nth| Slot::of(&site, nth).0.into())
                    .collect(),
                site,
                slot_count: spread.slots.into(),
                by_policy: spread.is_policy,
            })
            .collect()
    }
}

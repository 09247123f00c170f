//! The plans of warm-ups, as policy has them.

use std::sync::Arc;
use std::time::Duration;

use skein_model::meta::Command;
use skein_model::warmup::{self, Order, Target};
use skein_model::{codec, meta};
use skein_policy::Policy;
use skein_store::Reader;

use super::InForce;
use crate::raft::Group;

/// Whoever waits for a policy to be in force waits for its plans.
const LOOK: Duration = Duration::from_millis(200);

/// The warm-ups that policy has, with their plans.
fn planned(policy: &Policy) -> impl Iterator<Item = (Target, warmup::Plan)> + '_ {
    policy.ips().flat_map(move |ip| {
        let warmup = policy.warmup_of(&ip.name);
        let providers = warmup.map(|warmup| (warmup, warmup.providers()));
        let address = ip.public.to_canonical();
        providers.into_iter().flat_map(move |(warmup, providers)| {
            let targets = providers.into_iter();
            targets.map(move |provider| {
                let plan = warmup.plan(&provider);
                let ip = address;
                (Target { ip, provider }, plan)
            })
        })
    })
}

/// Lets warm-ups go on under the plans that policy has now, while this node leads the meta group.
pub async fn keep_plans(group: Arc<Group>, reader: Reader, in_force: InForce) {
    let mut known = None;
    loop {
        in_force.plans(known);
        tokio::time::sleep(LOOK).await;
        if !group.is_leader() {
            known = None;
            continue;
        }
        let version = meta::policy_version(&reader);
        if known == Some(version) {
            continue;
        }
        let Ok(policy) = Policy::of_texts(&meta::policy(&reader)) else {
            // `keep_rules` says so.
            known = Some(version);
            continue;
        };
        let rows = warmup::rows(&reader);
        let others = planned(&policy)
            .filter(|(target, plan)| rows.get(target).is_some_and(|row| row.plan != *plan));
        let orders: Vec<warmup::Command> = others
            .map(|(target, plan)| warmup::Command::Replan {
                target,
                plan,
                order: Order {
                    who: "policy".to_owned(),
                    why: format!("version {version}"),
                },
            })
            .collect();
        if orders.is_empty() {
            known = Some(version);
            continue;
        }
        match group.propose(codec::encode(&Command::Warmup(orders))).await {
            Ok(_) => known = Some(version),
            Err(error) => tracing::warn!(%error, "warm-ups go on under the plans before"),
        }
    }
}

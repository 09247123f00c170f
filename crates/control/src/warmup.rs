//! Warm-ups: budgets for senders, and plans as policy has them.

use std::sync::Arc;
use std::time::Duration;

use skein_model::meta::{Command, Refusal, Response};
use skein_model::warmup::{self, ASKS_MAX, Ask, Order, Target};
use skein_model::{SessionId, codec, meta};
use skein_policy::Policy;
use skein_store::Reader;
use skein_wire::internal::{GrantWarmupReply, GrantWarmupRequest};
use tonic::Status;

use crate::clock;
use crate::raft::Group;
use crate::sessions::SessionsService;

/// A hand is at most this part of a day's budget, so that several senders share it, and that little is lost with one...
const HANDS: u64 = 16;
/// ...but it is worth a round trip.
const HAND_MIN: u64 = 4;
const LOOK: Duration = Duration::from_secs(1);

pub async fn grant(
    service: &SessionsService,
    request: GrantWarmupRequest,
) -> Result<GrantWarmupReply, Status> {
    if request.asks.len() > ASKS_MAX {
        return Err(Status::invalid_argument(format!(
            "asks: has {} entries: {ASKS_MAX} at most",
            request.asks.len()
        )));
    }
    let asks = request.asks.iter().map(|one| codec::decode::<Ask>(one));
    let asks: Result<Vec<Ask>, _> = asks.collect();
    let mut asks = asks.map_err(|error| Status::invalid_argument(format!("asks: {error}")))?;
    for ask in &mut asks {
        let row = warmup::row(&service.reader, &ask.target);
        if let Some(budget) = row.and_then(|row| warmup::status(&row, clock::now()).budget) {
            ask.want = ask.want.min((budget / HANDS).max(HAND_MIN));
        }
    }
    let command = Command::GrantWarmup {
        session: SessionId(request.session),
        batch: request.batch,
        asks,
    };
    match service.propose(command).await? {
        Response::Granted(granted) => Ok(GrantWarmupReply {
            granted: granted
                .iter()
                .map(|one| codec::encode(one).into())
                .collect(),
            now_ms: clock::now().0,
        }),
        Response::Refused(refusal @ Refusal::NoSession) => {
            Err(Status::failed_precondition(format!("session: {refusal}")))
        }
        other => Err(Status::internal(format!("{other:?}"))),
    }
}

/// The warm-ups that policy has, with their plans.
pub fn planned(policy: &Policy) -> impl Iterator<Item = (Target, warmup::Plan)> + '_ {
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
pub async fn keep_plans(group: Arc<Group>, reader: Reader) {
    let mut known = None;
    loop {
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
            // Whoever keeps the rules says so.
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

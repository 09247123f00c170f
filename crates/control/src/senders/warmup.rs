//! Budgets of warm-ups for senders.

use skein_model::meta::{Command, Refusal, Response};
use skein_model::warmup::{self, ASKS_MAX, Ask};
use skein_model::{SessionId, codec};
use skein_store::Reader;
use skein_wire::internal::{GrantWarmupReply, GrantWarmupRequest};
use tonic::Status;

use crate::clock;
use crate::raft::Group;
use crate::raft::propose;

/// A hand is at most this part of a day's budget, so that several senders share it, and that little is lost with one...
const HANDS: u64 = 16;
/// ...but it is worth a round trip.
const HAND_MIN: u64 = 4;

pub async fn grant(
    meta: &Group,
    reader: &Reader,
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
        let row = warmup::row(reader, &ask.target);
        if let Some(budget) = row.and_then(|row| warmup::status(&row, clock::now()).budget) {
            ask.want = ask.want.min((budget / HANDS).max(HAND_MIN));
        }
    }
    let command = Command::GrantWarmup {
        session: SessionId(request.session),
        batch: request.batch,
        asks,
    };
    match propose(meta, command).await? {
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

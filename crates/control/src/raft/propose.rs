//! Commands of the meta group that its leader proposes by itself.

use skein_model::codec;
use skein_model::meta::{self, Command};
use tonic::Status;

use super::Group;
use super::proposer::ProposeError;

/// Commits a command of the meta group, if this node leads it.
pub async fn propose(meta: &Group, command: Command) -> Result<meta::Response, Status> {
    let reply = meta.propose(codec::encode(&command)).await;
    let reply = reply.map_err(|error| match error {
        ProposeError::Invalid(_) => error.status(),
        _ => Status::unavailable(error.to_string()),
    })?;
    codec::decode(&reply).map_err(|error| Status::internal(error.to_string()))
}

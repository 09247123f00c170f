//! A node that nobody invited is let in by the leader of the meta group.

use skein_model::meta::{self, Join};
use skein_model::{GroupId, codec};

use super::members::{Members, Pristine};
use crate::access;

impl Members {
    /// Invites a node that asks to be let in by itself, on the leader of the meta group. Its [`Join`] is then as any other's; a
    /// node that dies in between finds the invitation when it comes again.
    ///
    /// # Errors
    /// Why it is not let in, or not yet: it asks again.
    pub async fn admit(&self, join: &Join, pristine: Pristine) -> Result<(), String> {
        if !self.config.joins_uninvited {
            return Err(format!(
                "nobody expects a node at {}: `skeinctl cluster add {}`, or cluster.join = \"auto\" on all control nodes",
                join.address, join.address
            ));
        }
        if !access::is_certified_control() {
            return Err(
                "cluster.join = \"auto\" lets in who shows a certificate with the role of a control node, \
                 skein://role/control; this one did not"
                    .to_owned(),
            );
        }
        // Whoever asks meanwhile sees this one catching up.
        let _one = self.admission.lock().await;
        if !meta::is_stranger(&self.meta, join) {
            return Ok(());
        }
        let mut facts = self.survey().await;
        facts.invited = meta::invited(&self.meta);
        let may_join = facts.admission().may_join(pristine.0);
        may_join.map_err(|why| why.to_string())?;
        let group = &self.forward.groups[&GroupId::META];
        // Those whom an earlier leader let in are among the members that were looked at.
        if !group.leads_with_all_applied() {
            return Err("the leader of the meta group is new".to_owned());
        }
        tracing::info!(address = join.address, node = %join.node, "a control node is let in");
        let invite = meta::Command::Invite(join.address.clone());
        let reply = group.propose(codec::encode(&invite)).await;
        let reply = reply.map_err(|error| error.to_string())?;
        match codec::decode(&reply) {
            Ok(meta::Response::Refused(refusal)) => Err(refusal.to_string()),
            Ok(_) => self.join_admitted(join).await,
            Err(error) => Err(error.to_string()),
        }
    }

    /// Within the time that others wait: the next one to ask counts this one among the members.
    async fn join_admitted(&self, join: &Join) -> Result<(), String> {
        let command = codec::encode(&meta::Command::Join(join.clone()));
        let joined = self.forward.groups[&GroupId::META].propose(command).await;
        joined.map(drop).map_err(|error| error.to_string())
    }
}

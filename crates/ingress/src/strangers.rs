//! Recipients of strangers: those that the cluster hosts, and nobody else.

use std::sync::Arc;

use skein_policy::{Destination, Hosted, Inbound};
use skein_smtp::address::Address;
use skein_smtp::reply::Reply;

use crate::hosted::admit;
use crate::intake::Intake;

impl Intake<'_> {
    /// Where the policy sends mail to an address; none: it is none of the cluster's.
    pub fn destination_of(&self, address: &Address) -> Option<Arc<Destination>> {
        self.look_up(address)?.1
    }

    /// The resource that hosts the domain of an address, and the destination of the address, if it has one.
    fn look_up(&self, address: &Address) -> Option<(Arc<Inbound>, Option<Arc<Destination>>)> {
        let policy = self.shared.policy();
        match policy.hosted(&address.routing_domain(), &address.unquoted_local_part()) {
            Hosted::Elsewhere => None,
            Hosted::Unknown(inbound) => Some((Arc::clone(inbound), None)),
            Hosted::Known(inbound, destination) => {
                Some((Arc::clone(inbound), Some(Arc::clone(destination))))
            }
        }
    }

    /// The resource and destination of a stranger's recipient: only addresses that the cluster hosts.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn admit_stranger(
        &self,
        address: &Address,
    ) -> Result<(Arc<Inbound>, Arc<Destination>), Reply> {
        let Some((inbound, destination)) = self.look_up(address) else {
            return Err(self.refuse_relaying().await);
        };
        let Some(destination) = destination else {
            self.shared.metrics.unknown_recipients.inc();
            let text = format!("Nobody has the address {address} here");
            return Err(Reply::new(550, (5, 1, 1), text));
        };
        let taken = self.addressees().len();
        admit(self.inbound(), &inbound, taken, &self.mail)?;
        Ok((inbound, destination))
    }
}

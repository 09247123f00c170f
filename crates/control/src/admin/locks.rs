//! Who is locked out of logging in, and an operator's word that it is not.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use skein_model::GroupId;
use skein_wire::internal::{LocksReply, LocksRequest};
use skein_wire::v1::{ListLocksRequest, ListLocksResponse, Lock, UnlockResponse};
use tonic::Status;

use super::{AdminService, page};

const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// A user has 255 bytes at most, a network fewer.
const NAME_BYTES_MAX: usize = 255;

impl AdminService {
    pub(super) async fn list_lockouts(
        &self,
        request: ListLocksRequest,
    ) -> Result<ListLocksResponse, Status> {
        let LocksReply { locks, all, .. } = self.locks(String::new()).await?;
        let locks = locks.into_iter().take(page(request.limit, 100));
        let locks = locks.map(|one| Lock {
            client: one.client,
            user: one.user,
            failures: one.failures,
            locked_for_ms: one.locked_for_ms,
        });
        Ok(ListLocksResponse {
            locks: locks.collect(),
            all,
        })
    }

    pub(super) async fn unlock_name(&self, name: &str) -> Result<UnlockResponse, Status> {
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(Status::invalid_argument(
                "name: must be a user, an address such as 192.0.2.7, or a network as skeinctl credential locks shows it",
            ));
        }
        let reply = self.locks(client_network(name)).await?;
        if reply.unlocked == 0 {
            return Err(Status::not_found(format!(
                "name: nothing counts against {name:?}: skeinctl credential locks shows whom something does"
            )));
        }
        Ok(UnlockResponse {
            unlocked: reply.unlocked,
        })
    }

    /// Only the leader of the meta group knows.
    async fn locks(&self, unlock: String) -> Result<LocksReply, Status> {
        if self.forward.groups[&GroupId::META].is_leader() {
            return Ok(self.sessions.locks(&unlock));
        }
        let mut leader = self.meta_leader()?;
        let asked = leader.locks(LocksRequest { unlock });
        match tokio::time::timeout(ANSWERS_WITHIN, asked).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::unavailable(
                "the leader of the meta group does not answer",
            )),
        }
    }
}

/// The network that an address counts as; other names as they are.
fn client_network(name: &str) -> String {
    match name.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => format!("{address}/32"),
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_its_client() {
        for (name, expected) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
            ("ann@here.test", "ann@here.test"),
        ] {
            assert_eq!(client_network(name), expected);
        }
    }
}

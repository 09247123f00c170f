//! Which source IPs this node has: told to the leader, who says where each is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use skein_client::KeptSession;
use skein_policy::Policy;
use tokio::sync::watch;

use crate::sources::is_present;

/// Addresses come and go with interfaces; a look binds a socket to each and costs some microseconds.
const LOOK: Duration = Duration::from_secs(2);

/// Looks as long as the session is kept. `egress` is where this node connects out for others.
pub async fn tell(
    mut policy: watch::Receiver<Arc<Policy>>,
    session: Arc<KeptSession>,
    egress: Option<String>,
) {
    loop {
        let wanted = bound(&policy.borrow_and_update());
        let present: BTreeSet<IpAddr> = wanted.into_iter().filter(|ip| is_present(*ip)).collect();
        session.set_addresses(&present, egress.as_deref());
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            changed = policy.changed() => if changed.is_err() { return },
        }
    }
}

/// Addresses that policy has on nodes.
fn bound(policy: &Policy) -> BTreeSet<IpAddr> {
    let on_nodes = policy.ips().filter(|ip| ip.proxy.is_none());
    on_nodes.map(|ip| ip.bind).collect()
}

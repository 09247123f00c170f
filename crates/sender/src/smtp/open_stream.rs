//! A stream to a host, from the source that a hop names.

use std::net::{IpAddr, SocketAddr};

use skein_egress::dial;
use skein_egress::via::{RouteFault, ViaError};
use skein_policy::Ip;

use crate::host::Host;
use crate::smtp::connect::{Hop, SourceAddress};
use crate::smtp::no_session::{Cause, NO_ANSWER, NoSession};
use crate::source_ip::outbound_stream::OutboundStream;
use crate::source_ip::router::Opened;

pub async fn open_stream(hop: &Hop<'_>, host: &Host) -> Result<Opened, NoSession> {
    let address = SocketAddr::new(host.address, host.port);
    let limit = hop.timeouts.connect;
    match hop.from {
        SourceAddress::Node(source) => {
            let source = source.filter(|source| can_reach(*source, host.address));
            let stream = dial(source, address, limit).await.map_err(|error| {
                let text = format!("connecting to {host}: {error}");
                NoSession::ours(Cause::Host, NO_ANSWER, text)
            })?;
            let source = stream.local_addr().map(|address| address.ip().to_string());
            Ok(Opened {
                wire: OutboundStream::Own(stream),
                source: source.ok(),
                revocation: None,
                hides_failures: false,
            })
        }
        SourceAddress::Pool(ip, router) => {
            let opened = router.open(ip, address, limit).await;
            opened.map_err(|error| no_way(ip, host, &error))
        }
    }
}

/// Whether a source is of the family of a target. From one that is not, nothing is reached: the system chooses another.
fn can_reach(source: IpAddr, target: IpAddr) -> bool {
    source.is_ipv4() == target.is_ipv4()
}

/// Only what is said of the host counts against it. What a proxy does not explain is no reason to leave the IP alone.
fn no_way(ip: &Ip, host: &Host, error: &ViaError) -> NoSession {
    let ViaError::Route { fault, .. } = error else {
        let text = format!("connecting to {host} from ip {}: {error}", ip.name);
        return NoSession::ours(Cause::Host, NO_ANSWER, text);
    };
    let cause = match fault {
        RouteFault::Stale
        | RouteFault::Ahead
        | RouteFault::NotHeld
        | RouteFault::Cap
        | RouteFault::Full => Cause::SourceBusy,
        _ => Cause::Source,
    };
    let text = format!("ip {} cannot be used: {error}", ip.name);
    NoSession::ours(cause, (4, 4, 0), text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_source_reaches_its_own_family() {
        for (source, target, expected) in [
            ("192.0.2.1", "192.0.2.9", true),
            ("192.0.2.1", "2001:db8::9", false),
            ("2001:db8::1", "2001:db8::9", true),
            ("2001:db8::1", "192.0.2.9", false),
        ] {
            let reached = can_reach(source.parse().unwrap(), target.parse().unwrap());
            assert_eq!(reached, expected, "{source} to {target}");
        }
    }
}

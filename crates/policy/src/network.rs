//! Networks whose hosts need no login: which are one's own.

use ipnet::IpNet;

/// A range of public addresses this wide is no network of one's own: all hosts in it may relay.
const OPEN_PREFIX_V4: u8 = 8;
const OPEN_PREFIX_V6: u8 = 20;
/// One that is wider than this is more than a company has, most likely.
const WIDE_PREFIX_V4: u8 = 16;
const WIDE_PREFIX_V6: u8 = 32;
/// Networks that no stranger can have an address of (RFC 1918, 4193, 6598, and those of the machine and the link).
const OWN: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];

/// Whether strangers may have an address of it.
fn is_public(net: &IpNet) -> bool {
    let mut own = OWN.iter().filter_map(|own| own.parse::<IpNet>().ok());
    !own.any(|own| own.contains(net))
}

/// Whether all that is in it can be no network of one's own: who trusts it runs an open relay.
pub fn is_open(net: &IpNet) -> bool {
    let prefix = match net {
        IpNet::V4(_) => OPEN_PREFIX_V4,
        IpNet::V6(_) => OPEN_PREFIX_V6,
    };
    is_public(net) && net.prefix_len() < prefix
}

/// Whether it is wider than what a company has, most likely.
pub fn is_wide(net: &IpNet) -> bool {
    let prefix = match net {
        IpNet::V4(_) => WIDE_PREFIX_V4,
        IpNet::V6(_) => WIDE_PREFIX_V6,
    };
    is_public(net) && net.prefix_len() < prefix
}

//! Ways out as `skein_egress` knows them. Pure.

use std::net::SocketAddr;

use skein_egress::via::{self, EgressRoute, RouteFault, ViaError};
use skein_policy::{Ip, Proxy};

/// Faults that are over when a connection ends, or a heartbeat is answered.
pub fn is_busy(error: &ViaError) -> bool {
    matches!(
        error,
        ViaError::Route {
            fault: RouteFault::Cap | RouteFault::Full | RouteFault::Ahead,
            ..
        }
    )
}

pub fn moved(ip: &Ip) -> ViaError {
    let text = format!("ip {} is at no node, or moves to another one", ip.name);
    ViaError::route(RouteFault::Stale, text)
}

pub fn proxy_route(ip: &Ip, proxy: &Proxy) -> EgressRoute {
    match proxy {
        Proxy::Socks5 { server, login } => EgressRoute::Socks5 {
            proxy: server.clone(),
            login: login.as_ref().map(|login| via::Login {
                user: login.user.clone(),
                password: login.password.clone(),
            }),
        },
        Proxy::Haproxy { server } => EgressRoute::HaProxy {
            proxy: server.clone(),
            source: SocketAddr::new(ip.bind, 0),
        },
    }
}

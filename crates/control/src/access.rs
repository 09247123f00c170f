//! Which calls are whose: the one place that decides, for every service of a control node and every call of it.

mod audit;
mod refused;
mod tokens;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) use audit::{Audit, bounded};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
pub(crate) use refused::Refusals;
use skein_client::access::{Caller, Denied, Peer, Role};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{Request, Response};
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service};

pub(crate) use tokens::Tokens;

use crate::clock::now;

/// The services of a port, each call of which is looked at first.
pub type Router = tonic::transport::server::Router<Stack<Access, Identity>>;

const NODES: &[Role] = &[Role::Control, Role::Sender];
const NODES_AND_EGRESS: &[Role] = &[Role::Control, Role::Sender, Role::Egress];
const CONTROL: &[Role] = &[Role::Control];
const ADMINS: &[Role] = &[Role::Admin];
const OPERATORS: &[Role] = &[Role::Admin, Role::Operator];
const VIEWERS: &[Role] = &[Role::Admin, Role::Operator, Role::Viewer];
const TENANTS: &[Role] = &[Role::Admin, Role::Operator, Role::Viewer, Role::Tenant];

/// The roles that may make a call; none for one that is not known.
fn roles(service: &str, method: &str) -> Option<&'static [Role]> {
    match (service, method) {
        // Senders and egress nodes find the leaders by it.
        ("skein.internal.v1.Peer", "Hello") => Some(NODES_AND_EGRESS),
        ("skein.internal.v1.Peer", _) => Some(CONTROL),
        // A node that only lends its source IPs has a session of its own kind, and nothing to do with mail.
        (
            "skein.internal.v1.Sessions",
            "OpenEgress" | "Heartbeat" | "Watch" | "GetPolicy" | "TellWaits" | "TellIpChecks"
            | "Close",
        ) => Some(NODES_AND_EGRESS),
        // Control nodes fetch bodies from one another, and restore backups as senders hand mail in.
        ("skein.internal.v1.Sessions" | "skein.internal.v1.Spool", _) => Some(NODES),
        ("skein.v1.Admin", method) => Some(managers(method)),
        // It has every secret of the policy, and all mail.
        ("skein.internal.v1.Backup", _) => Some(ADMINS),
        _ => None,
    }
}

/// The roles that may make a call of the admin API: what is not named here is for those who may do everything.
fn managers(method: &str) -> &'static [Role] {
    match method {
        // Each of these looks at the tenant of the caller.
        "GetMessage" | "GetQueue" | "ListQueues" => TENANTS,
        "ListAudit" => OPERATORS,
        _ if only_reads(method) => VIEWERS,
        "Suspend" | "Resume" | "LiftAutomation" | "ChangeWarmups" | "DeleteMessage"
        | "FlushQueues" | "MoveQueues" | "DrainNode" | "MoveSlot" | "MoveLeader" | "SetTenant"
        | "SetFan" | "CheckDomain" | "RotateDomainKey" | "FlushTlsPolicy" | "SendTlsReports"
        | "Unlock" => OPERATORS,
        _ => ADMINS,
    }
}

/// What changes nothing.
fn only_reads(method: &str) -> bool {
    let reading = ["Get", "List", "Explain", "Examine"];
    reading.iter().any(|word| method.starts_with(word))
}

tokio::task_local! {
    static CALLER: Caller;
}

/// The name of who makes the call that this task answers: what changes are recorded under, whatever the request says.
pub fn caller() -> String {
    let named = CALLER.try_with(ToString::to_string);
    named.unwrap_or_else(|_| Caller::Own.to_string())
}

/// Whether the caller may have the session of an egress node, and none of a sender.
pub fn only_lends() -> bool {
    let only_lends = |caller: &Caller| caller.is_any(NODES).is_err();
    CALLER.try_with(only_lends).unwrap_or(false)
}

/// The only tenant whose mail the caller may see; none if it may see that of all.
pub fn only_tenant() -> Option<Arc<str>> {
    let tenant = CALLER.try_with(|caller| caller.only_tenant().cloned());
    tenant.unwrap_or_default()
}

/// Secrets are for those who may do everything.
///
/// # Errors
/// The caller may not.
pub fn check_admin(what: &str) -> Result<(), Status> {
    let checked = CALLER.try_with(|caller| caller.is_any(ADMINS));
    let denied = |denied: Denied| Status::permission_denied(format!("{what}: {denied}"));
    checked.unwrap_or(Ok(())).map_err(denied)
}

/// Where a call comes from; nothing within the process.
pub fn address<T>(request: &tonic::Request<T>) -> Option<SocketAddr> {
    request.extensions().get::<Peer>()?.address
}

/// Whether the caller has shown a certificate of a control node.
pub fn is_certified_control() -> bool {
    let has_shown = |caller: &Caller| caller.has_shown(Role::Control);
    CALLER.try_with(has_shown).unwrap_or(false)
}

/// A node speaks for the hosts of its own certificate only.
///
/// # Errors
/// The certificate of the caller does not name the host of `host:port`.
pub fn check_address(address: &str) -> Result<(), Status> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let checked = CALLER.try_with(|caller| caller.is_host(host));
    let denied = |denied: Denied| Status::permission_denied(format!("address: {denied}"));
    checked.unwrap_or(Ok(())).map_err(denied)
}

/// Puts [`roles`] before the services of a port.
#[derive(Clone, Default)]
pub struct Access {
    /// None: no tokens are taken here, and nothing is written down.
    managers: Option<Managers>,
}

impl Access {
    /// Of the port where people and tools manage the cluster.
    pub(crate) fn of_managers(tokens: Tokens, refusals: Refusals) -> Self {
        let managers = Some(Managers { tokens, refusals });
        Self { managers }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

/// What the port of the admin API has beside certificates.
#[derive(Clone)]
struct Managers {
    tokens: Tokens,
    refusals: Refusals,
}

impl<S> Layer<S> for Access {
    type Service = Checked<S>;

    fn layer(&self, services: S) -> Checked<S> {
        Checked(services, self.clone())
    }
}

#[derive(Debug, Clone)]
pub struct Checked<S>(S, Access);

impl<S> Service<Request<Body>> for Checked<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        // Every port of ours names the caller; a connection without one may do nothing.
        let peer = request.extensions().get::<Peer>();
        let connected = peer.map(|peer| peer.caller.clone());
        let managers = self.1.managers.as_ref();
        let shown = request.headers().get(AUTHORIZATION);
        let caller = match (shown, managers) {
            (Some(token), Some(managers)) => {
                let client = peer.and_then(|peer| peer.address).map(|at| at.ip());
                let token = token.to_str().unwrap_or_default();
                managers.tokens.caller(token, client, now()).map(Some)
            }
            _ => Ok(connected.clone()),
        };
        // Who has a good token and may not is that token's holder.
        let known = caller.as_ref().ok().cloned().flatten().or(connected);
        match caller.and_then(|caller| decide(path, caller.as_ref()).cloned()) {
            Ok(caller) => CALLER.scope(caller, self.0.call(request)).boxed(),
            Err(status) => {
                let who = known.map(|caller| caller.to_string()).unwrap_or_default();
                let why = status.message();
                tracing::warn!(call = path, who, why, "a call is refused");
                if let Some(managers) = managers {
                    let from = peer.and_then(|peer| peer.address);
                    managers.refusals.note(path, who, from, &status);
                }
                ready(Ok(status.into_http())).boxed()
            }
        }
    }
}

/// The caller, if it may make the call.
fn decide<'c>(path: &str, caller: Option<&'c Caller>) -> Result<&'c Caller, Status> {
    let named = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let allowed = named.and_then(|(service, method)| roles(service, method));
    let Some(allowed) = allowed else {
        return Err(Status::unimplemented(format!(
            "there is no call {path} here"
        )));
    };
    let Some(caller) = caller else {
        return Err(Status::unauthenticated("it is not known who calls"));
    };
    let denied = |denied: Denied| Status::permission_denied(denied.to_string());
    caller.is_any(allowed).map_err(denied)?;
    Ok(caller)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use tonic::Code;

    use super::*;

    /// Every call of the interface, as `package.Service` and method.
    fn calls() -> Vec<(String, String)> {
        let protos = [
            include_str!("../../../proto/skein/v1/admin.proto"),
            include_str!("../../../proto/skein/internal/v1/peer.proto"),
            include_str!("../../../proto/skein/internal/v1/sessions.proto"),
            include_str!("../../../proto/skein/internal/v1/spool.proto"),
            include_str!("../../../proto/skein/internal/v1/backup.proto"),
        ];
        let mut calls = Vec::new();
        for proto in protos {
            let (mut package, mut service) = (String::new(), String::new());
            for line in proto.lines() {
                let mut words = line
                    .split([' ', ';', '(', '{'])
                    .filter(|word| !word.is_empty());
                match (words.next(), words.next()) {
                    (Some("package"), Some(name)) => package = name.to_owned(),
                    (Some("service"), Some(name)) => service = format!("{package}.{name}"),
                    (Some("rpc"), Some(name)) => calls.push((service.clone(), name.to_owned())),
                    _ => {}
                }
            }
        }
        calls
    }

    #[test]
    fn every_call_belongs_to_somebody_and_nodes_do_not_manage() {
        let calls = calls();
        assert!(calls.len() >= 48, "{calls:?}");
        for (service, method) in calls {
            let allowed = roles(&service, &method).unwrap_or_else(|| panic!("{service}/{method}"));
            let is_operators = allowed.contains(&Role::Admin);
            let is_public = !service.contains(".internal.") || service.ends_with(".Backup");
            assert_eq!(is_operators, is_public, "{service}/{method}");
            let is_of_nodes = allowed.iter().any(|role| Role::OF_NODES.contains(role));
            assert_eq!(is_of_nodes, !is_public, "{service}/{method}");
            // Whoever may do less may do nothing that the others may not.
            let order = [Role::Admin, Role::Operator, Role::Viewer, Role::Tenant];
            let has: Vec<bool> = order.iter().map(|role| allowed.contains(role)).collect();
            assert!(
                has.is_sorted_by(|more, less| more >= less),
                "{service}/{method}"
            );
            let changes = is_public && !only_reads(&method);
            assert!(
                !(changes && allowed.contains(&Role::Viewer)),
                "{service}/{method}"
            );
            let is_senders = allowed.contains(&Role::Sender);
            let sends = service.ends_with(".Sessions") || service.ends_with(".Spool");
            assert_eq!(is_senders, sends || method == "Hello", "{service}/{method}");
            let is_egress = allowed.contains(&Role::Egress);
            let lends = [
                "Hello",
                "OpenEgress",
                "Heartbeat",
                "Watch",
                "GetPolicy",
                "TellWaits",
                "TellIpChecks",
                "Close",
            ];
            let lends = !service.ends_with(".Spool") && lends.contains(&method.as_str());
            assert_eq!(is_egress, lends, "{service}/{method}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let own = Some(&Caller::Own);
        for (path, caller, code) in [
            ("/skein.v1.Admin/Suspend", own, Code::Ok),
            ("/skein.v1.Admin/Suspend", None, Code::Unauthenticated),
            ("/skein.v1.Other/Suspend", own, Code::Unimplemented),
            ("skein.v1.Admin/Suspend", own, Code::Unimplemented),
            ("/skein.v1.Admin", own, Code::Unimplemented),
            ("/", own, Code::Unimplemented),
        ] {
            let decided = decide(path, caller).map_or_else(|status| status.code(), |_| Code::Ok);
            assert_eq!(decided, code, "{path}");
        }
    }
}

//! Which calls are whose: the one place that decides, for every service of a control node and every call of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use skein_client::access::{Caller, Denied, Peer, Role};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::{Code, Status};
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service};

/// The services of a port, each call of which is looked at first.
pub type Router = tonic::transport::server::Router<Stack<Access, Identity>>;

const NODES: &[Role] = &[Role::Control, Role::Sender];
const NODES_AND_EGRESS: &[Role] = &[Role::Control, Role::Sender, Role::Egress];
const CONTROL: &[Role] = &[Role::Control];
const OPERATORS: &[Role] = &[Role::Operator];

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
        ("skein.v1.Admin" | "skein.internal.v1.Backup", _) => Some(OPERATORS),
        _ => None,
    }
}

/// What an operator only looks at.
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
#[derive(Debug, Clone, Copy)]
pub struct Access;

impl<S> Layer<S> for Access {
    type Service = Checked<S>;

    fn layer(&self, services: S) -> Checked<S> {
        Checked(services)
    }
}

#[derive(Debug, Clone)]
pub struct Checked<S>(S);

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
        let path = request.uri().path().to_owned();
        // Every port of ours names the caller; a connection without one may do nothing.
        let peer = request.extensions().get::<Peer>();
        let caller = peer.map(|peer| peer.caller.clone());
        let (caller, is_noted) = match decide(&path, caller.as_ref()) {
            Ok((caller, is_noted)) => (caller.clone(), is_noted),
            Err(status) => {
                let who = caller.map(|caller| caller.to_string());
                let why = status.message();
                tracing::warn!(call = path, who, why, "a call is refused");
                return ready(Ok(status.into_http())).boxed();
            }
        };
        let answer = CALLER.scope(caller.clone(), self.0.call(request));
        match is_noted {
            false => answer.boxed(),
            true => async move {
                let Ok(response) = answer.await;
                // What was streamed has its result behind it.
                let result = Status::from_header_map(response.headers());
                let result = result.map_or(Code::Ok, |status| status.code());
                tracing::info!(who = %caller, call = path, ?result, "an operator's call");
                Ok(response)
            }
            .boxed(),
        }
    }
}

/// The caller, if it may make the call, and whether the call is noted down.
fn decide<'c>(path: &str, caller: Option<&'c Caller>) -> Result<(&'c Caller, bool), Status> {
    let named = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let allowed = named.and_then(|(service, method)| Some((roles(service, method)?, method)));
    let Some((allowed, method)) = allowed else {
        return Err(Status::unimplemented(format!(
            "there is no call {path} here"
        )));
    };
    let Some(caller) = caller else {
        return Err(Status::unauthenticated("it is not known who calls"));
    };
    let denied = |denied: Denied| Status::permission_denied(denied.to_string());
    caller.is_any(allowed).map_err(denied)?;
    Ok((caller, allowed == OPERATORS && !only_reads(method)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
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
            let is_operators = allowed.contains(&Role::Operator);
            let is_public = !service.contains(".internal.") || service.ends_with(".Backup");
            assert_eq!(is_operators, is_public, "{service}/{method}");
            assert_eq!(
                allowed.len() == 1,
                is_public || allowed == CONTROL,
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
        assert!(decide("/skein.v1.Admin/Suspend", own).unwrap().1);
        assert!(!decide("/skein.v1.Admin/ListNodes", own).unwrap().1);
        assert!(decide("/skein.internal.v1.Backup/Create", own).unwrap().1);
    }
}

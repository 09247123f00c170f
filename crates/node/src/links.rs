//! Between processes: gRPC, and connections out through source IPs; in plain text, or over mutual TLS.

use std::sync::Arc;

use futures::StreamExt;

use skein_client::Connect;
use skein_client::access::Role;
use skein_client::ports::{Guard, Limits, accept};
use skein_client::tls::{self, Tls};
use skein_control::Router;
use skein_egress::{Egress, Stream};
use skein_model::HostPort;
use skein_sender::ConnectTo;
use tokio::net::TcpListener;

/// Makes channels to other nodes. An address that is none, which an older version may have let into the cluster's state, has
/// a channel on which every call fails.
pub fn connect(tls: Option<Tls>) -> Connect {
    Arc::new(move |address| {
        let parsed = address
            .parse::<HostPort>()
            .map_err(|error| error.to_string());
        let channel = parsed.and_then(|address| {
            let channel = match &tls {
                Some(tls) => tls.channel(address.as_str()),
                None => skein_client::connect(format!("http://{address}")),
            };
            channel.map_err(|error| format!("{address} is no address: {error}"))
        });
        channel.unwrap_or_else(|reason| {
            tracing::error!(reason, "a node cannot be reached");
            skein_client::unreachable(reason)
        })
    })
}

/// Serves as long as the process runs.
pub fn serve(router: Router, listener: TcpListener, guard: Guard, limits: Limits) {
    skein_runtime::task("grpc-server", async move {
        let accepted = accept(listener, guard, limits);
        if let Err(error) = router.serve_with_incoming(accepted).await {
            tracing::error!(%error, "a gRPC server ended");
        }
    });
}

/// Connects to other nodes, to go out through their source IPs.
pub fn to_egress(tls: Option<Tls>) -> ConnectTo {
    Arc::new(move |address: String| {
        let tls = tls.clone();
        Box::pin(async move {
            let stream = tls::connect_tunnel(&address, tls.as_ref()).await?;
            Ok(Box::new(stream) as Stream)
        })
    })
}

/// Lets senders on other nodes connect out through the source IPs of this one, as long as the process runs.
pub fn serve_egress(egress: Egress, listener: TcpListener, guard: Guard, limits: Limits) {
    skein_runtime::task("egress-server", async move {
        let mut accepted = std::pin::pin!(accept(listener, guard, limits));
        while let Some(Ok(stream)) = accepted.next().await {
            let sender = stream.caller().is_any(&[Role::Sender]);
            let sender = sender.map_err(|denied| {
                let who = stream.caller();
                tracing::warn!(%who, why = %denied, "a connection out is refused");
                denied.to_string()
            });
            let egress = egress.clone();
            tokio::spawn(async move { egress.serve(stream, sender).await });
        }
    });
}

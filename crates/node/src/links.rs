//! Between processes: gRPC, and connections out through source IPs; in plain text, or over mutual TLS.

use std::sync::Arc;

use futures::StreamExt;

use skein_client::Connect;
use skein_client::access::Role;
use skein_client::ports::{Guard, Limits, accept};
use skein_client::tls::{self, Tls};
use skein_control::Router;
use skein_egress::{Egress, Stream};
use skein_sender::ConnectTo;
use tokio::net::TcpListener;

/// Makes channels to other nodes.
pub fn connect(tls: Option<Tls>) -> Connect {
    Arc::new(move |address| {
        let channel = match &tls {
            Some(tls) => tls.channel(address),
            None => skein_client::connect(format!("http://{address}")),
        };
        channel.expect("the configuration was checked to hold host:port")
    })
}

/// Serves as long as the process runs.
pub fn serve(router: Router, listener: TcpListener, guard: Guard, limits: Limits) {
    tokio::spawn(async move {
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
    tokio::spawn(async move {
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

//! Between processes: gRPC, and connections out through source IPs; in plain text, or over mutual TLS.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use skein_client::Connect;
use skein_client::tls::{self, Tls};
use skein_egress::{Egress, Stream};
use skein_model::HostPort;
use skein_sender::ConnectTo;
use tokio::net::TcpListener;
use tonic::transport::server::{Router, TcpIncoming};

const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// Makes channels to other nodes. An address that is none, which an older version may have let into the cluster's state, has
/// a channel on which every call fails.
pub fn connect(tls: Option<Tls>) -> Connect {
    Arc::new(move |address| {
        let parsed = address
            .parse::<HostPort>()
            .map_err(|error| error.to_string());
        let channel = parsed.and_then(|address| {
            let channel = match tls.clone() {
                Some(tls) => tls::connect(address.as_str(), move || tls.client()),
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
pub fn serve(router: Router, listener: TcpListener, tls: Option<Tls>) {
    skein_runtime::task("grpc-server", async move {
        let served = match tls {
            Some(tls) => router.serve_with_incoming(tls::accept(listener, tls)).await,
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming(incoming).await
            }
        };
        if let Err(error) = served {
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

/// Lets other nodes connect out through the source IPs of this one, as long as the process runs.
pub fn serve_egress(egress: Egress, listener: TcpListener, tls: Option<Tls>) {
    skein_runtime::task("egress-server", async move {
        let mut accepted = tls::accept_tunnels(listener, tls);
        while let Some(stream) = accepted.next().await {
            match stream {
                Ok(stream) => {
                    let egress = egress.clone();
                    tokio::spawn(async move { egress.serve(stream).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "a node's connection failed");
                    // Out of file descriptors, maybe: others end meanwhile.
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    });
}

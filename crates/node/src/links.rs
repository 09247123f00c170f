//! gRPC between processes: in plain text, or over mutual TLS.

use std::sync::Arc;

use skein_client::Connect;
use skein_client::tls::{self, Tls};
use tokio::net::TcpListener;
use tonic::transport::server::{Router, TcpIncoming};

/// Makes channels to other nodes.
pub fn connect(tls: Option<Tls>) -> Connect {
    Arc::new(move |address| {
        let channel = match tls.clone() {
            Some(tls) => tls::connect(address, move || tls.client()),
            None => skein_client::connect(format!("http://{address}")),
        };
        channel.expect("the configuration was checked to hold host:port")
    })
}

/// Serves as long as the process runs.
pub fn serve(router: Router, listener: TcpListener, tls: Option<Tls>) {
    tokio::spawn(async move {
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

//! What the side that listens shows and asks for.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;

use super::Protocol;
use super::certificates::{Certificates, TlsError, provider};

/// Asks for a certificate of the authorities. One that is shown must be good; the admin API takes clients without any.
pub(super) fn server_config(
    certificates: &Certificates,
    protocol: Protocol,
) -> Result<Arc<ServerConfig>, TlsError> {
    let clients =
        WebPkiClientVerifier::builder_with_provider(certificates.roots.clone(), provider());
    let clients = match protocol {
        Protocol::Admin => clients.allow_unauthenticated(),
        Protocol::Grpc | Protocol::Tunnel => clients,
    };
    let clients = clients.build().map_err(|_| TlsError::NoCertificate)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificates.own.clone())));
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

//! Over TLS, as between nodes.

use std::io::ErrorKind;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use skein_egress::via::{self, EgressRoute};
use skein_egress::{Egress, Metrics, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stage::*;

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["node.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// An egress node at the other end of a TLS connection.
async fn connect_to(egress: &Egress) -> Stream {
    let (server, client) = configs();
    let (listener, address) = listen("127.0.0.1").await;
    let serving = egress.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
        serving.serve(stream, Ok(())).await;
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("node.test").unwrap();
    let stream = TlsConnector::from(client).connect(name, stream).await;
    Box::new(stream.unwrap())
}

#[tokio::test]
async fn over_tls_a_cut_is_told_from_an_end() {
    let egress = Egress::new(&near(), Metrics::default());
    let (listener, target) = listen("127.0.0.1").await;
    for is_cut in [false, true] {
        egress.set(placements(&[("two", placement("127.0.0.2", 1))]));
        let way = EgressRoute::Node {
            stream: connect_to(&egress).await,
            ip: "two".into(),
            epoch: 1,
        };
        let (mut stream, _) = via::connect(way, target, LIMIT).await.unwrap();
        let (mut inside, _) = listener.accept().await.unwrap();
        inside.write_all(b"220 ready\r\n").await.unwrap();
        assert_eq!(read(&mut stream, 11).await, b"220 ready\r\n");
        match is_cut {
            true => egress.set(placements(&[])),
            false => drop(inside),
        }
        let end = timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
        match is_cut {
            true => assert_eq!(end.unwrap_err().kind(), ErrorKind::UnexpectedEof),
            false => assert_eq!(end.unwrap(), 0),
        }
    }
}

#![expect(clippy::unwrap_used, reason = "tests")]
use std::time::Duration;

use futures::StreamExt;
use hyper_util::client::legacy::connect::HttpConnector;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use super::connect::handshake;
use super::*;
use crate::ports::{Guard, Limits, accept};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of `ca` for `host`, valid until the end of a year, and its key.
fn pems(ca: &Ca, host: &str, until: i32) -> (String, String) {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn certificates(trusted: &str, (certificate, private): &(String, String)) -> Certificates {
    let chain = own_chain(certificate.as_bytes()).unwrap();
    Certificates {
        roots: roots(trusted.as_bytes()).unwrap(),
        own: identity(chain, key(private.as_bytes()).unwrap()).unwrap(),
        revoked: Revoked::default(),
    }
}

fn tls(trusted: &str, ca: &Ca) -> Tls {
    Tls::new(
        &certificates(trusted, &pems(ca, "127.0.0.1", 4000)),
        RoleRule::Required,
    )
    .unwrap()
}

/// A server that says a word to whoever is accepted and then echoes.
async fn serve(tls: Tls) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let guard = Guard::Tls(tls, Protocol::Grpc);
    tokio::spawn(
        accept(listener, guard, Limits::default()).for_each_concurrent(None, |stream| async {
            let mut stream = stream.unwrap();
            stream.write_all(b"word").await.unwrap();
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }),
    );
    port
}

async fn knock(
    port: u16,
    host: &str,
    client: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let uri = format!("http://{host}:{port}").parse().unwrap();
    let connected = handshake(HttpConnector::new(), uri, client).await;
    let mut stream = connected.map_err(|error| error.to_string())?;
    stream.read_exact(&mut [0; 4]).await.unwrap();
    Ok(stream)
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn only_certificates_of_the_ca_are_accepted_and_the_reason_is_said() {
    let (ours, other) = (ca(), ca());
    let port = serve(tls(&ours.pem(), &ours)).await;
    let trusting_ours = roots(ours.pem().as_bytes()).unwrap();
    let expired = certificates(&ours.pem(), &pems(&ours, "127.0.0.1", 2001));
    for (host, client, expected) in [
        (
            "127.0.0.1",
            tls(&ours.pem(), &ours).client(Protocol::Grpc),
            None,
        ),
        (
            "127.0.0.1",
            client_config(trusting_ours, None).unwrap(),
            Some("demands a certificate"),
        ),
        (
            "127.0.0.1",
            tls(&ours.pem(), &other).client(Protocol::Grpc),
            Some("refuses our certificate"),
        ),
        (
            "127.0.0.1",
            Tls::new(&expired, RoleRule::Required)
                .unwrap()
                .client(Protocol::Grpc),
            Some("refuses our certificate"),
        ),
        (
            "127.0.0.1",
            tls(&other.pem(), &ours).client(Protocol::Grpc),
            Some("another CA"),
        ),
        (
            "localhost",
            tls(&ours.pem(), &ours).client(Protocol::Grpc),
            Some("not valid for name \"localhost\""),
        ),
    ] {
        match (knock(port, host, client).await, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (result, expected) => panic!("{host} gave {result:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_named_as_such() {
    let ours = ca();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 hello\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    let result = knock(
        port,
        "127.0.0.1",
        tls(&ours.pem(), &ours).client(Protocol::Grpc),
    )
    .await;
    let error = result.unwrap_err();
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn new_connections_take_new_certificates_and_open_ones_go_on() {
    let (old, new) = (ca(), ca());
    let bundle = old.pem() + &new.pem();
    let server = tls(&old.pem(), &old);
    let client = tls(&old.pem(), &old);
    let port = serve(server.clone()).await;
    let mut open = knock(port, "127.0.0.1", client.client(Protocol::Grpc))
        .await
        .unwrap();

    // A new key of the same CA.
    let renewed = certificates(&old.pem(), &pems(&old, "127.0.0.1", 4000));
    server.replace(&renewed).unwrap();
    let second = knock(port, "127.0.0.1", client.client(Protocol::Grpc))
        .await
        .unwrap();
    assert_ne!(shown(&open), shown(&second));
    assert_eq!(shown(&second), renewed.own.cert[0].as_ref());

    // Both sides trust both CAs before one shows a certificate of the new one.
    client
        .replace(&certificates(&bundle, &pems(&old, "127.0.0.1", 4000)))
        .unwrap();
    server
        .replace(&certificates(&bundle, &pems(&new, "127.0.0.1", 4000)))
        .unwrap();
    knock(port, "127.0.0.1", client.client(Protocol::Grpc))
        .await
        .unwrap();

    // The old one is gone.
    server
        .replace(&certificates(&new.pem(), &pems(&new, "127.0.0.1", 4000)))
        .unwrap();
    let refused = knock(port, "127.0.0.1", client.client(Protocol::Grpc))
        .await
        .unwrap_err();
    assert!(refused.contains("refuses our certificate"), "{refused}");

    open.write_all(b"still here").await.unwrap();
    let mut echo = [0; 10];
    open.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"still here");
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let ours = ca();
    let (certificate, private) = pems(&ours, "a.test", 4000);
    let (_, foreign) = pems(&ours, "a.test", 4000);
    let chain = || own_chain(certificate.as_bytes()).unwrap();
    assert!(matches!(roots(b""), Err(TlsError::NoCertificate)));
    assert!(matches!(
        own_chain(private.as_bytes()),
        Err(TlsError::NoCertificate)
    ));
    assert!(matches!(
        key(certificate.as_bytes()),
        Err(TlsError::NoKey(_))
    ));
    assert!(matches!(
        identity(chain(), key(foreign.as_bytes()).unwrap()),
        Err(TlsError::OtherKey)
    ));
    let torn = &certificate[..certificate.len() / 2];
    assert!(own_chain(torn.as_bytes()).is_err());
}

#[test]
fn a_node_knows_whether_others_would_accept_its_certificate() {
    let (ours, other) = (ca(), ca());
    let good = certificates(&ours.pem(), &pems(&ours, "a.test", 2100));
    let now = UnixTime::now();
    let later = UnixTime::since_unix_epoch(Duration::from_secs(5_000_000_000));
    let unlike = certificates(&other.pem(), &pems(&ours, "a.test", 2100));
    for (certificates, name, at, expected) in [
        (&good, None, now, ""),
        (&good, Some("a.test"), now, ""),
        (&good, Some("b.test"), now, "a.test"),
        (&good, Some("no host"), now, "not a host name"),
        (&good, None, later, "expired"),
        (&unlike, None, now, "no CA of the given file"),
    ] {
        let said = match certificates.check(name, at) {
            Ok(()) => String::new(),
            Err(TlsError::Refused(why)) => why.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{said:?} lacks {expected:?}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
    }
    let end = expires_at(&good.own.cert[0]).unwrap();
    assert_eq!(end.as_secs(), 4_133_894_400, "2100-12-31");
}

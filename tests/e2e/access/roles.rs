//! A certificate says what its holder is, at each port of a control node and a sender.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use skein_client::access::Holder;
use skein_client::{Channel, tls};
use skein_tests::fleet::{Fleet, Plan};
use skein_wire::internal::peer_client::PeerClient;
use skein_wire::internal::{HelloRequest, JoinReply, JoinRequest};
use skein_wire::v1::GetStatusRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, SignatureScheme};
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Files are looked at every 2 s, and count when two looks saw the same.
const REVOKED_WITHIN: Duration = Duration::from_secs(20);

/// Any call of the interface: its service and its name, which is all that is asked about.
pub fn calls() -> Vec<(String, String)> {
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

const VIEWERS: &[&str] = &["admin", "operator", "viewer"];
const OPERATORS: &[&str] = &["admin", "operator"];

fn only_looks(method: &str) -> bool {
    let looking = ["Get", "List", "Explain", "Examine"];
    looking.iter().any(|word| method.starts_with(word))
}

/// Who may make a call, as the interface is meant.
fn owners(service: &str, method: &str) -> &'static [&'static str] {
    match (service, method) {
        ("skein.internal.v1.Peer", "Hello")
        | (
            "skein.internal.v1.Sessions",
            "OpenEgress" | "Heartbeat" | "Watch" | "GetPolicy" | "TellWaits" | "TellIpChecks"
            | "Close",
        ) => &["control", "sender", "egress"],
        ("skein.internal.v1.Peer", _) => &["control"],
        ("skein.internal.v1.Sessions" | "skein.internal.v1.Spool", _) => &["control", "sender"],
        ("skein.v1.Admin", "GetMessage" | "GetQueue" | "ListQueues") => VIEWERS,
        ("skein.v1.Admin", "ListAudit") => OPERATORS,
        ("skein.v1.Admin", method) if only_looks(method) => VIEWERS,
        (
            "skein.v1.Admin",
            "Suspend" | "Resume" | "LiftAutomation" | "ChangeWarmups" | "DeleteMessage"
            | "FlushQueues" | "MoveQueues" | "DrainNode" | "MoveSlot" | "MoveLeader" | "SetTenant"
            | "SetFan" | "CheckDomain" | "RotateDomainKey" | "FlushTlsPolicy" | "SendTlsReports"
            | "Unlock",
        ) => OPERATORS,
        _ => &["admin"],
    }
}

/// What changes nothing when it is asked with nothing.
fn is_harmless(service: &str, method: &str) -> bool {
    let reads = [
        "Hello",
        "GetStatus",
        "ListNodes",
        "GetPolicy",
        "GetForces",
        "GetWaits",
        "ReadBody",
        "ListQueues",
    ];
    service != "skein.internal.v1.Backup" && reads.contains(&method)
}

/// A control node and a sender with certificates, and certificates of everybody else.
struct Stage {
    fleet: Fleet,
    ca: PathBuf,
}

impl Stage {
    async fn new(tls_lines: &str) -> Self {
        let plan = Plan {
            has_certificates: true,
            tls: tls_lines.to_owned(),
            has_operators: true,
            ..Plan::default()
        };
        let fleet = Fleet::start(plan).await.unwrap();
        let ca = fleet.folder.path().join("ca");
        Self { fleet, ca }
    }

    /// A certificate of the same CA, for 127.0.0.1 and these URIs.
    fn issue(&self, name: &str, uris: &[&str]) -> (String, KeyPair) {
        let key = KeyPair::from_pem(&fs::read_to_string(self.ca.join("ca-key.pem")).unwrap());
        // As `skein dev-ca` names its CA.
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.distinguished_name = DistinguishedName::new();
        ca.distinguished_name
            .push(DnType::CommonName, "Skein development CA");
        let issuer = Issuer::new(ca, key.unwrap());
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let uris = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&own, &issuer).unwrap();
        (certificate.pem(), own)
    }

    fn client(&self, name: &str, uris: &[&str]) -> Arc<ClientConfig> {
        let (certificate, key) = self.issue(name, uris);
        let chain = tls::own_chain(certificate.as_bytes()).unwrap();
        let own = tls::identity(chain, tls::key(key.serialize_pem().as_bytes()).unwrap());
        let roots = tls::roots(&fs::read(self.ca.join("ca.pem")).unwrap()).unwrap();
        tls::client_config(roots, Some(own.unwrap())).unwrap()
    }

    fn channel(&self, address: SocketAddr, name: &str, uris: &[&str]) -> Channel {
        tls::connect(&address.to_string(), self.client(name, uris)).unwrap()
    }

    fn skeinctl(&self, who: &str, args: &[&str]) -> Output {
        let file = |name: String| self.ca.join(name);
        let server = format!("https://{}", self.fleet.control[0].admin);
        let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        command.args(["--server", &server]);
        command.arg("--ca").arg(file("ca.pem".into()));
        command.arg("--cert").arg(file(format!("{who}.pem")));
        command.arg("--key").arg(file(format!("{who}-key.pem")));
        command.args(args).output().unwrap()
    }
}

async fn call(channel: &Channel, service: &str, method: &str) -> Status {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = format!("/{service}/{method}").parse().unwrap();
    // An empty message is the same for every type.
    let codec = ProstCodec::<GetStatusRequest, GetStatusRequest>::default();
    let answered = client
        .unary(Request::new(GetStatusRequest {}), path, codec)
        .await;
    answered.map_or_else(|status| status, |_| Status::new(Code::Ok, ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_open_to_its_roles_and_to_nobody_else() {
    let stage = Stage::new("").await;
    let control = &stage.fleet.control[0];
    let holders: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("control", &["skein://role/control"][..]),
        ("sender", &["skein://role/sender"]),
        ("egress", &["skein://role/egress"]),
        ("admin", &["skein://role/admin"]),
        ("operator", &["skein://role/operator"]),
        ("viewer", &["skein://role/viewer"]),
        ("none", &[]),
        ("unknown", &["skein://role/admiral"]),
    ]);
    for (role, uris) in &holders {
        let nodes = stage.channel(control.address, role, uris);
        let people = stage.channel(control.admin, role, uris);
        for (service, method) in calls() {
            let is_public = owners(&service, &method).contains(&"admin");
            let channel = if is_public { &people } else { &nodes };
            let may = owners(&service, &method).contains(role);
            if may && !is_harmless(&service, &method) {
                continue;
            }
            let status = call(channel, &service, &method).await;
            let is_refused = status.code() == Code::PermissionDenied;
            assert_eq!(
                is_refused, !may,
                "{role} calls {service}/{method}: {status}"
            );
            if !may {
                let role_uri = owners(&service, &method)[0];
                assert!(
                    status
                        .message()
                        .contains(&format!("skein://role/{role_uri}")),
                    "{status}"
                );
            }
        }
    }
    assert!(stage.fleet.control[0].node.is_some());
    let output = stage.skeinctl("operator", &["status"]);
    assert!(output.status.success(), "{output:?}");
    let output = stage.skeinctl("node.test", &["status"]);
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_only_at_an_address_of_its_certificate() {
    let stage = Stage::new("").await;
    let control = &stage.fleet.control[0];
    let channel = stage.channel(control.address, "c9", &["skein://role/control"]);
    let mut peer = PeerClient::new(channel);
    peer.hello(HelloRequest::default()).await.unwrap();
    let mut join = async |address: &str| -> Result<JoinReply, Status> {
        let request = JoinRequest {
            node: 4711,
            address: address.to_owned(),
            version: "test".into(),
            spool_groups: 4,
            uninvited: true,
        };
        Ok(peer.join(request).await?.into_inner())
    };
    for address in [
        "10.0.0.1:7000",
        "localhost:7000",
        "127.0.0.2:7000",
        "[::1]:7000",
        "",
    ] {
        let status = join(address).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{address}: {status}");
    }
    // Its own host is its to name; whether it is wanted there is another question.
    let reply = join("127.0.0.1:1").await.unwrap();
    assert!(!reply.refused.is_empty(), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_without_roles_are_taken_where_the_configuration_says_so() {
    let stage = Stage::new("roles = \"any\"").await;
    let control = &stage.fleet.control[0];
    for (uris, code) in [
        (&[][..], Code::Ok),
        (&["skein://role/sender"], Code::PermissionDenied),
    ] {
        let channel = stage.channel(control.admin, "old", uris);
        let status = call(&channel, "skein.v1.Admin", "GetStatus").await;
        assert_eq!(status.code(), code, "{uris:?}: {status}");
    }
}

type Connection = TlsStream<TcpStream>;

/// A connection that has begun as one of HTTP/2.
async fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> Connection {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(config.clone());
    let mut stream = connector
        .connect(address.ip().into(), stream)
        .await
        .unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    stream
}

/// Answers pings until the other side ends the connection.
async fn until_it_ends(stream: &mut Connection) {
    const PING: u8 = 6;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        if (head[3], head[4]) == (PING, 0) {
            let answer = [&[0, 0, 8, PING, 1, 0, 0, 0, 0], &payload[..]].concat();
            // Whether it went out shows at the next read.
            let _ = stream.write_all(&answer).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_revoked_certificate_end_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("revoked");
    fs::write(&list, "# none yet\n").unwrap();
    let stage = Stage::new(&format!("revoked = {list:?}")).await;
    let control = &stage.fleet.control[0];
    let (lost, kept) = (
        stage.client("lost", &["skein://role/sender"]),
        stage.client("kept", &["skein://role/sender"]),
    );
    let mut lost_stream = open(&lost, control.address).await;
    let mut kept_stream = open(&kept, control.address).await;
    let shown = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let shown = lost.client_auth_cert_resolver.resolve(&[], &shown).unwrap();
    let serial = Holder::of(&shown.cert[0]).unwrap().serial;
    fs::write(&list, format!("{serial} # lost\n")).unwrap();

    let mut stays = std::pin::pin!(until_it_ends(&mut kept_stream));
    let ended = async {
        tokio::select! {
            () = until_it_ends(&mut lost_stream) => {}
            () = &mut stays => panic!("a connection ended whose certificate is good"),
        }
    };
    tokio::time::timeout(REVOKED_WITHIN, ended).await.unwrap();
    let channel = |config| tls::connect(&control.address.to_string(), config).unwrap();
    let mut peer = PeerClient::new(channel(lost));
    peer.hello(HelloRequest::default()).await.unwrap_err();
    let mut peer = PeerClient::new(channel(kept));
    peer.hello(HelloRequest::default()).await.unwrap();
}

//! The certificates that listeners show, and those that clients show to them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber};
use skein_testkit::process::{Node, free_port, http_get};
use skein_tests::{Bench, Extra, operator, until};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion, version,
};

/// Files are looked at every two seconds, and a change counts at the second look.
const FOLLOWED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Puts `NAME.pem` and `NAME-key.pem` for a client there.
    fn client(&self, folder: &Path, name: &str, hosts: &[&str], serial: u64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let hosts = hosts.iter().map(|host| (*host).to_owned());
        let mut params = CertificateParams::new(hosts.collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        write(folder, name, &certificate.pem(), &key)
    }
}

#[derive(Debug, Clone)]
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

fn write(folder: &Path, name: &str, pem: &str, key: &KeyPair) -> Identity {
    let files = Identity {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}-key.pem")),
    };
    fs::write(&files.certificate, pem).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// A server's certificate for these names, which nobody trusts.
fn server(folder: &Path, name: &str, hosts: &[&str]) -> Identity {
    let key = KeyPair::generate().unwrap();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    write(folder, name, &certificate.pem(), &key)
}

fn keys(files: &Identity) -> String {
    format!(
        "certificate = \"{}\"\nkey = \"{}\"\n",
        files.certificate.display(),
        files.key.display()
    )
}

/// A node with a listener for STARTTLS and one for submission with implicit TLS.
struct World {
    bench: Bench,
    submission: SocketAddr,
    folder: TempDir,
    _node: Node,
}

impl World {
    async fn new(tls: impl FnOnce(&Path) -> String) -> Self {
        let folder = TempDir::new().unwrap();
        let submission = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let sections = format!(
            "{}\n[[smtp.listener]]\naddress = \"{submission}\"\nkind = \"submission\"\ntls = \"implicit\"\n",
            tls(folder.path())
        );
        let extra = Extra {
            sections,
            relay_networks: Some("[]".to_owned()),
            ..Extra::default()
        };
        let bench = Bench::with(|_| Ok(extra)).await.unwrap();
        let node = bench.start().await.unwrap();
        Self {
            bench,
            submission,
            folder,
            _node: node,
        }
    }

    /// The common name of what openssl is shown that asks for this name.
    fn shown(&self, name: Option<&str>) -> String {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-starttls", "smtp", "-connect"])
            .arg(self.bench.smtp.to_string());
        match name {
            Some(name) => command.args(["-servername", name]),
            None => command.arg("-noservername"),
        };
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let subject = text.lines().find(|line| line.starts_with("subject="));
        let subject = subject.unwrap_or_else(|| panic!("no certificate for {name:?}: {text}"));
        subject.rsplit("CN = ").next().unwrap().to_owned()
    }

    async fn shows(&self, name: &str, expected: &str) {
        let look = || (self.shown(Some(name)) == expected).then_some(());
        let what = format!("{expected} for {name}");
        until(&what, FOLLOWED, LOOK, look).await.unwrap();
    }

    /// The reply to MAIL of a client of the submission listener that does not log in.
    async fn mail(&self, who: Option<&Identity>) -> String {
        let mut session = self.session(who, &[&version::TLS13, &version::TLS12]).await;
        session.command("MAIL FROM:<a@b.test>").await
    }

    async fn session(
        &self,
        who: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Session {
        let config = client_config(who, versions);
        let tcp = TcpStream::connect(self.submission).await.unwrap();
        let name = ServerName::try_from("mx.skein.test").unwrap();
        let stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let mut session = Session(BufReader::new(stream));
        session.reply().await;
        session.command("EHLO client.test").await;
        session
    }
}

struct Session(BufReader<TlsStream<TcpStream>>);

impl Session {
    async fn command(&mut self, line: &str) -> String {
        let line = format!("{line}\r\n");
        self.0.write_all(line.as_bytes()).await.unwrap();
        self.reply().await
    }

    async fn reply(&mut self) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            (&mut self.0).take(4096).read_line(&mut line).await.unwrap();
            all.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return all;
            }
        }
    }
}

#[derive(Debug)]
struct TrustsAll;

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn client_config(
    who: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAll));
    Arc::new(match who {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap();
            let chain = chain.map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_has_its_certificate_and_all_others_the_first() {
    let world = World::new(|folder| {
        let first = server(folder, "first", &["mx.skein.test"]);
        let own = server(folder, "own", &["mail.a.test", "*.b.test"]);
        let given = server(folder, "given", &["not.asked.test"]);
        format!(
            "[smtp.tls]\n{}[[smtp.tls.sni]]\n{}[[smtp.tls.sni]]\n{}names = [\"c.test\", \"*.c.test\"]\n",
            keys(&first),
            keys(&own),
            keys(&given)
        )
    })
    .await;
    for (name, expected) in [
        (None, "first"),
        (Some("mx.skein.test"), "first"),
        (Some("unknown.test"), "first"),
        (Some("mail.a.test"), "own"),
        (Some("MAIL.A.TEST"), "own"),
        (Some("any.b.test"), "own"),
        (Some("two.any.b.test"), "first"),
        (Some("b.test"), "first"),
        (Some("c.test"), "given"),
        (Some("x.c.test"), "given"),
        (Some("not.asked.test"), "first"),
    ] {
        assert_eq!(world.shown(name), expected, "{name:?}");
    }
    let old = Command::new("openssl")
        .args(["s_client", "-starttls", "smtp", "-tls1_1", "-connect"])
        .arg(world.bench.smtp.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!old.status.success(), "TLS 1.1 is too old");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_used_leaves_the_others_in_place_and_is_told() {
    // As a mounted Secret is: a link to a folder, which is replaced at once.
    let mounted = TempDir::new().unwrap();
    let version = |name: &str, hosts: &[&str]| {
        let folder = mounted.path().join(name);
        fs::create_dir(&folder).unwrap();
        let files = server(&folder, name, hosts);
        fs::rename(files.certificate, folder.join("tls.crt")).unwrap();
        fs::rename(files.key, folder.join("tls.key")).unwrap();
    };
    let switch = |name: &str| {
        let new = mounted.path().join("new");
        std::os::unix::fs::symlink(name, &new).unwrap();
        fs::rename(new, mounted.path().join("data")).unwrap();
    };
    version("one", &["one.test"]);
    version("two", &["two.test"]);
    version("three", &["one.test", "two.test"]);
    switch("one");
    let at = |name: &str| mounted.path().join("data").join(name);
    let linked = Identity {
        certificate: at("tls.crt"),
        key: at("tls.key"),
    };
    let world = World::new(|folder| {
        let first = server(folder, "first", &["mx.skein.test"]);
        let bad = server(folder, "bad", &["bad.test"]);
        format!(
            "[smtp.tls]\n{}[[smtp.tls.sni]]\n{}[[smtp.tls.sni]]\n{}",
            keys(&first),
            keys(&bad),
            keys(&linked)
        )
    })
    .await;
    assert_eq!(world.shown(Some("one.test")), "one");
    fs::write(world.folder.path().join("bad.pem"), "nothing of use").unwrap();
    switch("two");
    // Names are those of the new certificate.
    world.shows("two.test", "two").await;
    assert_eq!(world.shown(Some("one.test")), "first");
    assert_eq!(world.shown(Some("bad.test")), "bad");
    let doctor = || {
        let output = operator::try_skeinctl(world.bench.admin, &["doctor"]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("bad.pem").then_some(text)
    };
    let told = until("the doctor's word of the file", FOLLOWED, LOOK, doctor);
    let told = told.await.unwrap();
    assert!(told.contains("smtp.tls.sni.certificate"), "{told}");
    assert!(told.contains("the former one stays in use"), "{told}");
    let (_, metrics) = http_get(world.bench.http, "/metrics").await.unwrap();
    for name in ["first.pem", "bad.pem", "tls.crt"] {
        let has = |line: &str| {
            line.starts_with("skein_certificate_expires_timestamp_seconds{") && line.contains(name)
        };
        assert!(metrics.lines().any(has), "{name}: {metrics}");
    }
    // What is mended is taken over, and not told of any more.
    let mended = server(world.folder.path(), "bad", &["mended.test"]);
    assert!(mended.certificate.exists());
    switch("three");
    world.shows("mended.test", "bad").await;
    world.shows("one.test", "three").await;
    let quiet = || {
        let output = operator::try_skeinctl(world.bench.admin, &["doctor"]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (!text.contains("bad.pem")).then_some(())
    };
    let quiet = until("the doctor's silence", FOLLOWED, LOOK, quiet);
    quiet.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_certificate_that_policy_names_needs_no_login() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let world = World::new(|folder| {
        let first = server(folder, "first", &["mx.skein.test"]);
        let (ca, revoked) = (folder.join("clients.pem"), folder.join("revoked"));
        fs::write(&ca, &ours.1).unwrap();
        fs::write(&revoked, "# none\n").unwrap();
        format!(
            "[smtp.tls]\n{}client_ca = \"{}\"\nclient_revoked = \"{}\"\n",
            keys(&first),
            ca.display(),
            revoked.display()
        )
    })
    .await;
    let folder = world.folder.path();
    let app = ours.client(folder, "app", &["app.a.test"], 4097);
    let named = ours.client(folder, "Named App", &["other.a.test"], 4098);
    let unnamed = ours.client(folder, "unnamed", &["unnamed.a.test"], 4099);
    let stranger = others.client(folder, "stranger", &["app.a.test"], 4097);

    // Nobody is named yet, and nobody's handshake fails for what it shows.
    for who in [None, Some(&app), Some(&stranger)] {
        let reply = world.mail(who).await;
        assert!(reply.starts_with("530 5.7.0"), "{who:?}: {reply}");
    }
    let policy = "kind: tenant\nname: acme\n---\nkind: credential\nname: app\ntenant: acme\ncertificate: [app.a.test, CN=Named App]\n";
    operator::apply(world.bench.admin, folder, policy).unwrap();
    for (who, code) in [
        (None, "530"),
        (Some(&app), "250"),
        (Some(&named), "250"),
        (Some(&unnamed), "530"),
        (Some(&stranger), "530"),
    ] {
        let reply = world.mail(who).await;
        assert!(reply.starts_with(code), "{who:?}: {reply}");
    }
    // A whole message, under either version of TLS.
    for tls in [&version::TLS12, &version::TLS13] {
        let mut session = world.session(Some(&app), &[tls]).await;
        for (line, code) in [
            ("MAIL FROM:<a@b.test>", "250"),
            ("RCPT TO:<b@there.test>", "250"),
            ("DATA", "354"),
            ("Subject: hi\r\n\r\nhi\r\n.", "250"),
        ] {
            let reply = session.command(line).await;
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
    }
    let sent = || (world.bench.sink.records().len() >= 2).then_some(());
    until("both messages", FOLLOWED, LOOK, sent).await.unwrap();

    // What is revoked ends in sessions that are open, by its serial number and by its name.
    let mut open = world.session(Some(&app), &[&version::TLS13]).await;
    let mut other = world.session(Some(&named), &[&version::TLS13]).await;
    fs::write(folder.join("revoked"), "1001 # app\n").unwrap();
    let look = async || world.mail(Some(&app)).await.starts_with("530");
    let began = std::time::Instant::now();
    while !look().await {
        assert!(began.elapsed() < FOLLOWED, "the certificate is not revoked");
        tokio::time::sleep(LOOK).await;
    }
    let reply = open.command("MAIL FROM:<a@b.test>").await;
    assert!(reply.starts_with("421 4.7.0"), "{reply}");
    let reply = other.command("MAIL FROM:<a@b.test>").await;
    assert!(reply.starts_with("250"), "{reply}");
    other.command("RSET").await;
    operator::skeinctl(
        world.bench.admin,
        &["credential", "revoke", "app", "--wait"],
    )
    .unwrap();
    let reply = other.command("MAIL FROM:<a@b.test>").await;
    assert!(reply.starts_with("421 4.7.0"), "{reply}");

    // `skeinctl` makes such credentials too.
    let made = operator::skeinctl(
        world.bench.admin,
        &[
            "credential",
            "create",
            "new",
            "--tenant",
            "acme",
            "--certificate",
            "other.a.test",
            "--wait",
        ],
    );
    let made = made.unwrap();
    assert!(made.contains("certificate of other.a.test"), "{made}");
    let reply = world.mail(Some(&named)).await;
    assert!(reply.starts_with("250"), "{reply}");

    // Another CA takes over, while the node runs.
    fs::write(folder.join("clients.pem"), &others.1).unwrap();
    let began = std::time::Instant::now();
    while world.mail(Some(&named)).await.starts_with("250") {
        assert!(began.elapsed() < FOLLOWED, "the CA is not replaced");
        tokio::time::sleep(LOOK).await;
    }
}

//! Nodes with certificates: who has none is refused, and certificates are replaced while mail flows.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use skein_client::tls;
use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::sink::{Sink, SinkConfig};
use skein_tests::fleet::Member;
use skein_tests::{READY, settle};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONTROL: usize = 3;
/// Until changed files are in use; nodes look at them every 2 s.
const RELOADED: Duration = Duration::from_secs(30);

/// The PEM files of a node or of somebody who knocks at its door.
#[derive(Clone)]
struct Pems {
    ca: PathBuf,
    own: Option<(PathBuf, PathBuf)>,
}

/// A CA of `skein dev-ca`.
struct Ca(PathBuf);

impl Ca {
    fn new(folder: &Path, name: &str, hosts: &[String]) -> Self {
        let folder = folder.join(name);
        let said = skein_tests::dev_ca(&folder, hosts).unwrap();
        assert!(said.contains("[cluster.tls]"), "{said}");
        Self(folder)
    }

    fn pems(&self, host: &str) -> Pems {
        let file = |name: String| self.0.join(name);
        Pems {
            ca: file("ca.pem".into()),
            own: Some((file(format!("{host}.pem")), file(format!("{host}-key.pem")))),
        }
    }
}

struct Cluster {
    folder: TempDir,
    sink: Sink,
    /// Control nodes, then one sender.
    members: Vec<Member>,
}

impl Cluster {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let member = |n: usize| {
            let name = match n {
                CONTROL => "sender".into(),
                n => format!("control-{n}"),
            };
            Member::new(folder.path(), &name).unwrap()
        };
        let members = (0..=CONTROL).map(member).collect();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            folder,
            sink: Sink::start(SinkConfig::at(any)).await.unwrap(),
            members,
        }
    }

    fn ca(&self, name: &str) -> Ca {
        let hosts: Vec<_> = self
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect();
        Ca::new(self.folder.path(), name, &hosts)
    }

    /// Puts files where the nodes look for theirs.
    fn install(&self, ca: &[&Ca], own: &Ca) {
        let bundle: String = ca
            .iter()
            .map(|ca| fs::read_to_string(ca.0.join("ca.pem")).unwrap())
            .collect();
        for member in &self.members {
            let to = |name: &str| self.folder.path().join(format!("{}-{name}", member.name));
            let (certificate, key) = own.pems(&member.name).own.unwrap();
            fs::write(to("ca.pem"), &bundle).unwrap();
            fs::copy(certificate, to("cert.pem")).unwrap();
            fs::copy(key, to("key.pem")).unwrap();
        }
    }

    fn config(&self, member: &Member) -> String {
        let peers = self.members[..CONTROL].iter();
        let peers: Vec<_> = peers.map(|member| member.address.to_string()).collect();
        let file = |name: &str| self.folder.path().join(format!("{}-{name}", member.name));
        let role = match member.name.as_str() {
            "sender" => format!(
                "name = \"sender\"\n[[smtp.listener]]\naddress = \"{}\"\n[delivery]\nsmarthost = \"{}\"",
                member.smtp,
                self.sink.address()
            ),
            _ => format!("listen = \"{}\"", member.address),
        };
        format!(
            r#"
            role = "{kind}"
            data_dir = {data:?}
            [cluster]
            peers = {peers:?}
            {role}
            [cluster.tls]
            ca = {ca:?}
            certificate = {certificate:?}
            key = {key:?}
            [admin]
            listen = "{admin}"
            [admin.tls]
            [http]
            listen = "{http}"
            "#,
            kind = member.name.split('-').next().unwrap(),
            data = file("data"),
            ca = file("ca.pem"),
            certificate = file("cert.pem"),
            key = file("key.pem"),
            admin = member.admin,
            http = member.http,
        )
    }

    async fn start(&mut self, which: impl Iterator<Item = usize> + Clone) {
        for n in which.clone() {
            let config = self.config(&self.members[n]);
            self.members[n].configure(&config).unwrap();
            self.members[n].spawn().unwrap();
        }
        for n in which {
            self.members[n].ready().await.unwrap();
        }
    }

    async fn restart(&mut self, n: usize) {
        let mut process = self.members[n].node.take().unwrap();
        process.term().unwrap();
        assert!(process.wait(READY).await.unwrap().success());
        self.start(n..=n).await;
    }

    async fn offer(&self, id: &str) -> Vec<Injected> {
        let config = InjectorConfig {
            prefix: id.into(),
            ..InjectorConfig::to(self.members[CONTROL].smtp)
        };
        let injected = Injector::new(config).run().await;
        assert!(injected.iter().all(Injected::acked), "{id}");
        injected
    }

    /// Waits until every port between nodes, and the admin port, answers as wanted.
    async fn wait(&self, who: &Pems, wanted: impl Fn(&Member, &Result<Vec<u8>, String>) -> bool) {
        let until = tokio::time::Instant::now() + RELOADED;
        for member in &self.members[..CONTROL] {
            for address in [member.address, member.admin] {
                loop {
                    let answer = knock(address, who).await;
                    if wanted(member, &answer) {
                        break;
                    }
                    assert!(
                        tokio::time::Instant::now() < until,
                        "{} at {address} still answers {answer:?}",
                        member.name
                    );
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn skeinctl(&self, who: &Pems) -> Output {
        let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        command.arg("--server");
        command.arg(format!(
            "https://localhost:{}",
            self.members[0].admin.port()
        ));
        command.arg("--ca").arg(&who.ca);
        if let Some((certificate, key)) = &who.own {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        command.args(["node", "list"]).output().unwrap()
    }
}

/// The certificate that a server shows to a client with these files, or why there is no connection.
async fn knock(address: SocketAddr, who: &Pems) -> Result<Vec<u8>, String> {
    let read = |path: &Path| fs::read(path).unwrap();
    let own = who.own.as_ref().map(|(certificate, key)| {
        let chain = tls::own_chain(&read(certificate)).unwrap();
        tls::identity(chain, tls::key(&read(key)).unwrap()).unwrap()
    });
    let config = tls::client_config(tls::roots(&read(&who.ca)).unwrap(), own).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let said = |error: std::io::Error| error.to_string();
    let name = address.ip().into();
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let mut stream = connected.map_err(said)?;
    // A server of HTTP/2 speaks first, if it accepts the client.
    stream.read_exact(&mut [0]).await.map_err(said)?;
    let (_, session) = stream.get_ref();
    Ok(session.peer_certificates().unwrap()[0].to_vec())
}

fn certificate(pems: &Pems) -> Vec<u8> {
    let (path, _) = pems.own.as_ref().unwrap();
    tls::own_chain(&fs::read(path).unwrap()).unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_certificates_are_replaced_while_mail_flows() {
    let mut cluster = Cluster::new().await;
    let (first, renewed, other) = (
        cluster.ca("first"),
        cluster.ca("renewed"),
        cluster.ca("other"),
    );
    cluster.install(&[&first], &first);
    cluster.start(0..CONTROL + 1).await;
    let mut injected = cluster.offer("first").await;

    // Who has no certificate of the CA gets nowhere, at any port.
    let member = first.pems("sender");
    let nobody = Pems {
        own: None,
        ..member.clone()
    };
    let stranger = Pems {
        ca: member.ca.clone(),
        ..other.pems("sender")
    };
    cluster.wait(&member, |_, answer| answer.is_ok()).await;
    for (who, reason, advice) in [
        (&nobody, "CertificateRequired", "give --cert and --key"),
        (&stranger, "DecryptError", "--cert must be of the CA"),
    ] {
        for member in &cluster.members[..CONTROL] {
            let refusal = knock(member.address, who).await.unwrap_err();
            assert!(refusal.contains(reason), "{refusal}");
            // The admin API hears whoever shows none: a call may bring a token.
            let admin = knock(member.admin, who).await;
            match who.own {
                Some(_) => assert!(admin.unwrap_err().contains(reason)),
                None => assert!(admin.is_ok(), "{admin:?}"),
            }
        }
        let output = cluster.skeinctl(who);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(advice), "{said}");
    }
    // A node's certificate is good at either port, and does not manage.
    let output = cluster.skeinctl(&member);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("skein://role/operator"), "{said}");
    let output = cluster.skeinctl(&first.pems("operator"));
    assert!(output.status.success(), "{output:?}");

    // Another CA takes over: first everybody trusts both, then everybody shows the new certificates.
    cluster.install(&[&first, &renewed], &first);
    let newcomer = Pems {
        ca: member.ca.clone(),
        ..renewed.pems("sender")
    };
    cluster.wait(&newcomer, |_, answer| answer.is_ok()).await;
    injected.extend(cluster.offer("both").await);
    cluster.install(&[&first, &renewed], &renewed);
    let newcomer = renewed.pems("sender");
    let renewed_is_shown = |member: &Member, answer: &Result<Vec<u8>, String>| {
        answer.as_ref().ok() == Some(&certificate(&renewed.pems(&member.name)))
    };
    cluster.wait(&newcomer, renewed_is_shown).await;
    // New connections in both directions, then those of the sender.
    cluster.restart(0).await;
    injected.extend(cluster.offer("control-restarted").await);
    cluster.restart(CONTROL).await;
    injected.extend(cluster.offer("sender-restarted").await);

    // The former CA ends: its certificates open nothing.
    cluster.install(&[&renewed], &renewed);
    let former = Pems {
        ca: newcomer.ca.clone(),
        ..first.pems("sender")
    };
    cluster.wait(&former, |_, answer| answer.is_err()).await;
    cluster.restart(1).await;
    injected.extend(cluster.offer("former-gone").await);

    let verdict = settle(&cluster.sink, &injected, Duration::from_secs(60)).await;
    assert!(verdict.is_clean(), "{}", verdict.summary());
}

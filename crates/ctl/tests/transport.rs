//! Every fault on the way to a node, with real sockets: it is told by its address, its cause and what to do.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use skein_client::access::RoleRule;
use skein_client::ports::{self, Guard};
use skein_client::tls::{self, Certificates, Protocol, Revoked, Tls};
use skein_wire::backup_file::FileWriter;
use skein_wire::internal::backup_part::Part;
use skein_wire::internal::{BackupBody, BackupEnd, BackupHead, BackupPart};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tonic::transport::Server;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// Longer than any look at the way takes.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

async fn skeinctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skeinctl"));
    for variable in ["SERVER", "CA", "CERT", "KEY"] {
        command.env_remove(format!("SKEINCTL_{variable}"));
    }
    let output = command.args(args).kill_on_drop(true).output();
    let output = tokio::time::timeout(ENDS_WITHIN, output).await;
    output.expect("it ends").unwrap()
}

/// What it says, and that it ends with 1 and not by a signal.
async fn told(args: &[&str]) -> String {
    let output = skeinctl(args).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    told
}

async fn check(server: &str, more: &[&str], expected: &[&str]) {
    let args = [&["--server", server], more, &["status"]].concat();
    let told = told(&args).await;
    println!("{told}");
    let at = server.rsplit("://").next().unwrap_or_default();
    for part in expected.iter().chain([&at]) {
        assert!(
            told.contains(part),
            "{server} {more:?} lacks {part:?}: {told}"
        );
    }
    assert!(told.lines().count() == 1, "{told}");
}

/// A server that treats each connection so.
async fn serve<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    address
}

/// One that says this and then reads until the other side closes.
async fn saying(words: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| async move {
        let _ = stream.write_all(words).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await
}

/// HTTP/2 without TLS, as a node has it that is no control node.
async fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let routes = tonic::service::Routes::default();
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    address
}

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pems(ca: &Ca, host: &str, until: i32) -> (String, String) {
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The same behind TLS.
async fn secure(ca: &Ca, until: i32) -> SocketAddr {
    let (certificate, key) = pems(ca, "127.0.0.1", until);
    let chain = tls::own_chain(certificate.as_bytes()).unwrap();
    let certificates = Certificates {
        roots: tls::roots(ca.pem().as_bytes()).unwrap(),
        own: tls::identity(chain, tls::key(key.as_bytes()).unwrap()).unwrap(),
        revoked: Revoked::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::new(&certificates, RoleRule::Any).unwrap();
    let guard = Guard::Tls(tls, Protocol::Grpc);
    let incoming = ports::accept(listener, guard, ports::Limits::default());
    let routes = tonic::service::Routes::default();
    tokio::spawn(async move {
        let served = Server::builder().add_routes(routes);
        served.serve_with_incoming(incoming).await
    });
    address
}

/// The files that a client shows, in a folder.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(trusted: &Ca, own: Option<(&Ca, i32)>) -> Self {
        let folder = TempDir::new().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca", &trusted.pem());
        if let Some((ca, until)) = own {
            let (certificate, key) = pems(ca, "operator", until);
            write("cert", &certificate);
            write("key", &key);
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn options(&self) -> Vec<String> {
        let files = ["ca", "cert", "key"].into_iter();
        let files = files.filter(|name| self.folder.path().join(name).exists());
        files
            .flat_map(|name| [format!("--{name}"), self.path(name)])
            .collect()
    }
}

async fn check_with(files: &Files, server: &str, expected: &[&str]) {
    let options = files.options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    check(server, &options, expected).await;
}

#[tokio::test]
async fn servers_that_are_no_admin_api_are_named_for_what_they_are() {
    const PORT: &str = "admin.listen";
    let port = |address: SocketAddr| format!("http://{address}");
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    check(
        &port(free),
        &[],
        &["nothing listens", "is the node running?", PORT],
    )
    .await;
    let smtp = saying(b"220 mx.example.test ESMTP\r\n").await;
    check(&port(smtp), &[], &["a port for mail", PORT]).await;
    let web = serve(|mut stream| async move {
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await;
    })
    .await;
    check(&port(web), &[], &["web server", "http.listen", PORT]).await;
    let other = saying(b"SSH-2.0-OpenSSH_9.9\r\n").await;
    check(&port(other), &[], &["SSH-2.0", PORT]).await;
    let silent = serve(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    check(&port(silent), &[], &["says nothing", "stands still"]).await;
    let closing = serve(|stream| async move { drop(stream) }).await;
    check(&port(closing), &[], &["ends connections", "https://"]).await;
    check(
        &port(plain().await),
        &[],
        &["does not know this call", "cluster.listen", "as new as"],
    )
    .await;
    check(
        "http://nowhere.invalid:7001",
        &[],
        &["nowhere.invalid cannot be found", "slip"],
    )
    .await;
}

#[tokio::test]
async fn what_is_no_address_is_told_before_anything_is_tried() {
    for (server, expected) in [
        ("127.0.0.1:7001", "http:// or https://"),
        ("http://127.0.0.1", "no port"),
        ("ftp://127.0.0.1:7001", "neither"),
        ("", "like http://127.0.0.1:7001"),
    ] {
        let told = told(&["--server", server, "status"]).await;
        assert!(
            told.contains(expected) || told.contains("https://"),
            "{server}: {told}"
        );
        assert!(told.contains("like http://127.0.0.1:7001"), "{told}");
    }
}

#[tokio::test]
async fn tls_where_there_is_none_and_none_where_there_is_some() {
    let ca = ca();
    let files = Files::new(&ca, Some((&ca, 4000)));
    let https = |address: SocketAddr| format!("https://{address}");
    // A node without TLS ends the connection while more is written to it: no signal ends skeinctl.
    check_with(
        &files,
        &https(plain().await),
        &["does not speak TLS", "use http://"],
    )
    .await;
    let smtp = saying(b"220 mx.example.test ESMTP\r\n").await;
    check_with(&files, &https(smtp), &["a port for mail"]).await;
    let resetting = serve(|stream| async move {
        let _ = stream.set_zero_linger();
        drop(stream);
    })
    .await;
    for _ in 0..5 {
        check_with(&files, &https(resetting), &["try again"]).await;
    }
    let node = secure(&ca, 4000).await;
    check(
        &format!("http://{node}"),
        &[],
        &["speaks TLS", "use https://"],
    )
    .await;
    check_with(&files, &https(node), &["does not know this call"]).await;
    let without_ca = told(&["--server", &https(node), "status"]).await;
    assert!(without_ca.contains("needs --ca FILE"), "{without_ca}");
}

#[tokio::test]
async fn certificates_that_are_refused_are_told_with_the_side_that_refuses() {
    let (ours, other) = (ca(), ca());
    let node = format!("https://{}", secure(&ours, 4000).await);
    let none = Files::new(&ours, None);
    check_with(
        &none,
        &node,
        &["demands a certificate", "give --cert and --key"],
    )
    .await;
    let foreign = Files::new(&ours, Some((&other, 4000)));
    check_with(
        &foreign,
        &node,
        &["refuses our certificate", "of the CA that this node trusts"],
    )
    .await;
    let old = Files::new(&ours, Some((&ours, 2001)));
    check_with(&old, &node, &["refuses our certificate", "expired"]).await;
    let wrong_ca = Files::new(&other, Some((&ours, 4000)));
    check_with(
        &wrong_ca,
        &node,
        &["of another CA than ours", "--ca must be"],
    )
    .await;
    let good = Files::new(&ours, Some((&ours, 4000)));
    let by_name = node.replace("127.0.0.1", "localhost");
    check_with(&good, &by_name, &["not valid for name", "use a name"]).await;
    let expired = format!("https://{}", secure(&ours, 2001).await);
    check_with(&good, &expired, &["expired", "new certificate"]).await;
    let lonely = told(&[
        "--server",
        &node,
        "--ca",
        &good.path("ca"),
        "--cert",
        &good.path("cert"),
        "status",
    ])
    .await;
    assert!(lonely.contains("--cert needs --key"), "{lonely}");
}

/// A backup with this many bodies of 64 KiB.
fn backup(path: &Path, bodies: usize) {
    let mut writer = FileWriter::new(Vec::new()).unwrap();
    let body = |n: usize| {
        Part::Body(BackupBody {
            message_id: vec![n as u8; 16].into(),
            data: vec![0; 64 << 10].into(),
        })
    };
    let message = Part::Message(skein_wire::internal::BackupMessage::default());
    let parts = std::iter::once(Part::Head(BackupHead::default()))
        .chain(std::iter::once(message))
        .chain((0..bodies).map(body))
        .chain([Part::End(BackupEnd::default())]);
    for part in parts {
        writer.write(&BackupPart { part: Some(part) }).unwrap();
    }
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&writer.into_inner()).unwrap();
}

/// The node ends in the middle: what came is kept there, so the advice is to go on.
#[tokio::test]
async fn a_restore_that_is_cut_short_says_how_to_go_on() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("b");
    backup(&file, 200);
    let (to, behind) = (
        plain().await,
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let through = behind.local_addr().unwrap();
    // The first connection is cut after some bytes, as by a node that dies.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = behind.accept().await {
            let _ = to;
            let mut bytes = vec![0; 100_000];
            let settings = b"\0\0\0\x04\0\0\0\0\0";
            let _ = stream.write_all(settings).await;
            let _ = stream.read_exact(&mut bytes[..60_000]).await;
            let _ = stream.set_zero_linger();
        }
    });
    let server = format!("http://{through}");
    let path = file.display().to_string();
    let told = told(&["--server", &server, "backup", "restore", &path]).await;
    println!("{told}");
    for part in [
        "cut short",
        &path,
        "run it again with the same backup",
        &through.to_string(),
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test]
async fn output_that_nobody_reads_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), "kind: tenant\nname: shop\n").unwrap();
    let path = file.path().display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_skeinctl"));
    let output = command
        .args(["provider", "lint", &path])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(141), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

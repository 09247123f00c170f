//! Users, certificates and mechanisms.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use skein_testkit::process::free_port;
use skein_tests::{Bench, Extra, dev_ca};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::{NOBODY, send, send_to, sink, text};

/// A node with a certificate for 127.0.0.1, users, and a listener of each kind.
struct Secure {
    bench: Bench,
    submission: SocketAddr,
    implicit: SocketAddr,
    folder: tempfile::TempDir,
}

impl Secure {
    async fn new() -> Self {
        let (submission, implicit) = (free_port().unwrap(), free_port().unwrap());
        let folder = tempfile::tempdir().unwrap();
        dev_ca(folder.path(), &["127.0.0.1".to_owned()]).unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let sections = format!(
            r#"
            [smtp.tls]
            certificate = "{}"
            key = "{}"
            [[smtp.user]]
            name = "ann"
            password = "s e\"cret"
            [[smtp.listener]]
            address = "127.0.0.1:{submission}"
            kind = "submission"
            [[smtp.listener]]
            address = "127.0.0.1:{implicit}"
            kind = "submission"
            tls = "implicit"
            "#,
            file("127.0.0.1.pem"),
            file("127.0.0.1-key.pem"),
        );
        let bench = Bench::with(|_| {
            Ok(Extra {
                sections,
                relay_networks: Some("[]".to_owned()),
                ..Extra::default()
            })
        });
        Self {
            bench: bench.await.unwrap(),
            submission: ([127, 0, 0, 1], submission).into(),
            implicit: ([127, 0, 0, 1], implicit).into(),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn password(&self, name: &str, password: &str) -> String {
        let file = self.path(name);
        std::fs::write(&file, password).unwrap();
        file.display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_log_in_under_starttls_and_under_implicit_tls() {
    let secure = Secure::new().await;
    let _node = secure.bench.start().await.unwrap();
    let (good, bad) = (
        secure.password("good", "s e\"cret\n"),
        secure.password("bad", "secret\n"),
    );
    let ca = secure.path("ca.pem");
    let admin = secure.bench.admin;
    let trusts = ["--smtp-ca", text(&ca)];
    let ann = ["--user", "ann", "--password-file", &good];

    let options = [&trusts[..], &ann, &["--follow"]].concat();
    let under_tls = [
        "STARTTLS",
        "TLSv1.3 ",
        "AUTH        PLAIN, accepted",
        "\ndelivered",
    ];
    send(admin, secure.submission, &options).ends(0, &under_tls, &[]);
    let options = [&trusts[..], &ann, &["--follow", "--tls", "implicit"]].concat();
    let told = send(admin, secure.implicit, &options);
    told.ends(0, &["TLS         TLSv1.3", "accepted", "\ndelivered"], &[]);
    assert!(!told.out.contains("STARTTLS"), "{}", told.out);
    let options = [&ann[..], &["--insecure"]].concat();
    send(admin, secure.submission, &options).ends(0, &["queued as"], &["NOBODY CHECKS WHO"]);

    let submission = secure.submission;
    for (via, options, expected) in [
        (submission, [&ann[..]].concat(), "--smtp-ca"),
        (submission, [&trusts[..]].concat(), "--password-file"),
        (
            submission,
            [&trusts[..], &["--user", "ann", "--password-file", &bad]].concat(),
            "the user or the password is wrong",
        ),
        (
            submission,
            [&trusts[..], &ann, &["--tls", "none"]].concat(),
            "not encrypted",
        ),
        (
            submission,
            [
                &trusts[..],
                &ann,
                &["--tls", "none", "--allow-plaintext-auth"],
            ]
            .concat(),
            "no logins without TLS",
        ),
        (
            submission,
            [&trusts[..], &ann, &["--tls-name", "mx.other.test"]].concat(),
            "it must be for mx.other.test",
        ),
        (
            submission,
            [&trusts[..], &ann, &["--tls", "implicit"]].concat(),
            "--tls starttls",
        ),
        (secure.bench.smtp, trusts.to_vec(), "smtp.relay_networks"),
    ] {
        let told = send(admin, via, &options);
        told.ends(1, &[], &[expected]);
        assert_eq!(told.err.lines().count(), 1, "{}", told.err);
        assert!(!told.out.contains("queued"), "{}", told.out);
    }
}

/// A server that says these replies, a line of the client between any two, and closes then. Gives the lines back.
async fn scripted(replies: &'static [&'static str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&heard);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader).lines();
        for reply in replies {
            writer.write_all(reply.as_bytes()).await.unwrap();
            match reader.next_line().await {
                Ok(Some(line)) => lines.lock().unwrap().push(line),
                _ => return,
            }
        }
    });
    (address, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_use_a_mechanism_that_the_server_offers() {
    let login = || Some(("ann".to_owned(), "secret".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let (file, ca) = (folder.path().join("password"), folder.path().join("ca.pem"));
    std::fs::write(&file, "secret").unwrap();
    let ann = ["--user", "ann", "--password-file", text(&file)];
    let sink = sink(|config| {
        config.login = login();
        config.hostname = "mx.there.test".to_owned();
    })
    .await;
    std::fs::write(&ca, sink.certificate().unwrap()).unwrap();
    let trusts = ["--smtp-ca", text(&ca), "--tls-name", "mx.there.test"];
    let told = send_to(&sink, &[&ann[..], &trusts].concat());
    told.ends(0, &["STARTTLS", "AUTH        PLAIN, accepted"], &[]);
    assert_eq!(sink.records()[0].user.as_deref(), Some("ann"));

    let in_the_clear = [&ann[..], &["--allow-plaintext-auth"]].concat();
    let (server, heard) = scripted(&[
        "220 old.test\r\n",
        "250-old.test\r\n250 AUTH CRAM-MD5 LOGIN\r\n",
        "334 VXNlcm5hbWU6\r\n",
        "334 UGFzc3dvcmQ6\r\n",
        "535 5.7.8 no\r\n",
        "221 bye\r\n",
    ])
    .await;
    let told = send(NOBODY, server, &in_the_clear);
    told.ends(
        1,
        &["AUTH        LOGIN  535 5.7.8 no"],
        &["the user or the password is wrong"],
    );
    let lines = heard.lock().unwrap().clone();
    assert_eq!(lines[1..4], ["AUTH LOGIN", "YW5u", "c2VjcmV0"]);
    assert_eq!(lines[4], "QUIT");

    // The library would begin this one, and break off in the middle.
    let (server, heard) = scripted(&[
        "220 old.test\r\n",
        "250-old.test\r\n250 AUTH CRAM-MD5\r\n",
        "221 bye\r\n",
    ])
    .await;
    send(NOBODY, server, &in_the_clear).ends(1, &[], &["CRAM-MD5 only", "PLAIN"]);
    assert_eq!(heard.lock().unwrap()[1..], ["QUIT"]);
}

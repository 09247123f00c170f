//! SCRAM-SHA-256 with a client that is not ours: gsasl, of Debian. The secret itself is sent to nobody.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skein_testkit::load::{Probe, Reply};
use skein_tests::{Bench, Extra, dev_ca, loopback};

use crate::skeinctl;

struct Stage {
    bench: Bench,
    submission: SocketAddr,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let (submission, folder) = (loopback().unwrap(), tempfile::tempdir().unwrap());
        dev_ca(folder.path(), &["localhost".to_owned()]).unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let sections = format!(
            "[smtp.tls]\ncertificate = {:?}\nkey = {:?}\n[[smtp.listener]]\naddress = \"{submission}\"\nkind = \"submission\"\n",
            file("localhost.pem"),
            file("localhost-key.pem"),
        );
        let bench = Bench::with(|_| {
            Ok(Extra {
                relay_networks: Some("[]".into()),
                sections,
                ..Extra::default()
            })
        });
        Self {
            bench: bench.await.unwrap(),
            submission,
            folder,
        }
    }

    /// What gsasl says that logs in under STARTTLS.
    fn gsasl(&self, mechanism: &str, user: &str, password: &str) -> Output {
        let mut gsasl = Command::new("gsasl")
            .args([
                "--smtp",
                "--connect",
                &format!("localhost:{}", self.submission.port()),
            ])
            .args([
                "--mechanism",
                mechanism,
                "--authentication-id",
                user,
                "--no-cb",
            ])
            .args([
                "--password",
                password,
                "--authorization-id",
                "",
                "--starttls",
            ])
            .arg(format!(
                "--x509-ca-file={}",
                self.folder.path().join("ca.pem").display()
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`cargo xtask setup --tests` installs gsasl");
        let mut input = gsasl.stdin.take().unwrap();
        // It may have ended already.
        let _ = input.write_all(b"QUIT\r\n");
        drop(input);
        gsasl.wait_with_output().unwrap()
    }

    fn made(&self, args: &[&str]) -> String {
        let all = [&["credential"], args, &["--wait", "--json"]].concat();
        let said: serde_json::Value = serde_json::from_str(&skeinctl(&self.bench, &all)).unwrap();
        said["secret"].as_str().unwrap().to_owned()
    }

    async fn encrypted(&self) -> (Probe, Reply) {
        let (mut probe, _) = Probe::greet(self.submission).await.unwrap();
        probe.starttls().await.unwrap();
        let ehlo = probe.cmd("EHLO c").await.unwrap();
        (probe, ehlo)
    }

    /// The salt that a user is told.
    async fn salt(&self, user: &str) -> String {
        let (mut probe, _) = self.encrypted().await;
        let first = STANDARD.encode(format!("n,,n={user},r=nonce"));
        let reply = probe
            .cmd(&format!("AUTH SCRAM-SHA-256 {first}"))
            .await
            .unwrap();
        assert_eq!(reply.code, 334, "{reply:?}");
        let challenge = String::from_utf8(STANDARD.decode(reply.text()).unwrap()).unwrap();
        assert!(
            challenge.starts_with("r=nonce") && challenge.ends_with(",i=4096"),
            "{challenge}"
        );
        let salt = challenge.split(",s=").nth(1).unwrap();
        salt.split(',').next().unwrap().to_owned()
    }
}

fn is_in(output: &Output) -> bool {
    let said = [output.stdout.clone(), output.stderr.clone()].concat();
    String::from_utf8_lossy(&said).contains("235 2.7.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn gsasl_logs_in_by_scram() {
    let stage = Stage::new().await;
    let _node = stage.bench.start().await.unwrap();
    let plain = stage.made(&["create", "plain", "--tenant", "acme"]);
    let (_, ehlo) = stage.encrypted().await;
    assert!(
        ehlo.text().contains("AUTH PLAIN LOGIN\n") || ehlo.text().ends_with("AUTH PLAIN LOGIN"),
        "{ehlo:?}"
    );

    let first = stage.made(&["create", "app", "--tenant", "acme", "--scram"]);
    let (_, ehlo) = stage.encrypted().await;
    assert!(
        ehlo.text().contains("AUTH PLAIN LOGIN SCRAM-SHA-256"),
        "{ehlo:?}"
    );
    assert!(!ehlo.text().contains("-PLUS"), "{ehlo:?}");
    for (mechanism, user, password, expected) in [
        ("SCRAM-SHA-256", "app", first.as_str(), true),
        ("PLAIN", "app", &first, true),
        ("SCRAM-SHA-256", "app", &plain, false),
        // It has no SCRAM, whatever it knows.
        ("SCRAM-SHA-256", "plain", &plain, false),
        ("PLAIN", "plain", &plain, true),
    ] {
        let output = stage.gsasl(mechanism, user, password);
        assert_eq!(is_in(&output), expected, "{mechanism} {user}: {output:?}");
    }
    // While it is replaced, both secrets are good.
    let second = stage.made(&["rotate", "app"]);
    for secret in [&first, &second] {
        let output = stage.gsasl("SCRAM-SHA-256", "app", secret);
        assert!(is_in(&output), "{output:?}");
    }
    skeinctl(
        &stage.bench,
        &["credential", "rotate", "app", "--finish", "--wait"],
    );
    assert!(!is_in(&stage.gsasl("SCRAM-SHA-256", "app", &first)));
    assert!(is_in(&stage.gsasl("SCRAM-SHA-256", "app", &second)));
    let kept = skeinctl(
        &stage.bench,
        &["policy", "get", "credential", "app", "--secrets"],
    );
    assert!(
        kept.contains("scram-sha-256:4096:") && !kept.contains(&second[12..]),
        "{kept}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_is_asked_does_not_tell_whether_it_is_there() {
    let stage = Stage::new().await;
    let mut node = stage.bench.start().await.unwrap();
    stage.made(&["create", "app", "--tenant", "acme", "--scram"]);
    stage.made(&["create", "plain", "--tenant", "acme"]);
    let mut told = Vec::new();
    for user in ["app", "plain", "nobody", "nobody2"] {
        let salt = stage.salt(user).await;
        assert_eq!(STANDARD.decode(&salt).unwrap().len(), 16, "{user}: {salt}");
        assert_eq!(stage.salt(user).await, salt, "{user} is told another salt");
        told.push(salt);
    }
    let mut different = told.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), told.len(), "{told:?}");
    // A node that starts anew says the same.
    node.kill9().unwrap();
    let _node = stage.bench.start().await.unwrap();
    for (user, salt) in ["app", "plain", "nobody", "nobody2"].iter().zip(&told) {
        assert_eq!(stage.salt(user).await, *salt, "{user}");
    }
}

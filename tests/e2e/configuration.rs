//! One file for several nodes: what differs comes from the environment and the command line.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use skein_testkit::process::{Node, NodeConfig};
use skein_tests::{READY, loopback, skein};

/// As a ConfigMap has it that all pods of a set share.
const FILE: &str = r#"
data_dir = "${DATA}"
[smtp]
hostname = "${POD_NAME}.mail.test"
[[smtp.listener]]
address = "${POD_IP:-127.0.0.1}:${SMTP_PORT}"
[delivery]
port = "${PORT:-2526}"
"#;

fn said(output: &Output) -> String {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(said).unwrap()
}

fn config(args: &[&str], file: &Path, env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(skein().unwrap());
    command.arg("config").args(args).arg(file);
    command.envs(env.iter().copied()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_serves_several_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skein.toml");
    std::fs::write(&file, FILE).unwrap();
    let mut nodes = Vec::new();
    for name in ["skein-0", "skein-1"] {
        let (http, smtp) = (loopback().unwrap(), loopback().unwrap());
        let mut config = NodeConfig::serve(&skein().unwrap(), &file, http);
        config.log = folder.path().join(name).with_extension("log");
        let data = folder.path().join(name).display().to_string();
        let env = [
            ("DATA", data),
            ("POD_NAME", name.to_owned()),
            ("SMTP_PORT", smtp.port().to_string()),
            ("SKEIN_HTTP__LISTEN", http.to_string()),
            ("SKEIN_LOG__FORMAT", "json".to_owned()),
            ("SKEIN_LOG__LEVEL", "nonsense".to_owned()),
            // As Kubernetes sets for services that are called so.
            (
                "SKEIN_CONTROL_PORT_7000_TCP",
                "tcp://10.0.0.1:7000".to_owned(),
            ),
            ("SKEIN_SERVICE_HOST", "10.0.0.1".to_owned()),
        ];
        let env = env.into_iter();
        config.env = env.map(|(name, value)| (name.to_owned(), value)).collect();
        let admin = format!("admin.listen={}", loopback().unwrap());
        for set in [admin.as_str(), "log.level=info"] {
            config.args.extend(["--set".into(), set.into()]);
        }
        nodes.push(Node::start(config).unwrap());
    }
    for node in &mut nodes {
        node.ready(READY).await.unwrap();
    }
    for mut node in nodes {
        let log = node.log();
        for line in log.lines() {
            let read: Result<serde_json::Value, _> = serde_json::from_str(line);
            assert!(read.is_ok(), "{line}");
        }
        node.term().unwrap();
        let status = node.wait(Duration::from_secs(60)).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_file_that_refers_to_the_environment_is_checked_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skein.toml");
    std::fs::write(&file, FILE).unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut env = vec![("DATA", data.as_str()), ("SMTP_PORT", "2525")];
    let checked = config(&["check"], &file, &env);
    let text = said(&checked);
    assert_eq!(checked.status.code(), Some(1), "{text}");
    for part in [
        "skein.toml",
        "line 4",
        "smtp.hostname",
        "${POD_NAME}",
        "set it",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    env.push(("POD_NAME", "skein-0"));
    let checked = config(&["check", "--strict"], &file, &env);
    assert!(checked.status.success(), "{}", said(&checked));

    let mut slip = env.clone();
    slip.push(("SKEIN_SMTP__HOSTNAM", "x"));
    let text = said(&config(&["check"], &file, &slip));
    for part in [
        "environment variable SKEIN_SMTP__HOSTNAM",
        "did you mean `hostname`?",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }

    env.push(("SKEIN_DELIVERY__SMARTHOST", "relay.test:25"));
    let args = ["print", "--origin", "--set", "smtp.relay_tenant=shop"];
    let printed = said(&config(&args, &file, &env));
    for line in [
        "smtp.hostname = \"skein-0.mail.test\"  # line 4",
        "delivery.port = 2526  # line 8",
        "delivery.smarthost = \"relay.test:25\"  # environment variable SKEIN_DELIVERY__SMARTHOST",
        "smtp.relay_tenant = \"shop\"  # --set smtp.relay_tenant",
        "role = \"all\"  # default",
    ] {
        assert!(printed.contains(line), "{line:?} is not in {printed}");
    }
}

//! `skein config check` as an operator runs it, and what a node says at its start.

use std::path::Path;
use std::process::{Command, Output};

use skein_tests::{Bench, Extra, skein};

fn check(file: &Path, text: &str, args: &[&str]) -> (Output, String) {
    std::fs::write(file, text).unwrap();
    let mut command = Command::new(skein().unwrap());
    let checked = command
        .args(["config", "check"])
        .args(args)
        .arg(file)
        .output()
        .unwrap();
    let said = [checked.stdout.as_slice(), &checked.stderr].concat();
    (checked, String::from_utf8(said).unwrap())
}

#[test]
fn mistakes_end_with_status_1_and_warnings_only_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skein.toml");
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("plain"), "no folder").unwrap();
    let sound = format!("data_dir = \"{}\"\n", at("data"));

    let (checked, said) = check(&file, &sound, &["--strict"]);
    assert!(
        checked.status.success() && said.contains("no errors"),
        "{said}"
    );
    assert!(
        !Path::new(&at("data")).exists(),
        "what is checked is not made"
    );

    let warned = format!("{sound}[smtp]\nrelay_networks = [\"10.0.0.0/8\"]\n");
    let (checked, said) = check(&file, &warned, &[]);
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("line 3: smtp.relay_networks: ") && said.contains("1 warning"),
        "{said}"
    );
    let (checked, said) = check(&file, &warned, &["--strict"]);
    assert_eq!(checked.status.code(), Some(1), "{said}");

    for (text, parts) in [
        (
            format!("data_dir = \"{}\"\n", at("plain/data")),
            &["data_dir: ", "plain/data", "/var/lib/skein"][..],
        ),
        (
            "data_dir = \"/proc/1/skein\"\n".to_owned(),
            &["data_dir: ", "/proc/1/skein"],
        ),
        (
            format!("{sound}[smtp]\nrelay_networks = [\"0.0.0.0/0\"]\n"),
            &["line 3: smtp.relay_networks", "open relay"],
        ),
        (
            format!("{sound}[delivery]\ntls_ca = \"{}\"\n", at("nowhere.pem")),
            &["delivery.tls_ca: ", "nowhere.pem"],
        ),
    ] {
        let (checked, said) = check(&file, &text, &[]);
        assert_eq!(checked.status.code(), Some(1), "{text}: {said}");
        for part in parts {
            assert!(said.contains(part), "{text}: {part:?} is not in {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_at_its_start_what_has_no_effect() {
    let extra = Extra {
        sections: "[cluster]\naddress = \"127.0.0.1:7000\"".into(),
        ..Extra::default()
    };
    let bench = Bench::with(|_| Ok(extra)).await.unwrap();
    let node = bench.start().await.unwrap();
    let log = node.log_end();
    assert!(log.contains("cluster.address: has no effect"), "{log}");
}

#[test]
fn a_folder_or_file_without_a_resource_is_no_policy() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.yaml");
    std::fs::write(&empty, "# nothing yet\n---\n").unwrap();
    let nothing = tempfile::tempdir().unwrap();
    for (path, says) in [
        (nothing.path(), "no .yaml or .yml file in this folder"),
        (empty.as_path(), "there is no resource in"),
    ] {
        let mut command = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
        let linted = command
            .args(["provider", "lint"])
            .arg(path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&linted.stderr).into_owned();
        assert_eq!(linted.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

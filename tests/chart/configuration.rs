//! Every configuration file that the chart renders is sound by the product's own judgement, with the certificates that the
//! pods' init containers make; so are policies.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use skein_tests::helm::render::{case_objects, name_of, of_kind, pod_of};
use skein_tests::helm::tools::{root, said, succeeds};

/// What the kubelet sets.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("POD_NAME", "skein-control-0"),
    ("POD_IP", "10.1.2.3"),
    ("NODE_NAME", "worker-1"),
    ("HOST_IP", "192.0.2.11"),
];

/// `$(NAME)` of arguments, as Kubernetes expands it.
fn expanded(argument: &str) -> String {
    let all = ENVIRONMENT.iter();
    all.fold(argument.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

fn skein() -> Command {
    let mut command = Command::new(skein_tests::skein().unwrap());
    command.envs(ENVIRONMENT);
    command
}

/// A pod's file system, below a folder.
struct Pod<'o> {
    folder: &'o Path,
    objects: &'o [Value],
    spec: &'o Value,
}

impl Pod<'_> {
    fn at(&self, path: &str) -> String {
        path.replace("/etc/skein", &self.path("etc"))
            .replace("/var/lib/skein", &self.path("data"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Mounts of Secrets: those that the chart makes as it makes them, others with what they are to have.
    fn mount(&self, host: &str) {
        // The last two are of `existing-secrets-values.yaml`.
        let with_certificates = [
            "etc/tls",
            "etc/smtp",
            "etc/smtp-sni/mail-example-org",
            "etc/smtp-sni/lists-tls",
        ];
        let others = ["etc/ca", "etc/users", "etc/dkim", "data"];
        for folder in with_certificates.iter().chain(&others) {
            fs::create_dir_all(self.folder.join(folder)).unwrap();
        }
        let given = self.folder.join("given");
        succeeds(skein().args(["dev-ca", "--host", host]).arg(&given));
        let host = |end: &str| given.join(format!("{host}{end}"));
        for folder in with_certificates {
            fs::copy(
                given.join("ca.pem"),
                self.folder.join(folder).join("ca.crt"),
            )
            .unwrap();
            fs::copy(host(".pem"), self.folder.join(folder).join("tls.crt")).unwrap();
            fs::copy(host("-key.pem"), self.folder.join(folder).join("tls.key")).unwrap();
        }
        for name in ["dkim.key", "before.key"] {
            succeeds(
                skein()
                    .arg("dkim-key")
                    .arg(self.folder.join("etc/dkim").join(name)),
            );
        }
        for user in ["shop", "helm-test"] {
            fs::write(self.folder.join("etc/users").join(user), "a password").unwrap();
        }
        for (secret, folder) in [("skein-ca", "etc/ca"), ("skein-smtp-tls", "etc/smtp")] {
            let made = of_kind(self.objects, "Secret").find(|object| name_of(object) == secret);
            for key in ["tls.crt", "tls.key"] {
                let Some(made) = made else { continue };
                let text = decoded(made["data"][key].as_str().unwrap());
                fs::write(self.folder.join(folder).join(key), text).unwrap();
            }
        }
        let ca = self.folder.join("etc/ca/tls.crt");
        if ca.exists() {
            fs::copy(&ca, self.folder.join("etc/ca/ca.crt")).unwrap();
        }
    }

    /// Twice, as at a restart of the machine, which keeps the pod and its volumes.
    fn init(&self) {
        let containers = self.spec["initContainers"].as_array().into_iter().flatten();
        for container in containers {
            let words = |list: &str| {
                let words = container[list].as_array().into_iter().flatten();
                words
                    .map(|word| self.at(&expanded(word.as_str().unwrap())))
                    .collect::<Vec<_>>()
            };
            let command = words("command");
            if command[0] != "skein" {
                continue;
            }
            for _ in 0..2 {
                succeeds(skein().args(&command[1..]).args(words("args")));
            }
        }
    }
}

fn decoded(text: &str) -> Vec<u8> {
    let mut command = Command::new("python3");
    let script = "import base64, sys; sys.stdout.write(base64.b64decode(sys.argv[1]).decode())";
    succeeds(command.args(["-c", script, text])).into_bytes()
}

#[test]
fn nodes_take_their_files() {
    let mut count = 0;
    for (case, objects) in case_objects() {
        for config in of_kind(objects, "ConfigMap") {
            let Some(text) = config["data"]["skein.toml"].as_str() else {
                continue;
            };
            let object = objects.iter().find(|object| {
                ["StatefulSet", "Deployment", "DaemonSet"]
                    .iter()
                    .any(|kind| object["kind"] == *kind)
                    && name_of(object) == name_of(config)
            });
            let folder = tempfile::tempdir().unwrap();
            let spec = &pod_of(object.unwrap()).unwrap()["spec"];
            let pod = Pod {
                folder: folder.path(),
                objects,
                spec,
            };
            pod.mount(match name_of(config) {
                "skein-egress" => "192.0.2.11",
                _ => "skein-control-0.skein-control-headless.mail.svc.cluster.local",
            });
            pod.init();
            let file = folder.path().join("skein.toml");
            fs::write(&file, pod.at(text)).unwrap();
            let checked = skein()
                .args(["config", "check", "--strict"])
                .arg(&file)
                .output()
                .unwrap();
            assert!(
                checked.status.success(),
                "{case}: {}\n{text}\n{}",
                name_of(config),
                said(&checked)
            );
            count += 1;
        }
    }
    assert!(count > 14, "{count}");
}

#[test]
fn policies_are_sound() {
    let mut count = 0;
    for (case, objects) in case_objects() {
        for config in of_kind(objects, "ConfigMap") {
            let Some(text) = config["data"]["policy.yaml"].as_str() else {
                continue;
            };
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("policy.yaml");
            fs::write(&file, text).unwrap();
            let mut lint = Command::new(std::env::var("SKEINCTL_BIN").unwrap());
            println!("{case}");
            succeeds(lint.args(["provider", "lint"]).arg(&file));
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
}

#[test]
fn nodes_take_the_files_of_compose() {
    for role in ["control", "sender", "egress"] {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let node = format!("{role}-1");
        let make = [
            "dev-ca",
            "--replace",
            "--operator=operator",
            "--host",
            &node,
        ];
        succeeds(skein().args(make).arg(at("certificates")));
        fs::create_dir(at("data")).unwrap();
        let text = fs::read_to_string(root().join(format!("deploy/compose/{role}.toml"))).unwrap();
        let text = text.replace("/certificates/", &format!("{}/", at("certificates")));
        fs::write(
            at("skein.toml"),
            text.replace("/var/lib/skein", &at("data")),
        )
        .unwrap();
        let mut check = skein();
        check
            .env("NODE", &node)
            .args(["config", "check", "--strict"]);
        succeeds(check.arg(at("skein.toml")));
    }
}

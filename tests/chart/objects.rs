//! The objects are as Kubernetes takes them, and as this chart promises.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use skein_tests::helm::render::{
    KUBERNETES, case_objects, cases, containers, name_of, of_kind, pod_of, rendered,
};
use skein_tests::helm::tools::{succeeds, tool};

#[test]
fn the_oldest_and_the_newest_kubernetes_know_every_field() {
    let folder = tempfile::tempdir().unwrap();
    for kubernetes in KUBERNETES {
        let files: Vec<_> = cases()
            .into_iter()
            .map(|(name, values)| {
                let file = folder.path().join(format!("{name}-{kubernetes}.yaml"));
                fs::write(&file, rendered("helm4", kubernetes, &values)).unwrap();
                file
            })
            .collect();
        let mut command = tool("kubernetes-validate");
        command.args(["--strict", "--no-warn", "--quiet", "-k", kubernetes]);
        succeeds(command.args(files));
    }
}

/// Custom resources are read while the objects are.
#[test]
fn pods_are_restricted_and_have_no_access_to_the_api() {
    for (case, objects) in case_objects() {
        let pods = objects
            .iter()
            .filter_map(|object| Some((object, pod_of(object)?)));
        for (object, pod) in pods {
            let at = format!("{case}: {}", name_of(object));
            let spec = &pod["spec"];
            assert_eq!(spec["automountServiceAccountToken"], json!(false), "{at}");
            assert_eq!(spec["securityContext"]["runAsNonRoot"], json!(true), "{at}");
            assert_eq!(
                spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{at}"
            );
            let is_egress = object["kind"] == "DaemonSet" && name_of(object) == "skein-egress";
            assert_eq!(!spec["hostNetwork"].is_null(), is_egress, "{at}");
            for container in containers(pod) {
                let security = &container["securityContext"];
                assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{at}");
                assert_eq!(security["readOnlyRootFilesystem"], json!(true), "{at}");
                assert_eq!(security["allowPrivilegeEscalation"], json!(false), "{at}");
                assert!(!container["resources"]["requests"].is_null(), "{at}");
                check_volumes(&at, spec, container);
            }
        }
        let kinds: BTreeSet<&str> = objects
            .iter()
            .filter_map(|object| object["kind"].as_str())
            .collect();
        assert!(
            !kinds.contains("Role") && !kinds.contains("ClusterRole"),
            "{case}: {kinds:?}"
        );
    }
}

/// What a container mounts is there.
fn check_volumes(at: &str, spec: &Value, container: &Value) {
    let claims = ["data"];
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let volumes: BTreeSet<&str> = volumes
        .filter_map(|volume| volume["name"].as_str())
        .chain(claims)
        .collect();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        let name = mount["name"].as_str().unwrap();
        assert!(volumes.contains(name), "{at}: {name}");
    }
}

/// A Service without pods, or a NetworkPolicy that is for none, shows nowhere else.
#[test]
fn every_selector_finds_pods_of_the_release() {
    for (case, objects) in case_objects() {
        let labels: Vec<&Value> = objects
            .iter()
            .filter_map(pod_of)
            .map(|pod| &pod["metadata"]["labels"])
            .collect();
        let found = |wanted: &Value| {
            let wanted = wanted.as_object().unwrap();
            let has = |labels: &&&Value| wanted.iter().all(|(key, value)| &labels[key] == value);
            labels.iter().find(has).is_some()
        };
        for (kind, path) in [
            ("Service", "/spec/selector"),
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
            ("Deployment", "/spec/selector/matchLabels"),
            ("StatefulSet", "/spec/selector/matchLabels"),
            ("DaemonSet", "/spec/selector/matchLabels"),
        ] {
            for object in of_kind(objects, kind) {
                let selector = object.pointer(path).unwrap();
                assert!(
                    found(selector),
                    "{case}: {kind} {}: {selector}",
                    name_of(object)
                );
            }
        }
        for service in of_kind(objects, "Service") {
            let ports = service["spec"]["ports"].as_array().unwrap();
            assert!(!ports.is_empty(), "{case}: {}", name_of(service));
        }
    }
}

#[test]
fn an_autoscaler_alone_says_how_many_senders_there_are() {
    for (case, objects) in case_objects() {
        let scalers = ["HorizontalPodAutoscaler", "ScaledObject"];
        let is_scaled = scalers
            .iter()
            .any(|kind| of_kind(objects, kind).next().is_some());
        let senders =
            of_kind(objects, "Deployment").filter(|object| name_of(object) == "skein-sender");
        for sender in senders {
            assert_eq!(sender["spec"]["replicas"].is_null(), is_scaled, "{case}");
        }
        assert_eq!(
            is_scaled,
            ["keda", "existing-secrets"].contains(&case.as_str()),
            "{case}"
        );
    }
}

/// As certificates' roles are checked by the nodes, one without a role is of no use.
#[test]
fn certificates_of_cert_manager_have_roles_and_hosts() {
    let (_, objects) = case_objects()
        .iter()
        .find(|(case, _)| case == "cert-manager")
        .unwrap();
    let of = |name: &str| {
        of_kind(objects, "Certificate")
            .find(|object| name_of(object) == name)
            .unwrap()
    };
    for (name, roles) in [
        ("skein-control", &["control"][..]),
        ("skein-sender", &["sender"]),
        ("skein-egress", &["egress"]),
        // Nodes of versions without admins know operators as such.
        ("skein-operator", &["admin", "operator"]),
    ] {
        let certificate = of(name);
        let uris: Vec<String> = roles
            .iter()
            .map(|role| format!("skein://role/{role}"))
            .collect();
        assert_eq!(certificate["spec"]["uris"], json!(uris), "{certificate}");
    }
    let hosts = of("skein-control")["spec"]["dnsNames"].to_string();
    for pod in 0..5 {
        assert!(
            hosts.contains(&format!(
                "skein-control-{pod}.skein-control-headless.mail.svc.cluster.local"
            )),
            "{hosts}"
        );
    }
    assert_eq!(
        of("skein-egress")["spec"]["ipAddresses"],
        json!(["192.0.2.11"])
    );
    assert!(
        of("skein-operator")["spec"]["usages"]
            .as_array()
            .unwrap()
            .iter()
            .all(|usage| usage != "server auth")
    );
}

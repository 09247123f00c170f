//! Each change that UPGRADING.md names, from one release to the next: Kubernetes takes what differs, and the chart refuses what
//! would cost a quorum.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use skein_tests::helm::render::{KUBERNETES, NAMESPACE, name_of, objects, of_kind, template};
use skein_tests::helm::tools::{HELMS, said, succeeds};

use crate::api_server::ApiServer;

/// Below `spec` unless said otherwise: what may differ between two versions of an object. `*` stands for all the rest.
/// As in `ValidateStatefulSetUpdate` and its like of Kubernetes 1.37.
const MUTABLE: [(&str, &[&str]); 4] = [
    (
        "StatefulSet",
        &[
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
            "revisionHistoryLimit",
        ],
    ),
    (
        "Job",
        &[
            "parallelism",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "suspend",
        ],
    ),
    ("Pod", &["activeDeadlineSeconds", "tolerations"]),
    (
        "PersistentVolumeClaim",
        &["resources", "volumeAttributesClassName"],
    ),
];

/// Of kinds that are not in the list above: these alone may not differ.
const IMMUTABLE: [(&str, &[&str]); 5] = [
    ("Deployment", &["/spec/selector"]),
    ("DaemonSet", &["/spec/selector"]),
    ("Service", &["/spec/clusterIP", "/spec/healthCheckNodePort"]),
    ("Secret", &["/type", "/immutable"]),
    ("ConfigMap", &["/immutable"]),
];

/// Paths that differ and must not.
fn refused(before: &Value, after: &Value) -> Vec<String> {
    let kind = before["kind"].as_str().unwrap();
    let at = format!("{kind} {}", name_of(before));
    if let Some((_, mutable)) = MUTABLE.iter().find(|(of, _)| *of == kind) {
        let specs = [before, after].map(|object| object["spec"].as_object().unwrap());
        let keys: BTreeSet<&String> = specs[0].keys().chain(specs[1].keys()).collect();
        let differs = keys
            .into_iter()
            .filter(|key| specs[0].get(*key) != specs[1].get(*key));
        let refused = differs.filter(|key| !mutable.contains(&key.as_str()));
        return refused.map(|key| format!("{at}: /spec/{key}")).collect();
    }
    let immutable = IMMUTABLE.iter().find(|(of, _)| *of == kind);
    let paths = immutable.into_iter().flat_map(|(_, paths)| paths.iter());
    let differs = paths.filter(|path| before.pointer(path) != after.pointer(path));
    differs.map(|path| format!("{at}: {path}")).collect()
}

fn by_name(objects: &[Value]) -> BTreeMap<(String, String, String), &Value> {
    let key = |object: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let group = text(&object["apiVersion"]);
        (
            format!("{group} {}", text(&object["kind"])),
            text(&metadata["namespace"]),
            text(&metadata["name"]),
        )
    };
    // Hooks are deleted and made anew, each time.
    let is_hook = |object: &&Value| object["metadata"]["annotations"]["helm.sh/hook"].is_string();
    let objects = objects.iter().filter(|object| !is_hook(object));
    objects.map(|object| (key(object), object)).collect()
}

/// The objects of a release with such values.
fn release(helm: &str, kubernetes: &str, values: &str) -> String {
    let mut command = template(helm, kubernetes);
    let set =
        ["smtp.hostname=mx.example.com", values].map(|set| ["--set".to_owned(), set.to_owned()]);
    succeeds(command.args(set.iter().flatten()))
}

const EGRESS: &str = "egress.enabled=true,egress.nodes[0].name=a,egress.nodes[0].address=10.0.0.11,\
                      egress.nodes[0].ips[0].name=a1,egress.nodes[0].ips[0].bind=10.0.0.11,egress.nodes[0].ips[0].ehlo=a.example";

#[test]
fn kubernetes_takes_each_documented_change() {
    let certified = format!("{EGRESS},certificates.source=certManager");
    let certified = certified.as_str();
    // `mode=cluster` is what the chart has by default.
    let ways = [
        ("mode=single", "mode=cluster", ""),
        ("mode=single", "mode=cluster,control.replicas=5", ""),
        ("mode=cluster", "control.replicas=5", ""),
        (
            "control.replicas=5",
            "control.replicas=3,control.scaleDownTo=3",
            "",
        ),
        ("mode=cluster", "mode=single,control.scaleDownTo=1", ""),
        ("mode=cluster", "sender.replicas=7", ""),
        ("mode=cluster", "sender.autoscaling.type=hpa", ""),
        ("mode=cluster", "sender.kind=DaemonSet", ""),
        ("mode=cluster", "image.tag=9.9.9", ""),
        (
            "mode=cluster",
            "policy.resources[0].kind=tenant,policy.resources[0].name=shop",
            "",
        ),
        ("mode=cluster", EGRESS, ""),
        (EGRESS, certified, ""),
        ("mode=cluster", "config.log.level=debug", ""),
        ("mode=cluster", "backup.enabled=true", ""),
        ("mode=cluster", "monitoring.serviceMonitor.enabled=true", ""),
        // Those of the table of fields that nobody may change.
        (
            "mode=cluster",
            "control.persistence.size=100Gi",
            "StatefulSet skein-control: /spec/volumeClaimTemplates",
        ),
        (
            "mode=cluster",
            "control.persistence.storageClassName=fast",
            "StatefulSet skein-control: /spec/volumeClaimTemplates",
        ),
        (
            "mode=cluster",
            "fullnameOverride=skein,nameOverride=ski",
            "StatefulSet skein-control: /spec/selector",
        ),
    ];
    for kubernetes in KUBERNETES {
        let texts: Vec<String> = ways
            .iter()
            .flat_map(|(before, after, _)| [before, after])
            .map(|values| release("helm4", kubernetes, values))
            .collect();
        let rendered = objects(&texts);
        for (pair, (from, to, expected)) in rendered.chunks(2).zip(ways) {
            let (before, after) = (by_name(&pair[0]), by_name(&pair[1]));
            let both = before
                .iter()
                .filter_map(|(key, old)| Some((*old, *after.get(key)?)));
            let found: Vec<String> = both.flat_map(|(old, new)| refused(old, new)).collect();
            let is_expected = match expected {
                "" => found.is_empty(),
                _ => found.iter().any(|path| path == expected),
            };
            assert!(is_expected, "{from} to {to}: {found:?}");
            assert!(!before.is_empty() && before != after, "{from} to {to}");
        }
    }
}

#[test]
fn a_field_that_differs_is_found() {
    let object =
        |kind: &str, spec: Value| json!({"kind": kind, "metadata": {"name": "x"}, "spec": spec});
    for (kind, before, after, expected) in [
        (
            "StatefulSet",
            json!({"replicas": 1}),
            json!({"replicas": 3}),
            "",
        ),
        (
            "StatefulSet",
            json!({"serviceName": "a"}),
            json!({"serviceName": "b"}),
            "StatefulSet x: /spec/serviceName",
        ),
        (
            "StatefulSet",
            json!({}),
            json!({"podManagementPolicy": "Parallel"}),
            "StatefulSet x: /spec/podManagementPolicy",
        ),
        (
            "Deployment",
            json!({"selector": 1}),
            json!({"selector": 2}),
            "Deployment x: /spec/selector",
        ),
        (
            "Deployment",
            json!({"template": 1}),
            json!({"template": 2}),
            "",
        ),
        (
            "Job",
            json!({"template": 1}),
            json!({"template": 2}),
            "Job x: /spec/template",
        ),
        (
            "Service",
            json!({"clusterIP": "None"}),
            json!({}),
            "Service x: /spec/clusterIP",
        ),
        (
            "Service",
            json!({"selector": 1}),
            json!({"selector": 2}),
            "",
        ),
    ] {
        let found = refused(&object(kind, before), &object(kind, after));
        assert_eq!(found.join(""), expected);
    }
}

/// A StatefulSet of so many pods, and a CA, as the API server has them.
fn there(replicas: u32) -> Vec<Value> {
    let metadata = |name: &str| json!({"name": name, "namespace": NAMESPACE});
    vec![
        json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata("skein-control"), "spec": {"replicas": replicas}
        }),
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": metadata("skein-ca"),
            "data": {"tls.crt": "b3VyIENB", "tls.key": "b3VyIGtleQ=="}
        }),
    ]
}

#[test]
fn fewer_control_nodes_need_a_word_to_the_cluster_first() {
    let remove = |nth: u32| {
        format!(
            "skeinctl cluster remove skein-control-{nth}.skein-control-headless.mail.svc.cluster.local:7000 --yes"
        )
    };
    for (replicas, values, removed) in [
        (5, "control.replicas=5", &[][..]),
        (3, "control.replicas=5", &[]),
        (1, "mode=cluster", &[]),
        (5, "control.replicas=3", &[4, 3]),
        (5, "control.replicas=3,control.scaleDownTo=3", &[]),
        (5, "control.replicas=1,control.scaleDownTo=3", &[4, 3, 2, 1]),
        (3, "mode=single", &[2, 1]),
        (3, "mode=single,control.scaleDownTo=1", &[]),
    ] {
        let server = ApiServer::start(there(replicas));
        for helm in HELMS {
            let mut command = template(helm, KUBERNETES[1]);
            // The CA above is none that could sign.
            command.args([
                "--set",
                "smtp.tls.source=none,test.enabled=false",
                "--set",
                values,
            ]);
            command.args([
                "--is-upgrade",
                "--dry-run=server",
                "--disable-openapi-validation",
            ]);
            let output = command
                .args(["--kube-apiserver", &server.url()])
                .output()
                .unwrap();
            let text = said(&output);
            let at = format!("{helm} {replicas} {values}: {text}");
            let is_refused = text.contains(&format!("of {replicas} control nodes would be left"));
            assert_eq!(is_refused, !removed.is_empty(), "{at}");
            let lines = removed.iter().map(|nth| text.find(&remove(*nth)));
            let lines: Option<Vec<usize>> = lines.collect();
            assert!(lines.is_some_and(|found| found.is_sorted()), "{at}");
            // Helm 4 looks every kind up at the server, and this one knows few.
            if helm == "helm3" && removed.is_empty() {
                assert!(
                    output.status.success() && text.contains("tls.key: b3VyIGtleQ=="),
                    "{at}"
                );
            }
        }
    }
}

#[test]
fn each_control_node_names_all_and_may_come_by_itself() {
    let text = release("helm4", KUBERNETES[1], "control.replicas=5");
    let objects = objects(&[text]).remove(0);
    let of =
        |name: &'static str| of_kind(&objects, "ConfigMap").find(move |one| name_of(one) == name);
    let config = of("skein-control").unwrap()["data"]["skein.toml"]
        .as_str()
        .unwrap();
    assert!(config.contains("join = \"auto\""), "{config}");
    for nth in 0..5 {
        assert!(
            config.contains(&format!("skein-control-{nth}.skein-control-headless")),
            "{config}"
        );
    }
}

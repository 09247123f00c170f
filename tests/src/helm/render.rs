//! What Helm makes of the chart with values.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::tools::{chart, files, root, succeeds, tool};

pub const NAMESPACE: &str = "mail";
/// The oldest version of Kubernetes that the chart is for, and the newest that is known.
pub const KUBERNETES: [&str; 2] = ["1.27", "1.37"];

/// The files of `ci/`, by what they are about.
pub fn cases() -> Vec<(String, PathBuf)> {
    let name = |path: &Path| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        name.strip_suffix("-values").unwrap().to_owned()
    };
    let found = files(&chart().join("ci"), "yaml");
    let cases: Vec<_> = found.into_iter().map(|path| (name(&path), path)).collect();
    assert!(cases.len() >= 8, "{cases:?}");
    cases
}

pub fn template(helm: &str, kubernetes: &str) -> Command {
    let mut command = tool(helm);
    command.args(["template", "skein"]).arg(chart());
    command.args(["--namespace", NAMESPACE, "--kube-version", kubernetes]);
    command
}

pub fn rendered(helm: &str, kubernetes: &str, values: &Path) -> String {
    succeeds(template(helm, kubernetes).arg("--values").arg(values))
}

/// The objects of each render. Those of custom kinds must be as their definitions say.
pub fn objects(texts: &[String]) -> Vec<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let script = root().join("tests/src/helm/objects.py");
    let mut print = tool("python");
    print.arg(script);
    for (nth, text) in texts.iter().enumerate() {
        let file = folder.path().join(format!("{nth}.yaml"));
        std::fs::write(&file, text).unwrap();
        print.arg(file);
    }
    serde_json::from_str(&succeeds(&mut print)).unwrap()
}

/// Each case's objects with the newest Helm and Kubernetes.
pub fn case_objects() -> &'static [(String, Vec<Value>)] {
    static ALL: OnceLock<Vec<(String, Vec<Value>)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let (names, values): (Vec<_>, Vec<_>) = cases().into_iter().unzip();
        let render = |values: &PathBuf| rendered("helm4", KUBERNETES[1], values);
        let texts: Vec<String> = values.iter().map(render).collect();
        names.into_iter().zip(objects(&texts)).collect()
    })
}

pub fn of_kind<'o>(objects: &'o [Value], kind: &'o str) -> impl Iterator<Item = &'o Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The template of the pods of an object that has pods.
pub fn pod_of(object: &Value) -> Option<&Value> {
    let spec = &object["spec"];
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(&spec["template"]),
        "CronJob" => Some(&spec["jobTemplate"]["spec"]["template"]),
        _ => None,
    }
}

pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].into_iter();
    let lists = lists.filter_map(|list| pod["spec"][list].as_array());
    lists.flatten()
}

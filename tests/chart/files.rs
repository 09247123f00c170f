//! Linters over scripts, Dockerfiles and YAML, and what the chart has copies of.

use std::fs;
use std::path::Path;
use std::process::Command;

use skein_tests::helm::tools::{chart, files, is_refresh, root, succeeds, tool};

#[test]
fn linters_find_nothing() {
    let deploy = root().join("deploy");
    let scripts = files(&deploy, "sh");
    assert!(!scripts.is_empty());
    succeeds(tool("shellcheck").args(scripts));
    succeeds(tool("hadolint").arg(deploy.join("Dockerfile")));
    let rules =
        "{extends: relaxed, rules: {line-length: disable, braces: disable, empty-lines: disable}}";
    let yaml = [
        files(&deploy, "yaml"),
        vec![chart().join("values.yaml")],
        files(&chart().join("ci"), "yaml"),
    ];
    succeeds(
        tool("yamllint")
            .args(["--strict", "-d", rules])
            .args(yaml.concat()),
    );
    let schema = chart().join("values.schema.json");
    succeeds(
        tool("check-jsonschema")
            .arg("--check-metaschema")
            .arg(schema),
    );
}

/// Helm reads no files outside of the chart, and packages no links.
#[test]
fn dashboards_and_alert_rules_in_the_chart_are_those_of_deploy() {
    for (folder, extension) in [("dashboards", "json"), ("alerts", "yaml")] {
        let original = root().join("deploy").join(folder);
        let copy = chart().join("files").join(folder);
        let of = |folder: &Path| -> Vec<(String, String)> {
            let found = files(folder, extension)
                .into_iter()
                .filter(|path| path.parent() == Some(folder));
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            found
                .map(|path| (name(&path), fs::read_to_string(&path).unwrap()))
                .collect()
        };
        if is_refresh() {
            for (name, _) in of(&copy) {
                fs::remove_file(copy.join(name)).unwrap();
            }
            for (name, text) in of(&original) {
                fs::write(copy.join(name), text).unwrap();
            }
        }
        assert!(
            of(&original) == of(&copy),
            "{} and {} differ",
            original.display(),
            copy.display()
        );
    }
}

#[test]
fn prometheus_takes_the_alert_rules() {
    let rules = files(&chart().join("files/alerts"), "yaml");
    if !rules.is_empty() {
        succeeds(
            Command::new("promtool")
                .args(["check", "rules"])
                .args(rules),
        );
    }
    let tests = files(&root().join("deploy/alerts/tests"), "yaml");
    if !tests.is_empty() {
        succeeds(Command::new("promtool").args(["test", "rules"]).args(tests));
    }
}

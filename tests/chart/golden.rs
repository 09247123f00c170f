//! Both versions of Helm render the chart alike, and as it was looked at last.

use std::fs;

use skein_tests::helm::render::{KUBERNETES, cases, rendered};
use skein_tests::helm::tools::{HELMS, chart, is_refresh, root, succeeds, tool};

/// Drawn at each render: keys, certificates and passwords.
const DRAWN: [&str; 4] = ["ca.crt: ", "tls.crt: ", "tls.key: ", "password: "];

/// Without blank lines, which the versions of Helm set in different places, and without what is drawn.
fn normal(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines = lines.map(|line| {
        let key = line.trim_start();
        let drawn = DRAWN
            .iter()
            .find(|drawn| key.starts_with(**drawn) && key.len() > drawn.len() + 30);
        match drawn {
            Some(drawn) => format!("{}{drawn}DRAWN\n", &line[..line.len() - key.len()]),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn renders_are_as_they_were_looked_at_last() {
    let folder = root().join("tests/chart/golden");
    let mut kept: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort_unstable();
    let names: Vec<String> = cases()
        .iter()
        .map(|(name, _)| format!("{name}.yaml"))
        .collect();
    for (name, values) in cases() {
        let file = folder.join(format!("{name}.yaml"));
        for helm in HELMS {
            let found = normal(&rendered(helm, KUBERNETES[1], &values));
            if is_refresh() {
                fs::write(&file, &found).unwrap();
            }
            let golden = fs::read_to_string(&file).unwrap_or_default();
            let differs = found
                .lines()
                .zip(golden.lines())
                .position(|(found, golden)| found != golden);
            let line = differs.unwrap_or(found.lines().count().min(golden.lines().count()));
            assert!(
                found == golden,
                "{helm}, {name}: line {} is {:?}; look at it, and refresh with SKEIN_REFRESH=1 (see tests/chart/main.rs)",
                line + 1,
                found.lines().nth(line).unwrap_or_default()
            );
        }
    }
    assert!(is_refresh() || kept == names, "{kept:?} {names:?}");
}

#[test]
fn lint_finds_nothing() {
    for helm in HELMS {
        for (_, values) in cases() {
            succeeds(
                tool(helm)
                    .args(["lint", "--strict"])
                    .arg(chart())
                    .arg("--values")
                    .arg(values),
            );
        }
    }
}

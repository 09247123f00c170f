//! Crates depend only on crates of a lower level, tests included.

use std::fs;

use crate::run::{Result, root};

const LEVELS: &[(&str, u8)] = &[
    ("model", 0),
    ("smtp", 0),
    ("mail", 0),
    ("credential", 0),
    ("attribution", 1),
    ("bounce", 1),
    ("policy", 1),
    ("webhook", 1),
    ("wire", 1),
    ("dkim", 1),
    ("dns", 1),
    ("runtime", 1),
    ("authentication", 2),
    ("feedback", 2),
    ("identity", 2),
    ("store", 2),
    ("client", 2),
    ("egress", 2),
    ("tls", 2),
    ("tracking", 2),
    ("testkit", 2),
    ("control", 3),
    ("ingress", 3),
    ("sender", 3),
    ("ctl", 3),
    ("node", 4),
];

/// The CLI is small because it never links the server.
const NEVER: &[(&str, &[&str])] = &[("ctl", &["store", "control", "node", "ingress", "sender"])];

pub fn check() -> Result {
    let mut faults = Vec::new();
    let crates = root().join("crates");
    for entry in fs::read_dir(&crates).map_err(|error| format!("{}: {error}", crates.display()))? {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let manifest = entry.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else {
            continue;
        };
        faults.extend(faults_of(&name, &text));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("\n"))
    }
}

fn level(name: &str) -> Option<u8> {
    LEVELS
        .iter()
        .find(|(crate_name, _)| *crate_name == name)
        .map(|(_, level)| *level)
}

fn faults_of(name: &str, manifest: &str) -> Vec<String> {
    let dependencies = dependencies(manifest);
    if name == "xtask" {
        return if dependencies.is_empty() {
            Vec::new()
        } else {
            vec!["xtask depends on nothing".into()]
        };
    }
    let Some(own) = level(name) else {
        return vec![format!(
            "crates/{name} has no level; name it in crates/xtask/src/arrows.rs"
        )];
    };
    let mut faults = Vec::new();
    for other in dependencies
        .iter()
        .filter_map(|line| line.strip_prefix("skein-"))
    {
        if level(other).is_none_or(|level| level >= own) {
            faults.push(format!(
                "crates/{name} (level {own}) may not depend on skein-{other}"
            ));
        }
        if NEVER
            .iter()
            .any(|(who, whom)| *who == name && whom.contains(&other))
        {
            faults.push(format!("crates/{name} may not depend on skein-{other}"));
        }
    }
    faults
}

/// The names in all dependency tables of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            found.extend(line.split(['.', '=', ' ']).next().map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_down() {
        let manifest =
            |section: &str, name: &str| format!("[{section}]\n{name}.workspace = true\n");
        for (name, text, faults) in [
            ("sender", manifest("dependencies", "skein-model"), 0),
            ("sender", manifest("dependencies", "skein-control"), 1),
            ("model", manifest("dev-dependencies", "skein-smtp"), 1),
            ("ctl", manifest("dependencies", "skein-store"), 1),
            ("xtask", manifest("dependencies", "anyhow"), 1),
            ("unheard-of", String::new(), 1),
        ] {
            assert_eq!(faults_of(name, &text).len(), faults, "{name}: {text}");
        }
    }
}

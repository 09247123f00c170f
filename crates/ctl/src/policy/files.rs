//! YAML files as the command line names them.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Files by the name under which what is wrong in them is told.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            texts.insert("standard input".to_owned(), text);
            continue;
        }
        let mut files = vec![path.clone()];
        if path.is_dir() {
            let entries = path
                .read_dir()
                .with_context(|| path.display().to_string())?;
            let entries = entries.map(|entry| entry.map(|entry| entry.path()));
            files = entries.collect::<Result<_, _>>()?;
            let is_yaml =
                |file: &PathBuf| file.extension().is_some_and(|e| e == "yaml" || e == "yml");
            files.retain(is_yaml);
            if files.is_empty() {
                bail!(
                    "{}: there is no .yaml or .yml file in this folder",
                    path.display()
                );
            }
        }
        for file in files {
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| file.display().to_string())?;
            texts.insert(file.display().to_string(), text);
        }
    }
    Ok(texts)
}

/// Comments and empty documents alone: a mistake in the name of the file, or in a pipe before.
pub fn nothing(texts: &BTreeMap<String, String>) -> String {
    let names: Vec<&str> = texts.keys().map(String::as_str).collect();
    format!("there is no resource in {}", names.join(", "))
}

/// The comment with which `policy get` begins: the version of the policy that its resources are of.
pub const BASE: &str = "# policy-version:";

/// The earliest version that any of the files says that its resources are of.
pub fn base(texts: &BTreeMap<String, String>) -> Option<u64> {
    let lines = texts.values().flat_map(|text| text.lines());
    let versions = lines.filter_map(|line| line.strip_prefix(BASE)?.trim().parse().ok());
    versions.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_which_version_they_are_of() {
        let texts = |texts: &[&str]| {
            let texts = texts.iter().enumerate();
            texts
                .map(|(nth, text)| (nth.to_string(), (*text).to_owned()))
                .collect()
        };
        let old = format!("{BASE} 7\nkind: ip\n");
        let new = format!("# a comment\n{BASE} 9\nkind: ip\n");
        assert_eq!(base(&texts(&["kind: ip\n"])), None);
        assert_eq!(base(&texts(&[&new])), Some(9));
        assert_eq!(base(&texts(&[&new, "kind: ip\n", &old])), Some(7));
        assert_eq!(base(&texts(&[&format!("{BASE} x\n")])), None);
    }
}

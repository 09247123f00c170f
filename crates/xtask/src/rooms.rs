//! Modules at the top of a crate form no circles, but for those that are listed with their reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::run::{Result, root};

/// Crate, modules, and why they cannot be told apart.
const CIRCLES: &[(&str, &[&str], &str)] = &[
    (
        "ingress",
        &["intake", "login", "server", "session"],
        "sessions share what the server owns",
    ),
    (
        "store",
        &[
            "bodies", "checksum", "db", "entries", "flusher", "log", "machine", "overlay",
            "reader", "snapshot", "types",
        ],
        "one RocksDB instance is all of these",
    ),
    ("testkit", &["load", "sink"], "both ends of a dialogue"),
];

pub fn check() -> Result {
    let mut faults = Vec::new();
    let crates = root().join("crates");
    let entries =
        fs::read_dir(&crates).map_err(|error| format!("{}: {error}", crates.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| error.to_string())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        faults.extend(faults_of(&name, &read(&entry.path().join("src"))));
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults.join("\n")),
    }
}

type Uses = BTreeMap<String, BTreeSet<String>>;

/// Which modules each module of the crate names.
fn read(src: &Path) -> Uses {
    let mut uses = Uses::new();
    for (path, text) in files(src) {
        let Ok(inside) = path.strip_prefix(src) else {
            continue;
        };
        let first = inside.components().next();
        let first = first.map(|first| first.as_os_str().to_string_lossy().into_owned());
        let module = first.unwrap_or_default();
        let module = module.trim_end_matches(".rs").to_owned();
        if !matches!(module.as_str(), "lib" | "main" | "bin") {
            uses.entry(module).or_default().extend(named(&text));
        }
    }
    let known: BTreeSet<String> = uses.keys().cloned().collect();
    for (module, named) in &mut uses {
        named.retain(|other| other != module && known.contains(other));
    }
    uses
}

/// Those of a crate, without the ones that hold tests.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_test = name.ends_with("tests.rs") || name == "tests";
        if path.is_dir() && !is_test {
            found.extend(files(&path));
        } else if name.ends_with(".rs")
            && !is_test
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push((path, text));
        }
    }
    found
}

/// The modules after `crate::`, beside comments and the tests at a file's end.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next();
    let lines = code.into_iter().flat_map(str::lines);
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        let list = match after.strip_prefix('{') {
            Some(list) => top_level(list),
            None => vec![after],
        };
        for path in list {
            let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
            found.insert(path[..end.unwrap_or(path.len())].to_owned());
        }
    }
    found
}

/// The parts of a list of imports, whose opening brace is gone.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(list[begin..at].trim());
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts
}

fn faults_of(name: &str, uses: &Uses) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> = uses
        .keys()
        .map(|module| (module.as_str(), reach(module, uses)))
        .collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        let back = others
            .iter()
            .filter(|other| reached[*other].contains(module));
        let circle: BTreeSet<&str> = back.copied().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let is_listed = |circle: &BTreeSet<&str>| {
        CIRCLES.iter().any(|(of, modules, _)| {
            *of == name && circle.iter().all(|module| modules.contains(module))
        })
    };
    let unlisted = circles.into_iter().filter(|circle| !is_listed(circle));
    unlisted
        .map(|circle| {
            let modules: Vec<&str> = circle.into_iter().collect();
            format!(
                "crates/{name}: the modules {} name each other in a circle",
                modules.join(", ")
            )
        })
        .collect()
}

fn reach<'u>(module: &str, uses: &'u Uses) -> BTreeSet<&'u str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = uses
        .get(module)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(uses.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_names_is_read_of_its_code() {
        let text = "use crate::a::B;\nuse crate::{c, d::{E, F}, g};\n// crate::h is none\nlet x = crate::i::j();\n#[cfg(test)]\nmod tests { use crate::k; }";
        let expected = ["a", "c", "d", "g", "i"].map(str::to_owned);
        assert_eq!(named(text), BTreeSet::from(expected));
    }

    #[test]
    fn a_circle_is_found_and_passes_only_if_it_is_listed() {
        let uses = |arrows: &[(&str, &str)]| {
            let mut uses = Uses::new();
            for (from, to) in arrows {
                uses.entry((*to).to_owned()).or_default();
                uses.entry((*from).to_owned())
                    .or_default()
                    .insert((*to).to_owned());
            }
            uses
        };
        let line = uses(&[("a", "b"), ("b", "c"), ("a", "c")]);
        assert!(faults_of("x", &line).is_empty());
        let circle = uses(&[("a", "b"), ("b", "c"), ("c", "b")]);
        assert_eq!(faults_of("x", &circle).len(), 1);
        let listed = uses(&[("load", "sink"), ("sink", "load")]);
        assert!(faults_of("testkit", &listed).is_empty());
        assert_eq!(faults_of("model", &listed).len(), 1);
    }
}

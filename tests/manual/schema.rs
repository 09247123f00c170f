//! The JSON Schema of each kind, by a validator that its users have: what is sound fits, and mistakes do not.

use std::path::{Path, PathBuf};
use std::process::Output;

use skein_policy::{BUILT_IN_TEXT, Kind};
use skein_tests::helm::tools::{said, tool};
use tempfile::TempDir;

use crate::blocks::{Mark, of_pages};

/// The schema of a kind as a file.
fn schema(folder: &Path, kind: Kind) -> PathBuf {
    let mut command = std::process::Command::new(std::env::var("SKEINCTL_BIN").unwrap());
    let printed = command.args(["schema", kind.name()]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let path = folder.join(format!("{kind}.schema.json"));
    std::fs::write(&path, printed.stdout).unwrap();
    path
}

fn validate(schema: &Path, files: &[PathBuf]) -> Output {
    let mut command = tool("check-jsonschema");
    command.arg("--schemafile").arg(schema).args(files);
    command.output().unwrap()
}

/// Documents of a kind.
fn documents(text: &str) -> impl Iterator<Item = (Kind, String)> + '_ {
    let documents = text
        .split("\n---\n")
        .map(|document| format!("{document}\n"));
    documents.filter_map(|document| {
        let kind = document
            .lines()
            .find_map(|line| line.strip_prefix("kind: "))?;
        let kind = kind.split_whitespace().next().and_then(Kind::of)?;
        Some((kind, document))
    })
}

#[test]
fn every_resource_that_is_sound_fits_its_schema() {
    let folder = TempDir::new().unwrap();
    let mut texts = vec![BUILT_IN_TEXT.to_owned()];
    let policies = of_pages()
        .into_iter()
        .filter(|block| block.mark() == Some(Mark::Policy));
    texts.extend(policies.map(|block| block.text));
    for kind in Kind::ALL {
        let schema = schema(folder.path(), kind);
        let checked = tool("check-jsonschema")
            .arg("--check-metaschema")
            .arg(&schema)
            .output()
            .unwrap();
        assert!(checked.status.success(), "{kind}: {}", said(&checked));
        let of_kind = texts.iter().flat_map(|text| documents(text));
        let of_kind = of_kind.filter(|(of, _)| *of == kind);
        let files: Vec<PathBuf> = of_kind
            .enumerate()
            .map(|(nth, (_, text))| {
                let path = folder.path().join(format!("{kind}-{nth}.yaml"));
                std::fs::write(&path, text).unwrap();
                path
            })
            .collect();
        assert!(!files.is_empty(), "the manual has no {kind}");
        let checked = validate(&schema, &files);
        assert!(checked.status.success(), "{kind}: {}", said(&checked));
    }
}

#[test]
fn mistakes_do_not_fit() {
    let folder = TempDir::new().unwrap();
    let ip = "kind: ip\nname: a\nbind: 192.0.2.1\nehlo: a.example\n";
    for (nth, (kind, text, says)) in [
        (Kind::Ip, ip.replace("bind", "bid"), "bid"),
        (Kind::Ip, ip.replace("ehlo: a.example\n", ""), "ehlo"),
        (Kind::Ip, format!("{ip}state: sleeping\n"), "sleeping"),
        (Kind::Ip, ip.replace("kind: ip", "kind: pool"), "kind"),
        (Kind::Pool, "kind: pool\nname: p\n".to_owned(), "members"),
        (
            Kind::Pool,
            "kind: pool\nname: p\nmembers: [{ip: a, weight: 0}]\n".to_owned(),
            "weight",
        ),
        (
            Kind::Provider,
            "kind: provider\nname: p\nmx: [.p.test]\ntls: maybe\n".to_owned(),
            "tls",
        ),
        (
            Kind::Provider,
            "kind: provider\nname: p\nper_ip: {connections: 1.5}\n".to_owned(),
            "connections",
        ),
        (
            Kind::Provider,
            "kind: provider\nname: p\nper_ip: [5]\n".to_owned(),
            "per_ip",
        ),
        (
            Kind::Route,
            "kind: route\nname: r\nheader: perhaps\n".to_owned(),
            "header",
        ),
        (
            Kind::Tenant,
            "kind: tenant\nname: t\nlimits: {conections: 5}\n".to_owned(),
            "conections",
        ),
        (
            Kind::Inbound,
            "kind: inbound\nname: i\ndomains: [a.test]\naddresses: [{address: x, lmpt: h}]\n"
                .to_owned(),
            "lmpt",
        ),
        (
            Kind::Warmup,
            "kind: warmup\nname: w\nips: [a]\nproviders: {google: 101}\n".to_owned(),
            "google",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = schema(folder.path(), kind);
        let path = folder.path().join(format!("bad-{nth}.yaml"));
        std::fs::write(&path, &text).unwrap();
        let checked = validate(&schema, std::slice::from_ref(&path));
        let told = said(&checked);
        assert!(
            !checked.status.success() && told.contains(says),
            "{text}: {told}"
        );
    }
}

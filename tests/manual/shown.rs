//! Configurations that are shown are checked, and policy is applied. Only paths are others.

use std::path::PathBuf;
use std::process::Command;

use skein_tests::{Bench, dev_ca, operator, skein};

use crate::blocks::{Block, Mark, of_crates, of_pages, root};

/// Certificates for all hosts that the examples name, and places where they may write.
struct Places {
    folder: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hosts = [
            "10.0.0.1",
            "10.0.0.4",
            "mx.example.com",
            "mail.example.org",
            "customers",
            "skein-0.skein",
        ];
        let etc = folder.path().join("etc");
        dev_ca(&etc, &hosts.map(str::to_owned)).unwrap();
        std::fs::write(etc.join("shop.password"), "correct horse battery\n").unwrap();
        std::fs::write(
            etc.join("dkim.key"),
            "00112233445566778899aabbccddeeff".repeat(2),
        )
        .unwrap();
        Self { folder }
    }

    fn text(&self, text: &str) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        text.replace("/etc/skein", &at("etc"))
            .replace("/var/lib/skein", &at("data"))
    }

    /// Says that a configuration has neither mistakes nor warnings.
    fn check(&self, place: &str, text: &str) {
        let file = self.folder.path().join("checked.toml");
        std::fs::write(&file, self.text(text)).unwrap();
        let mut command = Command::new(skein().unwrap());
        let checked = command
            .args(["config", "check", "--strict"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        let wrong = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{place}: {said}{wrong}");
        assert!(said.contains("no errors"), "{place}: {said}");
    }
}

/// What a block adds to stands in the block that is the last of its file with this role.
fn whole(blocks: &[Block], nth: usize) -> String {
    let block = &blocks[nth];
    let Some(Mark::Config(role)) = block.mark() else {
        panic!("{}: a configuration is marked `config: ROLE`", block.place);
    };
    let Some(role) = role.strip_prefix("after the ") else {
        let is_said = block.text.contains(&format!("role = {role:?}"));
        assert!(is_said, "{}: its role is not {role}", block.place);
        return block.text.clone();
    };
    let mut earlier = blocks[..nth].iter().rev();
    let base = earlier.find(|base| base.mark() == Some(Mark::Config(role)));
    let base = base.unwrap_or_else(|| panic!("{}: no {role} stands before it", block.place));
    format!("{}{}", base.text, block.text)
}

#[test]
fn every_configuration_that_is_shown_is_sound() {
    let (places, blocks) = (Places::new(), of_pages());
    let shown = (0..blocks.len()).filter(|nth| blocks[*nth].language == "toml");
    let mut roles = Vec::new();
    for nth in shown {
        places.check(&blocks[nth].place, &whole(&blocks, nth));
        roles.push(blocks[nth].mark.clone());
    }
    for role in ["all", "control", "sender", "egress"] {
        assert!(roles.contains(&format!("config: {role}")), "{roles:?}");
    }
}

#[test]
fn every_example_file_is_sound() {
    let places = Places::new();
    let files = root().join("deploy").read_dir().unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "toml"))
        .collect();
    for role in ["first", "single", "control", "sender", "egress"] {
        let is_there = |file: &PathBuf| file.file_stem().is_some_and(|stem| stem == role);
        assert!(files.iter().any(is_there), "there is no deploy/{role}.toml");
    }
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        places.check(&file.display().to_string(), &text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_that_is_shown_is_taken() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shown = of_pages().into_iter().chain(of_crates());
    let shown: Vec<Block> = shown
        .filter(|block| block.mark() == Some(Mark::Policy))
        .collect();
    assert!(shown.len() >= 2);
    for block in shown {
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, &block.text).unwrap();
        let file = file.to_str().unwrap();
        let apply = ["apply", "-f", file, "--dry-run"];
        for args in [&["provider", "lint", file][..], &apply, &apply[..3]] {
            let said = operator::skeinctl(bench.admin, args);
            said.unwrap_or_else(|error| panic!("{}: {error:#}", block.place));
        }
        // The next one has resources of the same names, and may leave out what this one's are about.
        let there = operator::skeinctl(bench.admin, &["policy", "get", "--json"]).unwrap();
        let there: serde_json::Value = serde_json::from_str(&there).unwrap();
        assert!(!there.is_null(), "{}", block.place);
    }
}

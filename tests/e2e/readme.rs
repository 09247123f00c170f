//! What the READMEs and `deploy/` show works as it is written: commands are run, configurations checked, policy applied.
//! Only ports and paths are others, and binaries those that were just built.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skein_testkit::process::{free_port, http_get};
use skein_tests::{Bench, dev_ca, operator, skein, until};

const SETTLES: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// A fenced block with what is said of it in the comment before it.
#[derive(Debug)]
struct Block {
    place: String,
    /// Such as `run: backup`; empty without a comment.
    mark: String,
    language: String,
    text: String,
}

fn root() -> PathBuf {
    skein_tests::manifest_dir()
        .join("..")
        .canonicalize()
        .unwrap()
}

fn blocks(file: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut found = Vec::new();
    let (mut mark, mut open) = (String::new(), None::<Block>);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(block) = &mut open {
            match line == "```" {
                true => found.extend(open.take()),
                false => block.text.push_str(&format!("{line}\n")),
            }
        } else if let Some(language) = line.strip_prefix("```") {
            open = Some(Block {
                place: format!("{}:{number}", file.display()),
                mark: std::mem::take(&mut mark),
                language: language.to_owned(),
                text: String::new(),
            });
        } else if let Some(said) = line
            .strip_prefix("<!-- ")
            .and_then(|line| line.strip_suffix(" -->"))
        {
            said.clone_into(&mut mark);
        } else if !line.is_empty() {
            mark.clear();
        }
    }
    assert!(open.is_none(), "{}: a block does not end", file.display());
    found
}

fn readme() -> Vec<Block> {
    blocks(&root().join("README.md"))
}

fn crate_readmes() -> Vec<Block> {
    let crates = root().join("crates").read_dir().unwrap();
    let files = crates.map(|entry| entry.unwrap().path().join("README.md"));
    files
        .filter(|file| file.exists())
        .flat_map(|file| blocks(&file))
        .collect()
}

fn marked<'b>(blocks: &'b [Block], mark: &str) -> &'b Block {
    let mut with = blocks.iter().filter(|block| block.mark == mark);
    let found = with
        .next()
        .unwrap_or_else(|| panic!("no block is marked {mark:?}"));
    assert!(with.next().is_none(), "{mark:?} is there twice");
    found
}

#[test]
fn every_block_is_tested_or_says_why_not() {
    let tested = ["run: first message", "run: backup", "policy"];
    for block in readme().iter().chain(&crate_readmes()) {
        let Block {
            place,
            mark,
            language,
            ..
        } = block;
        let is_drawing = language.is_empty();
        let is_tested = tested.contains(&mark.as_str()) || mark.starts_with("config: ");
        let is_excused = mark
            .strip_prefix("not run: ")
            .is_some_and(|why| why.len() > 5);
        let is_of_top = !place.contains("/crates/");
        assert!(
            is_tested || is_excused || (is_drawing && !is_of_top),
            "{place}: say in a comment before the block how it is tested, or why not; it says {mark:?}"
        );
    }
}

/// Certificates for all hosts that the examples name, and places where they may write.
struct Places {
    folder: tempfile::TempDir,
}

impl Places {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hosts = ["10.0.0.1", "10.0.0.4", "mx.example.com"];
        let etc = folder.path().join("etc");
        dev_ca(&etc, &hosts.map(str::to_owned)).unwrap();
        std::fs::write(etc.join("shop.password"), "correct horse battery\n").unwrap();
        Self { folder }
    }

    fn text(&self, text: &str) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        text.replace("/etc/skein", &at("etc"))
            .replace("/var/lib/skein", &at("data"))
            .replace("/backup", &at(""))
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

#[test]
fn every_configuration_that_is_shown_is_sound() {
    let (places, readme) = (Places::new(), readme());
    let shown: Vec<&Block> = readme
        .iter()
        .filter(|block| block.language == "toml")
        .collect();
    assert!(shown.len() >= 4, "{shown:?}");
    for block in shown {
        let role = block
            .mark
            .strip_prefix("config: ")
            .unwrap_or_else(|| panic!("{block:?}"));
        let text = match role {
            "after the sender" => {
                format!("{}{}", marked(&readme, "config: sender").text, block.text)
            }
            role => {
                assert!(
                    block.text.contains(&format!("role = {role:?}")),
                    "{block:?}"
                );
                block.text.clone()
            }
        };
        places.check(&block.place, &text);
    }
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
        places.check(
            &file.display().to_string(),
            &std::fs::read_to_string(&file).unwrap(),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_policy_that_is_shown_is_taken() {
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shown = readme().into_iter().chain(crate_readmes());
    let shown: Vec<Block> = shown.filter(|block| block.language == "yaml").collect();
    assert!(shown.len() >= 2);
    for block in shown {
        assert_eq!(block.mark, "policy", "{}", block.place);
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, &block.text).unwrap();
        let file = file.to_str().unwrap();
        for args in [&["provider", "lint", file][..], &["apply", "-f", file]] {
            let said = operator::skeinctl(bench.admin, args);
            said.unwrap_or_else(|error| panic!("{}: {error:#}", block.place));
        }
        // The next one has resources of the same names.
        let policy = operator::skeinctl(bench.admin, &["policy", "get"]).unwrap();
        assert!(policy.contains("kind: pool"), "{policy}");
    }
}

/// A shell and all that it started; ended together.
struct Shell {
    child: Child,
}

impl Shell {
    fn run(script: &str, dir: &Path, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let child = Command::new("sh")
            .args(["-e", "-u", "-c", script])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The group may have ended with its last process.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).output();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_arrives_as_the_readme_says() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let blocks = readme();
    let block = marked(&blocks, "run: first message");
    let bin = skein().unwrap().parent().unwrap().to_owned();
    let ports = [2525, 2526, 7001, 7002].map(|port: u16| (port, free_port().unwrap()));
    let with_ports = |text: &str| {
        ports.iter().fold(text.to_owned(), |text, (shown, free)| {
            text.replace(&format!("127.0.0.1:{shown}"), &format!("127.0.0.1:{free}"))
        })
    };
    let port = |shown: u16| ports.iter().find(|(one, _)| *one == shown).unwrap().1;
    let mut config =
        with_ports(&std::fs::read_to_string(root().join("deploy/first.toml")).unwrap());
    config.push_str(&format!(
        "[[smtp.listener]]\naddress = \"127.0.0.1:{}\"\n[admin]\nlisten = \"127.0.0.1:{}\"\n[http]\nlisten = \"127.0.0.1:{}\"\n",
        port(2525),
        port(7001),
        port(7002)
    ));
    std::fs::create_dir(dir.join("deploy")).unwrap();
    std::fs::write(dir.join("deploy/first.toml"), config).unwrap();

    let lines = block
        .text
        .lines()
        .filter(|line| !line.starts_with("cargo build"));
    assert_eq!(
        block.text.lines().count() - lines.clone().count(),
        1,
        "one line builds"
    );
    let script: Vec<String> = lines.map(with_ports).collect();
    let script = script
        .join("\n")
        .replace("target/release", bin.to_str().unwrap());
    let script = format!(
        "export SKEINCTL_SERVER=http://127.0.0.1:{}\n{script}\necho said all\n",
        port(7001)
    );
    let log = dir.join("terminal");
    let _shell = Shell::run(&script, dir, &log);

    let terminal = || std::fs::read_to_string(&log).unwrap_or_default();
    let arrived = until("the first message", SETTLES, LOOK, || {
        let seen = terminal();
        let is_all = [
            "mail from <me@example.com> to you@example.net arrived",
            "Subject: hello",
            "said all",
        ];
        is_all
            .iter()
            .all(|part| seen.contains(part))
            .then_some(seen)
    });
    let seen = arrived
        .await
        .unwrap_or_else(|error| panic!("{error:#}: {}", terminal()));
    assert!(seen.contains("Healthy"), "{seen}");
    let events = until("its events", SETTLES, LOOK, || {
        let events = operator::events(&dir.join("skein-data/events.jsonl")).ok()?;
        events
            .iter()
            .any(|event| event["event"] == "delivered")
            .then_some(events)
    });
    let events = events.await.unwrap();
    let id = events[0]["message_id"].as_str().unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], port(7001)));
    let shown = operator::skeinctl(admin, &["message", "show", id]).unwrap();
    assert!(shown.contains("delivered"), "{shown}");
    let http = SocketAddr::from(([127, 0, 0, 1], port(7002)));
    assert_eq!(http_get(http, "/readyz").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_and_restored_as_the_readme_says() {
    let places = Places::new();
    let (from, to) = (Bench::new().await.unwrap(), Bench::new().await.unwrap());
    let (_from, _to) = (from.start().await.unwrap(), to.start().await.unwrap());
    let blocks = readme();
    let block = marked(&blocks, "run: backup");
    let skeinctl = std::env::var("SKEINCTL_BIN").unwrap();
    let lines = block.text.lines().map(|line| {
        let server = if line.contains(" restore ") {
            to.admin
        } else {
            from.admin
        };
        let line = places.text(line).replacen("skeinctl", &skeinctl, 1);
        format!("SKEINCTL_SERVER=http://{server} {line}\n")
    });
    let script: String = lines.collect();
    assert!(script.contains("restore"), "{script}");
    let log = places.folder.path().join("terminal");
    let mut shell = Shell::run(&script, places.folder.path(), &log);
    let ended = until("the end", SETTLES, LOOK, || shell.child.try_wait().unwrap());
    let status = ended.await.unwrap();
    assert!(
        status.success(),
        "{script}{}",
        std::fs::read_to_string(&log).unwrap()
    );
}

//! Commands that are shown are typed: those of a page in their order, into one shell, at real nodes. Only ports are others.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use futures::StreamExt;
use skein_testkit::process::{ANY_ROOM, free_port};
use skein_tests::{Bench, operator, skein, until};

use crate::blocks::{Block, Mark, Stage, of_file, pages, root};

const SETTLES: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(200);
/// Pages that are typed at once: most commands wait for a node.
const AT_ONCE: usize = 3;

/// Ports of `deploy/first.toml` and its sink: SMTP, the sink's, admin, HTTP.
const PORTS: [u16; 4] = [2525, 2526, 7001, 7002];

/// A shell and all that it started; ended together.
struct Shell {
    child: Child,
    log: PathBuf,
}

impl Shell {
    fn run(script: &str, dir: &Path) -> Self {
        let log = dir.join("terminal");
        let file = std::fs::File::create(&log).unwrap();
        let bin = skein().unwrap().parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap();
        let child = Command::new("bash")
            .args(["-e", "-u", "-o", "pipefail", "-c", script])
            .env("PATH", format!("{}:{path}", bin.display()))
            .envs(ANY_ROOM)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn terminal(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// None if the last command does not end in time.
    async fn ended(&mut self) -> Option<ExitStatus> {
        let child = &mut self.child;
        let ended = until("the last command", SETTLES, LOOK, || {
            child.try_wait().unwrap()
        });
        ended.await.ok()
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

/// Puts free ports in the place of those that are shown.
fn with_ports(text: &str, ports: [u16; 4]) -> String {
    PORTS
        .iter()
        .zip(ports)
        .fold(text.to_owned(), |text, (shown, free)| {
            text.replace(&format!("127.0.0.1:{shown}"), &format!("127.0.0.1:{free}"))
        })
}

/// The configuration of the first node, which listens at other ports.
fn first_config(dir: &Path, ports: [u16; 4]) {
    let shown = std::fs::read_to_string(root().join("deploy/first.toml")).unwrap();
    let [smtp, _, admin, http] = ports;
    let config = format!(
        "{}[[smtp.listener]]\naddress = \"127.0.0.1:{smtp}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n[http]\nlisten = \
         \"127.0.0.1:{http}\"\n",
        with_ports(&shown, ports)
    );
    std::fs::create_dir(dir.join("deploy")).unwrap();
    std::fs::write(dir.join("deploy/first.toml"), config).unwrap();
}

/// Whether a line of a terminal has the parts between `...` in their order.
fn matches(line: &str, shown: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = shown
        .split("...")
        .map(squeeze)
        .filter(|part| !part.is_empty());
    let line = squeeze(line);
    let mut rest = line.as_str();
    for part in parts {
        let Some(at) = rest.find(&part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Lines that are shown as printed and were not.
fn missing<'b>(blocks: &'b [Block], terminal: &str) -> Vec<&'b str> {
    let shown = blocks
        .iter()
        .filter(|block| block.mark() == Some(Mark::Prints));
    let shown = shown.flat_map(|block| block.text.lines());
    shown
        .filter(|shown| !terminal.lines().any(|line| matches(line, shown)))
        .collect()
}

/// Nodes that commands of all pages are typed at.
struct Nodes {
    node: Bench,
    new: Bench,
    _running: [skein_testkit::process::Node; 2],
}

impl Nodes {
    async fn start() -> Self {
        let (node, new) = (Bench::new().await.unwrap(), Bench::new().await.unwrap());
        let running = [node.start().await.unwrap(), new.start().await.unwrap()];
        Self {
            node,
            new,
            _running: running,
        }
    }
}

fn ports_of(bench: &Bench) -> [u16; 4] {
    let all = [bench.smtp, bench.sink.address(), bench.admin, bench.http];
    all.map(|address| address.port())
}

fn stage(block: &Block) -> Option<Stage> {
    match block.mark() {
        Some(Mark::Run(stage)) => Some(stage),
        _ => None,
    }
}

/// What is typed of a page; nothing if it shows no commands.
fn script(blocks: &[Block], own: [u16; 4], nodes: &Nodes) -> String {
    let bin = skein().unwrap().parent().unwrap().display().to_string();
    let mut script = String::new();
    for block in blocks {
        let ports = match stage(block) {
            Some(Stage::Nothing) => own,
            Some(Stage::Node) => ports_of(&nodes.node),
            Some(Stage::NewNode) => ports_of(&nodes.new),
            None => continue,
        };
        let text = block.text.replace("target/release", &bin);
        // What builds is what built this.
        let lines = text.lines().filter(|line| !line.starts_with("cargo "));
        script.push_str(&format!(
            "export SKEINCTL_SERVER=http://127.0.0.1:{}\n{}\n",
            ports[2],
            with_ports(&lines.collect::<Vec<_>>().join("\n"), ports)
        ));
    }
    script
}

/// Types what a page shows, and returns whether it shows any commands.
///
/// # Errors
/// A command fails, or does not print what is shown.
async fn typed(page: &Path, nodes: &Nodes) -> Result<bool, String> {
    let (blocks, place) = (of_file(page), page.display());
    let own = PORTS.map(|_| free_port().unwrap());
    let script = script(&blocks, own, nodes);
    if script.is_empty() {
        return match missing(&blocks, "").is_empty() {
            true => Ok(false),
            false => Err(format!("{place} says what is printed, and runs nothing")),
        };
    }
    let folder = tempfile::tempdir().unwrap();
    first_config(folder.path(), own);
    let mut shell = Shell::run(&script, folder.path());
    let status = shell.ended().await;
    if !status.is_some_and(|status| status.success()) {
        let status = status.map_or("does not end".to_owned(), |status| status.to_string());
        return Err(format!("{place}: {status}: {script}{}", shell.terminal()));
    }
    let shown = until("what is shown as printed", SETTLES, LOOK, || {
        missing(&blocks, &shell.terminal()).is_empty().then_some(())
    });
    if shown.await.is_err() {
        let terminal = shell.terminal();
        let missing = missing(&blocks, &terminal);
        return Err(format!("{place}: {missing:#?} is not in\n{terminal}"));
    }
    if page.ends_with("README.md") {
        let admin = SocketAddr::from(([127, 0, 0, 1], own[2]));
        is_told_as_delivered(&folder.path().join("skein-data/events.jsonl"), admin).await;
    }
    Ok(true)
}

/// What the sink printed is known to the node as delivered.
async fn is_told_as_delivered(log: &Path, admin: SocketAddr) {
    let delivered = until("its event", SETTLES, LOOK, || {
        let events = operator::events(log).ok()?;
        events
            .into_iter()
            .find(|event| event["event"] == "delivered")
    });
    let delivered = delivered.await.unwrap();
    let id = delivered["message_id"].as_str().unwrap();
    let shown = operator::skeinctl(admin, &["message", "show", id]).unwrap();
    assert!(shown.contains("delivered"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_is_shown_works() {
    let nodes = Nodes::start().await;
    let (mut pages_typed, mut wrong) = (Vec::new(), Vec::new());
    let pages = pages();
    let typed = pages
        .iter()
        .map(async |page| (page, typed(page, &nodes).await));
    let mut typed = futures::stream::iter(typed).buffered(AT_ONCE);
    while let Some((page, came_of_it)) = typed.next().await {
        match came_of_it {
            Ok(true) => pages_typed.push(page.file_name().unwrap().to_string_lossy().into_owned()),
            Ok(false) => {}
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    for page in ["README.md", "quick-start.md", "operations.md"] {
        assert!(
            pages_typed.iter().any(|typed| typed == page),
            "{pages_typed:?}"
        );
    }
}

#[test]
fn a_line_may_leave_parts_open() {
    for (line, shown, expected) in [
        ("250 2.0.0 queued as 01AB", "250 ... queued as ...", true),
        ("a   b", "a b", true),
        ("a c b", "a ... b", true),
        ("b a", "a ... b", false),
        ("a", "", true),
    ] {
        assert_eq!(matches(line, shown), expected, "{line:?} {shown:?}");
    }
}

//! Commands that are shown are typed: those of a page in their order, into one shell, at real nodes. Only ports are others.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use skein_testkit::process::free_port;
use skein_tests::{Bench, operator, skein, until};

use crate::blocks::{Block, Mark, Stage, of_file, pages, root};

const SETTLES: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(200);

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

    async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let ended = until("the last command", SETTLES, LOOK, || {
            child.try_wait().unwrap()
        })
        .await;
        ended.unwrap_or_else(|error| panic!("{error:#}: {}", self.terminal()))
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

/// Types what a page shows. Returns whether it shows any commands.
async fn typed(page: &Path, nodes: &Nodes) -> bool {
    let blocks = of_file(page);
    let stage = |block: &Block| match block.mark() {
        Some(Mark::Run(stage)) => Some(stage),
        _ => None,
    };
    if !blocks.iter().any(|block| stage(block).is_some()) {
        assert_eq!(
            missing(&blocks, ""),
            Vec::<&str>::new(),
            "{page:?} runs nothing"
        );
        return false;
    }
    let folder = tempfile::tempdir().unwrap();
    let own = PORTS.map(|_| free_port().unwrap());
    first_config(folder.path(), own);
    let mut script = String::new();
    for block in &blocks {
        let ports = match stage(block) {
            Some(Stage::Nothing) => own,
            Some(Stage::Node) => ports_of(&nodes.node),
            Some(Stage::NewNode) => ports_of(&nodes.new),
            None => continue,
        };
        let bin = skein().unwrap().parent().unwrap().display().to_string();
        // What builds is what built this.
        let lines = block
            .text
            .lines()
            .filter(|line| !line.starts_with("cargo build "));
        let text = lines
            .collect::<Vec<_>>()
            .join("\n")
            .replace("target/release", &bin);
        script.push_str(&format!(
            "export SKEINCTL_SERVER=http://127.0.0.1:{}\n{}\n",
            ports[2],
            with_ports(&text, ports)
        ));
    }
    let mut shell = Shell::run(&script, folder.path());
    let status = shell.ended().await;
    let place = page.display();
    assert!(
        status.success(),
        "{place}: {status}: {script}\n{}",
        shell.terminal()
    );
    let shown = until("what is shown as printed", SETTLES, LOOK, || {
        missing(&blocks, &shell.terminal()).is_empty().then_some(())
    });
    if shown.await.is_err() {
        let terminal = shell.terminal();
        panic!(
            "{place}: {:#?} is not in\n{terminal}",
            missing(&blocks, &terminal)
        );
    }
    let terminal = shell.terminal();
    if page.ends_with("README.md") {
        arrived(&terminal, folder.path(), own);
    }
    true
}

/// The first message is the one that is known to the node as delivered.
fn arrived(terminal: &str, dir: &Path, ports: [u16; 4]) {
    assert!(terminal.contains("Subject: hello"), "{terminal}");
    let events = operator::events(&dir.join("skein-data/events.jsonl")).unwrap();
    let delivered = events
        .iter()
        .find(|event| event["event"] == "delivered")
        .unwrap();
    let id = delivered["message_id"].as_str().unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], ports[2]));
    let shown = operator::skeinctl(admin, &["message", "show", id]).unwrap();
    assert!(shown.contains("delivered"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_is_shown_works() {
    let nodes = Nodes::start().await;
    let mut pages_typed = Vec::new();
    for page in pages() {
        if typed(&page, &nodes).await {
            pages_typed.push(page.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
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

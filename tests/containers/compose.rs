//! `deploy/compose.yaml` goes up, brings messages from its port by its name server to its sink, and goes down.

use std::process::Command;
use std::time::{Duration, Instant};

use skein_testkit::process::free_port;
use skein_tests::helm::tools::{root, said, succeeds};

use crate::engine::{Engine, IMAGE, SOFT_MARK, with_engine};

const WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

struct Stack<'e> {
    engine: &'e Engine,
    port: u16,
}

impl Stack<'_> {
    fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.client("docker-compose");
        command
            .args(["--project-name", "skein", "--file"])
            .arg(root().join("deploy/compose.yaml"));
        command.args(arguments);
        command
            .env("SKEIN_IMAGE", IMAGE)
            .env("SKEIN_SMTP_PORT", self.port.to_string())
            .env("SKEIN_SOFT_MARK", SOFT_MARK);
        command
    }

    /// Looks until the command prints what is awaited.
    fn awaits(&self, awaited: &str, what: impl Fn() -> Command) -> String {
        let until = Instant::now() + WITHIN;
        loop {
            let found = said(&what().output().unwrap());
            if found.contains(awaited) {
                return found;
            }
            let logs = || said(&self.compose(&["logs", "--tail", "20"]).output().unwrap());
            assert!(
                Instant::now() < until,
                "{awaited:?} is not in\n{found}\n{}",
                logs()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

#[test]
fn compose_goes_up_and_down() {
    with_engine(|engine| {
        let port = free_port().unwrap();
        let stack = Stack { engine, port };
        succeeds(&mut stack.compose(&["up", "--detach"]));
        stack.awaits("healthy", || {
            stack.compose(&["exec", "-T", "control-1", "skeinctl", "cluster", "status"])
        });
        // Through the address of the egress node, as the policy says.
        stack.awaits("egress-1", || {
            stack.compose(&["exec", "-T", "control-1", "skeinctl", "ip", "list"])
        });
        // Made-up domains: the name server of the stack alone knows their MX.
        for to in ["you@first.test", "they@second.test"] {
            let submit = || {
                let server = format!("127.0.0.1:{port}");
                let mut swaks = Command::new("swaks");
                swaks.args(["--server", &server, "--from", "me@example.com", "--to", to]);
                swaks.args(["--body", "hello"]);
                swaks
            };
            stack.awaits("queued as", submit);
            let arrived = format!("=== mail from <me@example.com> to {to} arrived");
            stack.awaits(&arrived, || stack.compose(&["logs", "sink"]));
        }
        let began = Instant::now();
        succeeds(&mut stack.compose(&["stop"]));
        println!("stopped after {:?}", began.elapsed());
        let states = said(&stack.compose(&["ps"]).output().unwrap());
        // The sink ends when it is interrupted; a container that had to be killed has 137.
        for node in [
            "control-1",
            "control-2",
            "control-3",
            "sender-1",
            "sender-2",
            "egress-1",
        ] {
            let ended = states
                .lines()
                .any(|line| line.contains(node) && line.contains("Exit 0"));
            assert!(ended, "{node}:\n{states}");
        }
        succeeds(&mut stack.compose(&["down", "--volumes"]));
        let left = succeeds(engine.docker().args(["ps", "--all", "--quiet"]));
        assert!(left.is_empty(), "{left}");
    });
}

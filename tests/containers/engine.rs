//! A dockerd of these tests' own, and the image in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use skein_tests::helm::tools::{root, said, succeeds};
use tempfile::TempDir;

pub const IMAGE: &str = "skein:containers";
/// Builds fill the disk of a machine for tests beyond what a node likes.
pub const SOFT_MARK: &str = "91";
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Ended when dropped, with all of its containers.
pub struct Engine {
    daemon: Child,
    folder: TempDir,
}

/// One at a time: its bridges are the machine's.
static ONE: Mutex<()> = Mutex::new(());

/// The image, which is the same for all tests of a run.
fn image() -> &'static Path {
    static IMAGE_FILE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, file) = IMAGE_FILE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("skein.tar");
        let binaries = skein_tests::skein().unwrap();
        let script = root().join("deploy/image/build.sh");
        let mut build = Command::new(script);
        build.arg(binaries.parent().unwrap()).arg(&file).arg(IMAGE);
        println!("{}", succeeds(&mut build));
        (folder, file)
    });
    file
}

/// Runs with an engine that has the image.
pub fn with_engine(test: impl FnOnce(&Engine)) {
    // A test that failed has ended its engine all the same.
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let image = image();
    let engine = Engine::start();
    succeeds(
        engine
            .docker()
            .args(["load", "--quiet", "--input"])
            .arg(image),
    );
    test(&engine);
}

impl Engine {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let log = File::create(at("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.env("PATH", path());
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.arg(flag).arg(at(name));
        }
        command
            .arg("--host")
            .arg(format!("unix://{}", at("socket").display()));
        // The machine's firewall stays as it is: pods reach one another over their bridge, and ports are forwarded by a program.
        command.args(["--iptables=false", "--ip6tables=false"]);
        // No bridge but those of tests, of RFC 6598, so that no network of the machine is in the way.
        command.args([
            "--bridge=none",
            "--default-address-pool",
            "base=100.101.0.0/16,size=24",
        ]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = command.spawn().unwrap();
        let engine = Self { daemon, folder };
        let until = Instant::now() + STARTS_WITHIN;
        while !engine
            .docker()
            .arg("info")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {
            let log = || fs::read_to_string(engine.folder.path().join("log")).unwrap();
            assert!(Instant::now() < until, "dockerd does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        engine
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.folder.path().join("socket").display())
    }

    pub fn docker(&self) -> Command {
        self.client("docker")
    }

    /// A program that speaks to this engine.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_HOST", self.socket())
            .env("PATH", path());
        command
    }

    pub fn logs(&self, container: &str) -> String {
        said(
            &self
                .docker()
                .args(["logs", "--tail", "60", container])
                .output()
                .unwrap(),
        )
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let all = self.docker().args(["ps", "--all", "--quiet"]).output();
        let all = all
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            let _ = self
                .docker()
                .args(["rm", "--force"])
                .args(all)
                .stdout(Stdio::null())
                .status();
        }
        // A bridge that is left would have the addresses of the next one.
        for prune in [
            ["network", "prune", "--force"],
            ["volume", "prune", "--force"],
        ] {
            let _ = self.docker().args(prune).stdout(Stdio::null()).status();
        }
        let pid = self.daemon.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let until = Instant::now() + ENDS_WITHIN;
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.daemon.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Daemons are where only root looks.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

//! Local users: who runs a node manages it, and nobody else does.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use skein_testkit::process::http_get;
use skein_tests::{Bench, loopback};
use tempfile::TempDir;

const NOBODY: u32 = 65534;
/// Neither root nor `nobody`, and without an account.
const STRANGER: u32 = 64999;
const READY: Duration = Duration::from_secs(60);

/// Binaries where every user may run them: who built them may have them in a private folder.
struct Binaries(TempDir);

impl Binaries {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        open_to_all(folder.path());
        for variable in ["SKEIN_BIN", "SKEINCTL_BIN"] {
            let from = PathBuf::from(std::env::var(variable).unwrap());
            let to = folder.path().join(variable);
            // Linked if it can be: the daemon has hundreds of MB with its symbols.
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).unwrap();
            }
        }
        Self(folder)
    }

    fn as_user(&self, binary: &str, uid: u32) -> Command {
        let mut command = Command::new(self.0.path().join(binary));
        command.uid(uid).gid(uid).current_dir("/");
        command
    }

    fn skeinctl(&self, uid: u32, admin: SocketAddr, args: &[&str]) -> Output {
        let mut command = self.as_user("SKEINCTL_BIN", uid);
        let server = format!("http://{admin}");
        command
            .args(["--server", &server])
            .args(args)
            .output()
            .unwrap()
    }
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        println!("skipped: only root can be several users");
    }
    is_root
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_node_serves_root_and_no_other_local_user() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await.unwrap();
    let _node = bench.start().await.unwrap();
    let binaries = Binaries::new();
    for uid in [NOBODY, STRANGER] {
        for args in [
            &["status"][..],
            &["suspend", "--domain", "d.test", "--for", "1h"],
            &["policy", "get"],
            &["backup", "create", "/tmp/skein-nobody-may.bak"],
        ] {
            let output = binaries.skeinctl(uid, bench.admin, args);
            assert!(!output.status.success(), "{uid} {args:?}: {output:?}");
            assert!(
                said(&output).contains("this port serves root"),
                "{output:?}"
            );
        }
    }
    let output = binaries.skeinctl(
        0,
        bench.admin,
        &["suspend", "--domain", "d.test", "--for", "1h"],
    );
    assert!(output.status.success(), "{output:?}");
    // Who did it is who connected, not who the client says it is.
    let mut command = binaries.as_user("SKEINCTL_BIN", 0);
    let server = format!("http://{}", bench.admin);
    command
        .env("USER", "somebody-else")
        .args(["--server", &server]);
    let output = command
        .args(["suspend", "--domain", "e.test", "--for", "1h"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed = binaries.skeinctl(0, bench.admin, &["suspend", "--json"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("root (local user)") && !listed.contains("somebody-else"),
        "{listed}"
    );
}

/// A node of another user than the one that runs the tests.
struct Nobodys {
    process: Child,
    http: SocketAddr,
    folder: TempDir,
}

impl Drop for Nobodys {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nobodys {
    fn start(binaries: &Binaries, sections: &str) -> Self {
        let folder = TempDir::new().unwrap();
        open_to_all(folder.path());
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let http = loopback().unwrap();
        let file = folder.path().join("skein.toml");
        let data = folder.path().join("data");
        let text = format!("data_dir = {data:?}\nhttp.listen = \"{http}\"\n{sections}");
        fs::write(&file, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = binaries.as_user("SKEIN_BIN", NOBODY);
        command.args(["serve", "--config"]).arg(&file);
        let process = command
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        Self {
            process,
            http,
            folder,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    async fn ready(&mut self) {
        let until = tokio::time::Instant::now() + READY;
        while !matches!(http_get(self.http, "/readyz").await, Ok((200, _))) {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && tokio::time::Instant::now() < until,
                "{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_node_serves_that_user_and_root_and_keeps_its_files_to_itself() {
    if !is_root() {
        return;
    }
    let binaries = Binaries::new();
    let admin = loopback().unwrap();
    let smtp = loopback().unwrap();
    let mut node = Nobodys::start(
        &binaries,
        &format!("admin.listen = \"{admin}\"\n[[smtp.listener]]\naddress = \"{smtp}\"\n"),
    );
    node.ready().await;
    for (uid, may) in [(NOBODY, true), (0, true), (STRANGER, false)] {
        let output = binaries.skeinctl(uid, admin, &["status"]);
        assert_eq!(output.status.success(), may, "{uid}: {output:?}");
    }
    let data = node.folder.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(
                mode(&path) & 0o027,
                0,
                "{} is open to others",
                path.display()
            );
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_user_find_each_other_and_another_users_sender_is_told_why_not() {
    if !is_root() {
        return;
    }
    let apart = skein_tests::apart::Apart::new("", "").await.unwrap();
    let _control = apart.control().await.unwrap();
    let mut own = apart.sender(&[]).unwrap();
    own.ready(READY).await.unwrap();
    let binaries = Binaries::new();
    let smtp = loopback().unwrap();
    let sections = format!(
        "role = \"sender\"\n[cluster]\nname = \"nobodys\"\npeers = [\"{}\"]\n[[smtp.listener]]\naddress = \"{smtp}\"\n",
        apart.peer
    );
    let foreign = Nobodys::start(&binaries, &sections);
    let why = || {
        foreign
            .log()
            .contains("this port serves root")
            .then_some(())
    };
    skein_tests::until(
        "the reason in its log",
        READY,
        Duration::from_millis(50),
        why,
    )
    .await
    .unwrap();
    assert!(!matches!(
        http_get(foreign.http, "/readyz").await,
        Ok((200, _))
    ));
}

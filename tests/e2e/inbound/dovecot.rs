//! A real Dovecot that takes mail by LMTP: a private one, whose configuration and mailboxes are in one folder.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skein_testkit::process::free_port;
use tempfile::TempDir;

/// The user "nobody", to whom the mailboxes belong.
const NOBODY: u32 = 65534;

pub struct Dovecot {
    folder: TempDir,
    pub address: SocketAddr,
    process: Child,
}

impl Dovecot {
    /// With these users; those whose name begins with `full` have no room.
    pub async fn start(users: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let dir = folder.path();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["run", "state", "mail"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        chown(dir.join("mail"), Some(NOBODY), Some(NOBODY)).expect("these tests run as root");
        let users = users.iter().map(|user| {
            let quota = match user.starts_with("full") {
                true => "userdb_quota_rule=*:bytes=10",
                false => "",
            };
            let home = dir.join("mail").join(user);
            format!("{user}::{NOBODY}:{NOBODY}::{}::{quota}\n", home.display())
        });
        std::fs::write(dir.join("users"), users.collect::<String>()).unwrap();
        let config = format!(
            "protocols = lmtp\nbase_dir = {dir}/run\nstate_dir = {dir}/state\nlog_path = {dir}/log\n\
             listen = 127.0.0.1\nssl = no\nmail_location = maildir:~/Maildir\nfirst_valid_uid = {NOBODY}\n\
             userdb {{\n driver = passwd-file\n args = username_format=%Lu {dir}/users\n}}\n\
             passdb {{\n driver = static\n args = nopassword=y\n}}\n\
             service lmtp {{\n inet_listener lmtp {{\n address = 127.0.0.1\n port = {port}\n }}\n}}\n\
             protocol lmtp {{\n mail_plugins = quota\n}}\n\
             plugin {{\n quota = count:User quota\n quota_vsizes = yes\n}}\n",
            dir = dir.display(),
            port = address.port(),
        );
        let file = dir.join("dovecot.conf");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("/usr/sbin/dovecot")
            .arg("-F")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Dovecot is there after `cargo xtask setup --tests`");
        let dovecot = Self {
            folder,
            address,
            process,
        };
        let listens = skein_tests::until("Dovecot", Duration::from_secs(30), super::LOOK, || {
            std::net::TcpStream::connect(address).ok()
        });
        assert!(listens.await.is_ok(), "{}", dovecot.log());
        dovecot
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Every message of a user.
    pub fn mailbox(&self, user: &str) -> Vec<String> {
        let folder = self
            .folder
            .path()
            .join("mail")
            .join(user)
            .join("Maildir/new");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
            .collect()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Its children end with it, when it is asked to.
        let pid = self.process.id().to_string();
        let asked = Command::new("kill").arg(pid).status();
        drop(asked);
        drop(self.process.wait());
    }
}

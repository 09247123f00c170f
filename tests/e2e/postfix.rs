//! Postfix as the next hop: a private one, whose configuration, queue and mailbox are in one folder.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use skein_testkit::load::{Injected, Injector, InjectorConfig};
use skein_testkit::process::free_port;
use skein_tests::{Bench, Extra};
use tempfile::TempDir;

/// The user "nobody", to whom the mailbox belongs.
const NOBODY: u32 = 65534;

pub struct Postfix {
    folder: TempDir,
    pub address: SocketAddr,
}

impl Postfix {
    pub fn start() -> Self {
        Self::start_with("", |_| {})
    }

    /// `settings` are lines of main.cf, in which `DIR` is the folder; `prepare` puts files there that they name.
    pub fn start_with(settings: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let dir = folder.path();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["config", "queue", "state", "mail"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        chown(dir.join("mail"), Some(NOBODY), Some(NOBODY)).expect("these tests run as root");
        let owned = Command::new("chown")
            .arg("postfix")
            .arg(dir.join("state"))
            .status();
        assert!(owned.unwrap().success(), "run `cargo xtask setup --tests`");
        let main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {dir}/queue\ndata_directory = {dir}/state\n\
             maillog_file = {dir}/log\nmaillog_file_prefixes = {dir}\n\
             myhostname = next.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             smtputf8_enable = yes\nmessage_size_limit = 60000000\nmailbox_size_limit = 0\n\
             virtual_mailbox_limit = 0\nvirtual_mailbox_domains = next.test\n\
             virtual_mailbox_base = {dir}/mail\nvirtual_mailbox_maps = static:inbox/\n\
             virtual_uid_maps = static:{NOBODY}\nvirtual_gid_maps = static:{NOBODY}\n\
             local_header_rewrite_clients =\nsmtpd_recipient_restrictions = reject_unauth_destination\n\
             smtpd_client_connection_count_limit = 0\nalias_maps =\nalias_database =\n",
            dir = dir.display()
        );
        prepare(dir);
        let settings = settings.replace("DIR", &dir.display().to_string());
        let main = format!("{main}{settings}");
        std::fs::write(dir.join("config/main.cf"), main).unwrap();
        let services = format!("{address} inet n - n - - smtpd\n{SERVICES}");
        std::fs::write(dir.join("config/master.cf"), services).unwrap();
        let postfix = Self { folder, address };
        assert!(postfix.command("start"), "{}", postfix.log());
        postfix
    }

    fn command(&self, what: &str) -> bool {
        Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(self.folder.path().join("config"))
            .arg(what)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("Postfix is there after `cargo xtask setup --tests`")
            .success()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Every message in the mailbox; each recipient has a copy.
    pub fn mailbox(&self) -> Vec<Vec<u8>> {
        let inbox: PathBuf = self.folder.path().join("mail/inbox/new");
        read_all(&inbox)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.command("stop");
    }
}

fn read_all(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path()).ok())
        .collect()
}

const SERVICES: &str = "\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
";

#[tokio::test(flavor = "multi_thread")]
async fn postfix_gets_every_message_byte_for_byte() {
    let postfix = Postfix::start();
    let smarthost = Some(postfix.address);
    let extra = Extra {
        smarthost,
        ..Extra::default()
    };
    let bench = Bench::with(|_| Ok(extra)).await.unwrap();
    let _node = bench.start().await.unwrap();
    let given = |id: &str, body: &str| {
        let message = format!("X-Test-Id: {id}\r\n\r\n{body}");
        let to = vec!["someone@next.test".to_owned()];
        Injected::given(id, "a@sender.test", to, message.as_bytes())
    };
    let mut messages = vec![
        given("dots", ".\r\n..\r\n.a\r\n\r\n.\r\n"),
        given("empty-lines", "\r\n\r\n\r\n"),
        given("empty-body", ""),
        given("eight-bit", "gr\u{fc}n\r\n"),
        given("utf8-header", "Subject: gr\u{fc}n\r\n\r\nh\u{e9}llo\r\n"),
    ];
    for number in 0..200 {
        let to = (0..1 + number % 3).map(|n| format!("user{n}@next.test"));
        let bytes = 200 + 300 * number;
        let id = format!("many-{number}");
        messages.push(Injected::generated(
            &id,
            "a@sender.test",
            to.collect(),
            bytes,
        ));
    }
    let expected: Vec<(Vec<u8>, usize)> = messages
        .iter()
        .map(|message| {
            // A mailbox has the line ends of its system.
            let text = String::from_utf8(message.data())
                .unwrap()
                .replace("\r\n", "\n");
            (text.into_bytes(), message.recipients.len())
        })
        .collect();
    let copies: usize = expected.iter().map(|(_, copies)| copies).sum();
    let injected = Injector::new(InjectorConfig::to(bench.smtp))
        .offer(messages)
        .await;
    assert!(injected.iter().all(Injected::acked), "{injected:?}");
    for _ in 0..300 {
        if postfix.mailbox().len() >= copies {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mailbox = postfix.mailbox();
    assert_eq!(mailbox.len(), copies, "{}", postfix.log());
    for (data, copies) in &expected {
        let found = mailbox.iter().filter(|mail| mail.ends_with(data)).count();
        assert_eq!(found, *copies, "{}", String::from_utf8_lossy(data));
    }
}

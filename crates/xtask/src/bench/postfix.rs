//! A Postfix of its own: configuration, queue and log in one folder, one port on loopback.
//!
//! It is tuned as its authors suggest for relaying: as many deliveries at once to the smarthost as the node has
//! connections, process limits that bind nothing, no chroot and no address rewriting services beyond the usual.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process;
use crate::run::Result;

pub struct Postfix {
    pub smtp_port: u16,
    config: PathBuf,
}

impl Postfix {
    pub fn start(dir: &Path, smarthost_port: u16, connections: u32) -> Result<Self> {
        let smtp_port = process::free_port()?;
        let config = dir.join("postfix");
        let (queue, data, log) = (
            dir.join("queue"),
            dir.join("state"),
            dir.join("postfix.log"),
        );
        for folder in [&config, &queue, &data] {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let set_mode = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755));
        set_mode.map_err(|error| format!("{}: {error}", dir.display()))?;
        process::finish("chown", Command::new("chown").arg("postfix").arg(&data))?;
        let main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {queue}\ndata_directory = {data}\nmaillog_file = {log}\n\
             maillog_file_prefixes = {dir}\n\
             myhostname = mx.postfix.test\nmydestination =\nmynetworks = 127.0.0.0/8\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             relayhost = [127.0.0.1]:{smarthost_port}\n\
             default_process_limit = 200\n\
             default_destination_concurrency_limit = {connections}\n\
             smtp_destination_concurrency_limit = {connections}\n\
             initial_destination_concurrency = {connections}\n\
             smtpd_client_connection_count_limit = 0\nsmtpd_client_connection_rate_limit = 0\n\
             smtp_tls_security_level = none\nsmtpd_tls_security_level = none\n\
             alias_maps =\nalias_database =\n",
            queue = queue.display(),
            data = data.display(),
            log = log.display(),
            dir = dir.display(),
        );
        write(&config.join("main.cf"), &main)?;
        write(&config.join("master.cf"), &master(smtp_port))?;
        let postfix = Self { smtp_port, config };
        postfix.command("start")?;
        process::wait_until("Postfix's start", Duration::from_secs(20), || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", smtp_port)).is_ok())
        })?;
        Ok(postfix)
    }

    fn command(&self, what: &str) -> Result {
        process::finish(
            "postfix",
            Command::new("postfix")
                .arg("-c")
                .arg(&self.config)
                .arg(what)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if let Err(error) = self.command("stop") {
            eprintln!("{error}");
        }
    }
}

fn write(path: &Path, text: &str) -> Result {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The services that relaying needs, as in the stock file, without chroot.
fn master(smtp_port: u16) -> String {
    format!(
        "127.0.0.1:{smtp_port} inet n - n - - smtpd\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         flush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\n\
         showq unix n - n - - showq\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         discard unix - - n - - discard\n\
         local unix - n n - - local\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}

//! What the files of the members say.

use std::path::Path;

use anyhow::Result;

use super::{Fleet, Member};
use crate::{dev_ca, loopback};

/// A section with certificates that are good for any node on this machine.
pub fn certificates(folder: &Path, further: &str) -> Result<String> {
    let place = folder.join("ca");
    dev_ca(&place, &["node.test".to_owned()])?;
    let file = |name: &str| place.join(name);
    Ok(format!(
        "[cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n{further}\n",
        file("ca.pem"),
        file("node.test.pem"),
        file("node.test-key.pem")
    ))
}

impl Fleet {
    /// The founders.
    fn peers(&self) -> String {
        let founders = self.control.iter().take(self.plan.control);
        let peers: Vec<String> = founders.map(|one| format!("\"{}\"", one.address)).collect();
        peers.join(", ")
    }

    /// Whom nodes ask for hosts; nobody if all mail goes to one.
    fn dns_line(&self) -> String {
        match self.plan.smarthost {
            Some(_) => String::new(),
            None => format!("dns.servers = [\"{}\"]", self.dns.address()),
        }
    }

    /// `expect` is how many control nodes found the cluster; 0 for one that comes later.
    pub(super) fn control_file(&self, member: &Member, expect: usize) -> String {
        let groups = self.plan.spool_groups;
        format!(
            r#"
            role = "control"
            data_dir = "{data}"
            {dns}
            [cluster]
            listen = "{address}"
            peers = [{peers}]
            bootstrap_expect = {expect}
            {groups}
            {join}
            {tls}
            [admin]
            listen = "{admin}"
            {operators}
            [http]
            listen = "{http}"
            {sections}
            "#,
            data = member.data_dir.display(),
            dns = self.dns_line(),
            sections = self
                .plan
                .control_sections
                .replace("{dns}", &self.dns.address().to_string()),
            address = member.address,
            peers = self.peers(),
            groups = groups.map_or_else(String::new, |count| format!("spool_groups = {count}")),
            join = if self.plan.joins_uninvited {
                "join = \"auto\""
            } else {
                ""
            },
            tls = self.tls,
            admin = member.admin,
            operators = if self.plan.has_operators {
                "[admin.tls]"
            } else {
                ""
            },
            http = member.http,
        )
    }

    /// Of a node that does everything and knows of no other.
    pub(super) fn alone_file(&self, member: &Member) -> String {
        format!(
            r#"
            data_dir = "{data}"
            {dns}
            [admin]
            listen = "{admin}"
            [http]
            listen = "{http}"
            [smtp]
            hostname = "{name}.skein.test"
            relay_networks = ["127.0.0.0/8"]
            [[smtp.listener]]
            address = "{smtp}"
            [delivery]
            {hosts}
            "#,
            data = member.data_dir.display(),
            dns = self.dns_line(),
            admin = member.admin,
            http = member.http,
            name = member.name,
            smtp = member.smtp,
            hosts = self.hosts_lines(),
        )
    }

    /// Where mail goes, within `[delivery]`.
    fn hosts_lines(&self) -> String {
        match self.plan.smarthost {
            Some(host) => format!("smarthost = \"{host}\""),
            None => format!("port = {}\nallow_private_addresses = true", self.port),
        }
    }

    pub(super) fn sender_file(&self, nth: usize) -> Result<String> {
        let (member, plan) = (&self.senders[nth], &self.plan);
        let egress = match plan.smarthost {
            Some(_) => String::new(),
            None => format!("egress.listen = \"{}\"", loopback()?),
        };
        let numbered = |lines: &str| lines.replace("{n}", &(nth + 1).to_string());
        Ok(format!(
            r#"
            role = "sender"
            data_dir = "{data}"
            http.listen = "{http}"
            {dns}
            {egress}
            {top}
            [cluster]
            peers = [{peers}]
            name = "{name}"
            {tls}
            [smtp]
            hostname = "{name}.skein.test"
            relay_networks = {relay_networks}
            {smtp_lines}
            [[smtp.listener]]
            address = "{smtp}"
            [delivery]
            {hosts}
            {delivery}
            [delivery.retry]
            first = "200ms"
            cap = "1s"
            {sections}
            "#,
            data = member.data_dir.display(),
            http = member.http,
            dns = self.dns_line(),
            top = numbered(&plan.top),
            peers = self.peers(),
            name = member.name,
            tls = self.tls,
            relay_networks = plan.relay_networks,
            smtp_lines = numbered(&plan.smtp),
            smtp = member.smtp,
            hosts = self.hosts_lines(),
            delivery = numbered(&plan.delivery),
            sections = numbered(&plan.sections),
        ))
    }
}

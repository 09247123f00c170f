//! What cannot work, or is not meant, of `[smtp]`.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use ipnet::IpNet;

use super::smtp::{Kind, Listener, ListenerTls, Smtp};

/// Room for a few messages while their headers are not complete.
const MEMORY_BYTES_MIN: usize = 1 << 20;
/// RFC 4954 and the mechanisms have no larger ones in use.
const NAME_BYTES_MAX: usize = 255;
/// The files of each are read every two seconds.
const SNI_MAX: usize = 64;

impl Smtp {
    fn offers_tls(&self, listener: &Listener) -> bool {
        self.tls.certificate.is_some() && listener.tls != ListenerTls::None
    }

    pub fn check_hostname(&self) -> anyhow::Result<()> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if self.hostname.is_empty() || self.hostname.contains(is_odd) {
            bail!(
                "smtp.hostname: {:?} is not a host name, such as mx.example.com",
                self.hostname
            );
        }
        Ok(())
    }

    pub fn check(&self) -> anyhow::Result<()> {
        self.check_hostname()?;
        check_tenant("smtp.relay_tenant", &self.relay_tenant)?;
        self.check_limits()?;
        match (&self.tls.certificate, &self.tls.key) {
            (Some(_), None) => bail!("smtp.tls.certificate: belongs together with key"),
            (None, Some(_)) => bail!("smtp.tls.key: belongs together with certificate"),
            _ => {}
        }
        self.check_tls()?;
        for (key, networks) in [
            ("smtp.relay_networks", &self.relay_networks),
            ("smtp.proxy_networks", &self.proxy_networks),
        ] {
            if let Some(open) = networks
                .iter()
                .find(|net| skein_policy::network::is_open(net))
            {
                let what = match key {
                    "smtp.relay_networks" => "send mail to anywhere without a login: an open relay",
                    _ => "pass for any client, also for one that may relay",
                };
                bail!(
                    "{key}: whoever is in {open} may {what}; name your own networks, such as 10.0.0.0/8 or 192.0.2.0/24"
                );
            }
        }
        self.check_listeners()?;
        self.check_users()
    }

    fn check_tls(&self) -> anyhow::Result<()> {
        let tls = &self.tls;
        for (key, is_given) in [
            ("sni", !tls.sni.is_empty()),
            ("client_ca", tls.client_ca.is_some()),
        ] {
            ensure!(
                !is_given || tls.certificate.is_some(),
                "smtp.tls.{key}: needs smtp.tls.certificate and smtp.tls.key, which are for all other clients"
            );
        }
        ensure!(
            tls.client_revoked.is_none() || tls.client_ca.is_some(),
            "smtp.tls.client_revoked: only has a meaning with client_ca"
        );
        ensure!(
            tls.sni.len() <= SNI_MAX,
            "smtp.tls.sni: at most {SNI_MAX}; a certificate may have several names, or *.example.com"
        );
        let mut names = BTreeSet::new();
        for (nth, one) in (1..).zip(&tls.sni) {
            for name in &one.names {
                let key = format!("smtp.tls.sni[{nth}].names");
                ensure!(
                    is_server_name(name),
                    "{key}: {name:?} is no host name, such as mail.example.com or *.example.com"
                );
                ensure!(
                    names.insert(name.to_ascii_lowercase()),
                    "{key}: {name:?} is there already; one of the two certificates would never be shown for it"
                );
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> anyhow::Result<()> {
        let limits = &self.limits;
        ensure!(
            limits.line_bytes >= 512,
            "smtp.limits.line_bytes: RFC 5321 asks for at least 512"
        );
        ensure!(
            limits.recipients >= 100,
            "smtp.limits.recipients: RFC 5321 asks for at least 100"
        );
        for (key, is_zero) in [
            ("command_timeout", limits.command_timeout.is_zero()),
            ("body_timeout", limits.body_timeout.is_zero()),
            ("message_bytes", limits.message_bytes == 0),
            ("connections", limits.connections == 0),
            ("connections_per_client", limits.connections_per_client == 0),
            (
                "messages_per_connection",
                limits.messages_per_connection == 0,
            ),
            (
                "commands_per_connection",
                limits.commands_per_connection == 0,
            ),
            ("errors_per_connection", limits.errors_per_connection == 0),
        ] {
            ensure!(
                !is_zero,
                "smtp.limits.{key}: must be above zero, or no mail is taken"
            );
        }
        ensure!(
            limits.memory_bytes >= MEMORY_BYTES_MIN,
            "smtp.limits.memory_bytes: at least {MEMORY_BYTES_MIN}, such as 128MiB"
        );
        Ok(())
    }

    fn check_listeners(&self) -> anyhow::Result<()> {
        for (nth, listener) in (1..).zip(&self.listeners) {
            let needs_tls = matches!(listener.tls, ListenerTls::Starttls | ListenerTls::Implicit);
            ensure!(
                !needs_tls || self.tls.certificate.is_some(),
                "smtp.listener[{nth}].tls: {} needs smtp.tls.certificate and smtp.tls.key",
                listener.address
            );
            ensure!(
                listener.kind != Kind::Submission || self.offers_tls(listener),
                "smtp.listener[{nth}].kind: nobody can log in at {}, which is needed for submission: AUTH is offered \
                 under TLS alone; set smtp.tls.certificate and smtp.tls.key",
                listener.address
            );
        }
        Ok(())
    }

    fn check_users(&self) -> anyhow::Result<()> {
        let mut names = BTreeSet::new();
        for (nth, user) in (1..).zip(&self.users) {
            let key = format!("smtp.user[{nth}]");
            let is_name = !user.name.is_empty()
                && user.name.len() <= NAME_BYTES_MAX
                && !user.name.contains(char::is_control);
            ensure!(
                is_name,
                "{key}.name: up to {NAME_BYTES_MAX} bytes, such as \"shop\""
            );
            ensure!(
                names.insert(&user.name),
                "{key}.name: {:?} is there already; one of the two passwords would never count",
                user.name
            );
            check_tenant(&format!("{key}.tenant"), &user.tenant)?;
            user.password()?;
        }
        let any_tls = self.listeners.iter().any(|one| self.offers_tls(one));
        ensure!(
            self.users.is_empty() || any_tls,
            "smtp.user: nobody can log in: AUTH is offered under TLS alone, and no listener has it; set \
             smtp.tls.certificate and smtp.tls.key, or take the users out"
        );
        Ok(())
    }

    /// What works, and is not what was meant, most likely. `keys` are those of the file.
    pub fn warnings(&self, keys: &[String]) -> Vec<String> {
        let is_given = |key: &str| keys.iter().any(|given| given == key);
        let mut found = Vec::new();
        let local: IpNet = IpNet::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let takes_local = self.relay_networks.iter().any(|net| net.contains(&local));
        if is_given("smtp.relay_networks") && !takes_local {
            found.push(
                "smtp.relay_networks: without 127.0.0.0/8 and ::1/128, which are the default, mail from this machine is \
                 refused with 550 5.7.1"
                    .to_owned(),
            );
        }
        let mut wide = self.relay_networks.iter().chain(&self.proxy_networks);
        if let Some(net) = wide.find(|net| skein_policy::network::is_wide(net)) {
            let key = match self.relay_networks.contains(net) {
                true => "smtp.relay_networks",
                false => "smtp.proxy_networks",
            };
            found.push(format!(
                "{key}: {net} is a wide range of public addresses, all of which are trusted; name smaller ones, such as \
                 192.0.2.0/24"
            ));
        }
        if self.tls.certificate.is_some() && !self.listeners.iter().any(|one| self.offers_tls(one))
        {
            found.push("smtp.tls: has no effect, because no listener uses it".to_owned());
        }
        if self.tls.client_ca.is_some()
            && !self
                .listeners
                .iter()
                .any(|one| one.kind == Kind::Submission)
        {
            found.push(
                "smtp.tls.client_ca: has no effect, because no listener has kind = \"submission\""
                    .to_owned(),
            );
        }
        for (nth, listener) in (1..).zip(&self.listeners) {
            let has_logins = !self.users.is_empty() || self.tls.client_ca.is_some();
            if listener.kind == Kind::Submission && !has_logins {
                found.push(format!(
                    "smtp.listener[{nth}].kind: nobody can log in at {}, because there is no [[smtp.user]]",
                    listener.address
                ));
            }
        }
        if self.limits.connections_per_client > self.limits.connections
            && is_given("smtp.limits.connections_per_client")
        {
            found.push(
                "smtp.limits.connections_per_client: has no effect above smtp.limits.connections"
                    .to_owned(),
            );
        }
        found
    }
}

/// A host name in ASCII, of which the first label may be a star.
fn is_server_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    rest.len() <= 253 && rest.split('.').all(is_label)
}

fn check_tenant(key: &str, name: &str) -> anyhow::Result<()> {
    ensure!(
        skein_model::meta::is_tenant_name(name),
        "{key}: {name:?} is no tenant's name; use up to 64 letters, digits, dots, - and _, such as \"acme-1\""
    );
    Ok(())
}

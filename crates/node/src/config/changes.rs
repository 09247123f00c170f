//! What a running node makes of other settings.

use std::collections::BTreeMap;

use anyhow::Context;
use toml::{Table, Value};

use super::reloadable::{AtHangUp, KEYS};
use super::sources::Sources;
use super::{Config, secrets};

/// The settings that a process goes by.
#[derive(Debug, Clone)]
pub struct InUse {
    pub config: Config,
    /// The passwords that keys of the configuration give or name files of, as they were read, and the ids of key-encryption keys: a
    /// file that holds another one is a change of its key.
    passwords: BTreeMap<&'static str, Vec<Option<String>>>,
}

/// What has changed.
#[derive(Debug)]
pub struct Changes {
    pub taken_over: Vec<&'static str>,
    /// Keys, each with the reason.
    pub need_restart: Vec<(&'static str, &'static str)>,
    /// The process goes by this from here on.
    pub next: InUse,
}

impl InUse {
    /// # Errors
    /// A file with a password or a key cannot be read.
    pub fn of(config: Config) -> anyhow::Result<Self> {
        if !config.role.sends() {
            let passwords = BTreeMap::new();
            return Ok(Self { config, passwords });
        }
        let users = config.smtp.users.iter();
        let users = users.map(|user| user.password().map(Some));
        let routes = config.delivery.routes.iter().map(|route| {
            let (given, file) = (route.password.as_ref(), route.password_file.as_ref());
            secrets::password(given, file).context("delivery.route")
        });
        let [key, previous_key] = config.dkim.key_ids()?;
        let passwords = BTreeMap::from([
            ("dkim.key_file", vec![key]),
            ("dkim.previous_key_file", vec![previous_key]),
            ("smtp.user", users.collect::<anyhow::Result<_>>()?),
            ("delivery.route", routes.collect::<anyhow::Result<_>>()?),
        ]);
        Ok(Self { config, passwords })
    }

    /// # Errors
    /// What can be taken over does not go with what stays as it is.
    pub fn changed_to(&self, new: &Self) -> anyhow::Result<Changes> {
        let (mut next, wanted) = (self.config.shown(true)?, new.config.shown(true)?);
        let (mut taken_over, mut need_restart) = (Vec::new(), Vec::new());
        for (key, at) in KEYS {
            let is_same = value_of(&next, key) == value_of(&wanted, key)
                && self.passwords.get(key) == new.passwords.get(key);
            match at {
                _ if is_same => {}
                AtHangUp::TakenOver => {
                    set(&mut next, key, value_of(&wanted, key).cloned());
                    taken_over.push(key);
                }
                AtHangUp::NeedsRestart(why) => need_restart.push((key, why)),
            }
        }
        let text = toml::to_string(&next)?;
        let read = Config::of(&Sources {
            text,
            ..Sources::default()
        });
        let config = match read {
            Ok(read) => read.config,
            // Its lines are of no file.
            Err(error) => {
                let root = error.root_cause();
                anyhow::bail!(
                    "{root}: as long as the settings stay that need a restart; restart the node"
                );
            }
        };
        let passwords = new.passwords.clone();
        Ok(Changes {
            taken_over,
            need_restart,
            next: Self { config, passwords },
        })
    }
}

fn value_of<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => value_of(table.get(section)?.as_table()?, rest),
    }
}

fn set(table: &mut Table, key: &str, value: Option<Value>) {
    match key.split_once('.') {
        None => {
            match value {
                Some(value) => table.insert(key.to_owned(), value),
                None => table.remove(key),
            };
        }
        Some((section, rest)) => {
            let section = table.entry(section);
            let section = section.or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                set(section, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const TLS: &str = "[smtp.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";

    fn in_use(text: &str) -> InUse {
        InUse::of(Config::parse(text).unwrap()).unwrap()
    }

    fn changed(one: &InUse, other: &InUse) -> (Vec<&'static str>, Vec<&'static str>) {
        let changes = one.changed_to(other).unwrap();
        let need_restart = changes.need_restart.into_iter().map(|(key, _)| key);
        (changes.taken_over, need_restart.collect())
    }

    #[test]
    fn each_key_that_differs_is_named_whichever_side_has_it() {
        let one =
            in_use("[log]\nlevel = \"debug\"\n[[smtp.listener]]\naddress = \"127.0.0.1:1\"\n");
        let other = in_use(
            "[[smtp.listener]]\naddress = \"127.0.0.1:2\"\n[cluster]\nname = \"n\"\n[admin.tls]\ncertificate = \"c\"\n\
             key = \"k\"\nclient_ca = \"a\"\n[telemetry.tenants]\n\"a.b\" = 1.0\n",
        );
        let expected = (
            vec!["log.level", "telemetry.tenants"],
            vec!["cluster.name", "smtp.listener", "admin.tls"],
        );
        for (one, other) in [(&one, &other), (&other, &one)] {
            assert_eq!(changed(one, other), expected);
        }
        assert_eq!(changed(&one, &one), (vec![], vec![]));
    }

    #[test]
    fn what_can_be_taken_over_is_and_all_else_stays() {
        let old = "[smtp]\nhostname = \"a.test\"\nrelay_networks = []\n[delivery]\nsmarthost = \"h:25\"\nport = 26\n";
        let new = "[smtp]\nhostname = \"b.test\"\nrelay_networks = [\"10.0.0.0/8\"]\n[[smtp.user]]\nname = \"u\"\n\
                   password = \"p$$w\"\n[delivery]\nport = 27\n[[delivery.route]]\ndomains = [\"*\"]\nhosts = [\"i\"]\n";
        let [old, new] = [old, new].map(|text| in_use(&format!("{text}{TLS}")));
        let changes = old.changed_to(&new).unwrap();
        let Config { smtp, delivery, .. } = &changes.next.config;
        assert_eq!((smtp.hostname.as_str(), delivery.port), ("a.test", 26));
        assert_eq!(smtp.relay_networks.len(), 1);
        assert_eq!(smtp.users[0].password().unwrap(), "p$w");
        assert_eq!(
            (delivery.smarthost.as_deref(), delivery.routes.len()),
            (None, 1)
        );
        // What needs a restart is told again, the rest is done.
        let expected = (vec![], vec!["smtp.hostname", "delivery.port"]);
        assert_eq!(changed(&changes.next, &new), expected);
    }

    #[test]
    fn a_file_that_holds_another_password_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let path = file.display();
        let text = format!(
            "{TLS}[[smtp.user]]\nname = \"u\"\npassword_file = \"{path}\"\n[[delivery.route]]\ndomains = [\"*\"]\n\
             hosts = [\"h\"]\nuser = \"u\"\npassword_file = \"{path}\"\n"
        );
        std::fs::write(&file, "one\n").unwrap();
        let one = in_use(&text);
        assert_eq!(changed(&one, &in_use(&text)).0.len(), 0);
        std::fs::write(&file, "other\n").unwrap();
        let other = in_use(&text);
        assert_eq!(changed(&one, &other).0, ["smtp.user", "delivery.route"]);
    }

    #[test]
    fn what_does_not_go_with_settings_that_stay_changes_nothing() {
        let old =
            in_use("[smtp.tls]\ncertificate = \"c\"\nkey = \"k\"\n[storage]\nsoft_mark = 80\n");
        let new = in_use(
            "role = \"egress\"\n[cluster]\npeers = [\"127.0.0.1:7000\"]\n[egress]\nlisten = \"127.0.0.1:7003\"\n[smtp.limits]\nrecipients = 0\n",
        );
        let said = old.changed_to(&new).unwrap_err().to_string();
        assert!(
            said.contains("smtp.limits") && said.contains("restart"),
            "{said}"
        );
    }
}

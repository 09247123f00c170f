//! What the author of a file that cannot be read may have meant.

use skein_policy::nearest;

use super::Config;

/// Keys that have no default, and so are not among those of the default configuration.
pub const WITHOUT_DEFAULT: [&str; 39] = [
    "admin.tls",
    "admin.tls.certificate",
    "admin.tls.client_ca",
    "admin.tls.key",
    "cluster.address",
    "cluster.bootstrap_expect",
    "cluster.listen",
    "cluster.name",
    "cluster.spool_groups",
    "cluster.tls",
    "cluster.tls.ca",
    "cluster.tls.certificate",
    "cluster.tls.key",
    "delivery.scratch_dir",
    "delivery.smarthost",
    "delivery.source_address",
    "delivery.tls_ca",
    "dkim.key_file",
    "dkim.previous_key_file",
    "dkim.report_address",
    "dkim.return_path_host",
    "dkim.tracking_host",
    "dkim.zone",
    "egress.address",
    "egress.listen",
    "events.path",
    "smtp.tls.certificate",
    "smtp.tls.client_ca",
    "smtp.tls.client_revoked",
    "smtp.tls.key",
    "smtp.tls.sni.certificate",
    "smtp.tls.sni.key",
    "smtp.tls.sni.names",
    "smtp.user.name",
    "smtp.user.password",
    "smtp.user.tenant",
    "tls_reports.contact",
    "tls_reports.from",
    "tls_reports.organization",
];

/// Of `unknown field \`hostnam\`, expected one of \`hostname\`, ...`.
pub fn meant(message: &str) -> Option<String> {
    let is_key = message.starts_with("unknown field");
    if !is_key && !message.starts_with("unknown variant") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let written = quoted.next()?;
    if let Some(name) = nearest(written, quoted) {
        return Some(format!("did you mean `{name}`?"));
    }
    let elsewhere = is_key
        .then(|| elsewhere(written))
        .filter(|keys| !keys.is_empty())?;
    Some(format!("`{written}` is a key of {}", elsewhere.join(", ")))
}

/// The sections that have such a key.
fn elsewhere(written: &str) -> Vec<String> {
    let keys = Config::default().keys();
    let sections = keys.iter().filter_map(|key| {
        let (section, name) = key.rsplit_once('.')?;
        (name == written).then(|| format!("[{section}]"))
    });
    let mut sections: Vec<String> = sections.collect();
    sections.sort();
    sections.dedup();
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_keys_in_the_wrong_section_are_told() {
        for (text, hint) in [
            ("[smtp]\nhostnam = \"x\"", "did you mean `hostname`?"),
            ("[smpt]\nhostname = \"x\"", "did you mean `smtp`?"),
            ("role = \"sendr\"", "did you mean `sender`?"),
            (
                "[smtp]\nsmarthost = \"x\"",
                "`smarthost` is a key of [delivery]",
            ),
            (
                "[delivery]\nlisten = \"x\"",
                "`listen` is a key of [admin], [cluster], [egress], [http]",
            ),
            (
                "[[smtp.listener]]\nadress = \"x\"",
                "did you mean `address`?",
            ),
            (
                "[delivery.retry]\nmax-age = \"5d\"",
                "did you mean `max_age`?",
            ),
        ] {
            let said = format!("{:#}", Config::parse(text).expect_err(text));
            assert!(said.ends_with(hint), "{text}: {said}");
        }
        let error = Config::parse("[smtp]\nnonsense = 1").expect_err("no such key");
        assert!(!error.to_string().contains("did you mean"));
    }
}

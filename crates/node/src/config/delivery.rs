//! `[delivery]`: where mail goes, how connections are made, and when it is tried again.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use skein_model::retry::RetryPolicy;
use skein_sender::{
    DomainPattern, HOSTS_MAX, HopPolicy, Login, LoginSecret, Mechanism, RouteHost, RouteRule,
    Rules, Secret, TlsPolicy,
};

use super::secrets;

/// Longest user name or password in bytes; tokens of some providers have several hundred.
const LOGIN_BYTES_MAX: usize = 1024;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// `host:port`; everything that has no route goes there, without an MX lookup. A route for `*` says more.
    pub smarthost: Option<String>,
    /// Port of MX hosts, and of hosts of routes that name none.
    pub port: u16,
    /// Whether MX records may lead to loopback and private addresses.
    pub allow_private_addresses: bool,
    /// Addresses at which this system takes mail and which it does not know by itself, such as those of a load balancer:
    /// mail whose MX hosts lead back here bounces instead of going round. It knows its listeners, and at their ports the
    /// source IPs of the policy and the nodes that connect out for others.
    pub own_addresses: Vec<IpAddr>,
    pub tls: DeliveryTls,
    /// PEM file with certificates that are trusted beside the public authorities.
    pub tls_ca: Option<PathBuf>,
    pub source_address: Option<IpAddr>,
    pub connections_per_destination: usize,
    pub messages_per_connection: u32,
    /// Recipients of one transaction; RFC 5321 lets hosts refuse more than 100.
    pub recipients_per_transaction: usize,
    /// Tasks that the sender holds at once.
    pub window: u32,
    /// Where the sender keeps outcomes until they are reported, so that a process that is killed and started again
    /// sends nothing twice; `scratch` in the data directory unless set, nowhere if empty. It may be lost with the
    /// machine or the pod.
    pub scratch_dir: Option<PathBuf>,
    pub retry: Retry,
    #[serde(rename = "route", with = "super::values::tables")]
    pub routes: Vec<Route>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryTls {
    /// STARTTLS where it is offered, with any certificate, else in the clear.
    #[default]
    Opportunistic,
    /// STARTTLS with any certificate, or the mail waits.
    Encrypt,
    /// A certificate that is valid for the host, or the mail waits.
    Require,
    Disable,
}

impl From<DeliveryTls> for TlsPolicy {
    fn from(tls: DeliveryTls) -> Self {
        match tls {
            DeliveryTls::Opportunistic => Self::Opportunistic,
            DeliveryTls::Encrypt => Self::Encrypt,
            DeliveryTls::Require => Self::Require,
            DeliveryTls::Disable => Self::Disable,
        }
    }
}

/// What holds for some domains instead of the MX lookup and the defaults.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `example.test`, `*.example.test` for all subdomains, `*` for everything; the longest that matches decides.
    pub domains: Vec<String>,
    /// `mail.example.test:2525`, `[::1]:25`; tried in this order. With none, the domain's MX hosts are.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// `delivery.tls`, but `require` where a password is sent.
    #[serde(default)]
    pub tls: Option<DeliveryTls>,
    /// TLS from the first byte, as on port 465.
    #[serde(default)]
    pub implicit_tls: bool,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
    /// A file that holds nothing but the password, instead of it.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A file that holds nothing but an OAuth bearer token, in place of a password; another program renews it, and it is read
    /// again at each login.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// `PLAIN` or `LOGIN` with a password, `OAUTHBEARER` or `XOAUTH2` with a token; else the first of these that is offered.
    #[serde(default)]
    pub mechanism: Option<String>,
    /// Log in although the connection is not encrypted.
    #[serde(default)]
    pub allow_plaintext_auth: bool,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Route")
            .field("domains", &self.domains)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    #[serde(with = "super::values::span")]
    pub first: Duration,
    #[serde(with = "super::values::span")]
    pub cap: Duration,
    #[serde(with = "super::values::span")]
    pub max_age: Duration,
    #[serde(with = "super::values::span")]
    pub delay_notice: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            smarthost: None,
            port: 25,
            allow_private_addresses: false,
            own_addresses: Vec::new(),
            tls: DeliveryTls::Opportunistic,
            tls_ca: None,
            source_address: None,
            connections_per_destination: 20,
            messages_per_connection: 1000,
            recipients_per_transaction: 100,
            window: 1024,
            scratch_dir: None,
            retry: Retry::default(),
            routes: Vec::new(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self {
            first: minutes(5),
            cap: minutes(240),
            max_age: minutes(5 * 24 * 60),
            delay_notice: minutes(240),
        }
    }
}

impl Delivery {
    pub fn check(&self) -> anyhow::Result<()> {
        if self.retry.first.is_zero() || self.retry.cap < self.retry.first {
            bail!(
                "delivery.retry.first: must be above zero and at most cap, such as first = \"5m\", cap = \"4h\""
            );
        }
        if self.retry.max_age.is_zero() {
            bail!(
                "delivery.retry.max_age: must be above zero, such as \"5d\", or no mail is tried"
            );
        }
        if self.port == 0 {
            bail!("delivery.port: from 1 to 65535; hosts take mail at 25");
        }
        if self.window == 0 || self.window > 16_384 {
            bail!("delivery.window: must be from 1 to 16384");
        }
        if self.connections_per_destination == 0 {
            bail!("delivery.connections_per_destination: must be above zero");
        }
        if self.messages_per_connection == 0 {
            bail!("delivery.messages_per_connection: must be above zero");
        }
        if self.recipients_per_transaction == 0 {
            bail!("delivery.recipients_per_transaction: must be above zero");
        }
        self.rules()?;
        Ok(())
    }

    /// What works, and is not what was meant, most likely.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.retry.max_age <= self.retry.first {
            found.push(
                "delivery.retry.max_age: is not above first, so mail that is deferred once is given up".to_owned(),
            );
        }
        if self.retry.delay_notice >= self.retry.max_age {
            found.push(
                "delivery.retry.delay_notice: is not below max_age, so nobody hears that mail is late".to_owned(),
            );
        }
        found
    }

    /// Reads what the section names.
    pub fn check_files(&self) -> anyhow::Result<()> {
        self.sender("localhost").map(|_| ())
    }

    /// The sender's configuration. `hostname` is what it says at EHLO and in DSNs.
    pub fn sender(&self, hostname: &str) -> anyhow::Result<skein_sender::Config> {
        let tls_roots = match &self.tls_ca {
            Some(path) => read_certificates(path)
                .with_context(|| format!("delivery.tls_ca: {}", path.display()))?,
            None => Vec::new(),
        };
        Ok(skein_sender::Config {
            name: hostname.to_owned(),
            hostname: hostname.to_owned(),
            routes: self.rules()?,
            port: self.port,
            retry: RetryPolicy {
                first: self.retry.first.into(),
                cap: self.retry.cap.into(),
                max_age: self.retry.max_age.into(),
                delay_notice: Some(self.retry.delay_notice.into()),
            },
            tls_roots,
            connections_max: self.connections_per_destination,
            messages_per_connection_max: self.messages_per_connection,
            window: self.window,
            source_address: self.source_address,
            ..skein_sender::Config::default()
        })
    }

    fn rules(&self) -> anyhow::Result<Rules> {
        let mut rules = Vec::new();
        for (nth, route) in (1..).zip(&self.routes) {
            let name = route.domains.first().map_or("", String::as_str);
            let rule = self.rule(route);
            // The error begins with the key.
            let rule = rule.map_err(|error| {
                anyhow!("delivery.route[{nth}].{error:#} (in the route for {name:?})")
            });
            rules.push(rule?);
        }
        if let Some(smarthost) = &self.smarthost {
            let is_there = |rule: &RouteRule| rule.domains.contains(&DomainPattern::All);
            if rules.iter().any(is_there) {
                bail!("delivery.smarthost: a delivery.route for \"*\" stands there too");
            }
            rules.push(RouteRule {
                domains: vec![DomainPattern::All],
                hosts: vec![RouteHost::parse(smarthost, self.port).context("delivery.smarthost")?],
                policy: self.policy(),
            });
        }
        Rules::new(self.policy(), rules).context("delivery.route.domains")
    }

    fn policy(&self) -> HopPolicy {
        HopPolicy {
            tls: self.tls.into(),
            ..HopPolicy::default()
        }
    }

    fn rule(&self, route: &Route) -> anyhow::Result<RouteRule> {
        ensure!(!route.domains.is_empty(), "domains: none is named");
        let domains = route.domains.iter().map(|text| DomainPattern::parse(text));
        let hosts = route
            .hosts
            .iter()
            .map(|text| RouteHost::parse(text, self.port));
        let hosts = hosts.collect::<Result<Vec<_>, _>>().context("hosts")?;
        ensure!(hosts.len() <= HOSTS_MAX, "hosts: at most {HOSTS_MAX}");
        let login = login(route)?;
        if hosts.is_empty() {
            let alone = "only has a meaning with hosts";
            ensure!(login.is_none(), "user: {alone}");
            ensure!(!route.implicit_tls, "implicit_tls: {alone}");
        }
        let needs_tls = login.as_ref().is_some_and(|login| !login.allow_plaintext);
        let default = match needs_tls {
            true => DeliveryTls::Require,
            false => self.tls,
        };
        let tls = route.tls.unwrap_or(default);
        if tls == DeliveryTls::Disable {
            ensure!(
                !route.implicit_tls,
                "implicit_tls: contradicts tls = \"disable\""
            );
            ensure!(
                !needs_tls,
                "tls: \"disable\" sends the password in the clear, which needs allow_plaintext_auth = true"
            );
        }
        let inherits_tls = hosts.is_empty() && route.tls.is_none();
        Ok(RouteRule {
            domains: domains.collect::<Result<_, _>>().context("domains")?,
            hosts,
            policy: HopPolicy {
                tls: tls.into(),
                inherits_tls,
                implicit_tls: route.implicit_tls,
                login,
                ..HopPolicy::default()
            },
        })
    }
}

fn login(route: &Route) -> anyhow::Result<Option<Login>> {
    let password = secrets::password(route.password.as_ref(), route.password_file.as_ref())?;
    let secret = match (password, &route.token_file) {
        (None, None) => None,
        (Some(_), Some(_)) => bail!("token_file: contradicts the password; leave one of them out"),
        (Some(password), None) => {
            check_login_text("password", &password)?;
            Some(LoginSecret::Password(Secret::new(password)))
        }
        (None, Some(path)) => Some(LoginSecret::TokenFile(path.clone())),
    };
    let (user, secret) = match (&route.user, secret) {
        (None, None) => {
            ensure!(
                route.mechanism.is_none(),
                "mechanism: only has a meaning with user"
            );
            return Ok(None);
        }
        (Some(user), Some(secret)) => (user, secret),
        (Some(_), None) => {
            bail!("user: user and password belong together, or user and token_file")
        }
        (None, Some(LoginSecret::Password(_))) => {
            bail!("password: user and password belong together")
        }
        (None, Some(LoginSecret::TokenFile(_))) => {
            bail!("token_file: user and token_file belong together")
        }
    };
    check_login_text("user", user)?;
    let login = Login {
        user: user.clone(),
        secret,
        mechanism: route.mechanism.as_deref().map(mechanism).transpose()?,
        allow_plaintext: route.allow_plaintext_auth,
    };
    if let LoginSecret::TokenFile(_) = &login.secret {
        ensure!(
            !user.contains(char::is_control),
            "user: must have no control characters, which would end it"
        );
    }
    ensure!(
        login.usable().next().is_some(),
        "mechanism: PLAIN and LOGIN go with password or password_file, OAUTHBEARER and XOAUTH2 with token_file"
    );
    Ok(Some(login))
}

fn check_login_text(key: &str, text: &str) -> anyhow::Result<()> {
    ensure!(!text.is_empty(), "{key}: is empty");
    ensure!(
        text.len() <= LOGIN_BYTES_MAX && !text.contains('\0'),
        "{key}: at most {LOGIN_BYTES_MAX} bytes, none of them NUL"
    );
    Ok(())
}

fn mechanism(text: &str) -> anyhow::Result<Mechanism> {
    Mechanism::parse(text).ok_or_else(|| {
        let names = Mechanism::ALL.map(Mechanism::name).join(", ");
        anyhow!("mechanism: is none of {names}")
    })
}

pub(super) fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    ensure!(!found.is_empty(), "no certificate in the file");
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn checked(text: &str) -> anyhow::Result<Delivery> {
        let delivery: Delivery = toml::from_str(text)?;
        delivery.check()?;
        Ok(delivery)
    }

    fn tls_of(text: &str, domain: &str) -> TlsPolicy {
        let rules = checked(text).unwrap().rules().unwrap();
        rules.choose(domain).policy.tls
    }

    #[test]
    fn routes_and_the_smarthost_share_one_table() {
        let text = r#"
            smarthost = "[::1]:2526"
            port = 2525
            [[route]]
            domains = ["example.test", "*.example.test"]
            hosts = ["mail.example.test", "[2001:db8::1]:26"]
            [[route]]
            domains = ["bank.test"]
            tls = "encrypt"
            [[route]]
            domains = ["direct.test"]
        "#;
        let rules = checked(text).unwrap().rules().unwrap();
        let hosts = |domain: &str| {
            let hosts = rules.choose(domain).hosts;
            hosts
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            hosts("a.example.test"),
            "mail.example.test:2525 [2001:db8::1]:26"
        );
        assert_eq!(hosts("other.test"), "[::1]:2526");
        assert_eq!(hosts("bank.test"), "", "MX with a TLS policy of its own");
        assert_eq!(rules.choose("bank.test").policy.tls, TlsPolicy::Encrypt);
        let inherits = |domain: &str| rules.choose(domain).policy.inherits_tls;
        assert!(inherits("direct.test") && !inherits("bank.test"));
        assert!(!inherits("a.example.test") && !inherits("other.test"));
    }

    #[test]
    fn a_password_goes_over_verified_tls_unless_the_route_says_otherwise() {
        let route = |more: &str| {
            format!(
                "[[route]]\ndomains = [\"*\"]\nhosts = [\"h\"]\nuser = \"u\"\npassword = \"p\"\n{more}"
            )
        };
        for (more, expected) in [
            ("", TlsPolicy::Require),
            ("tls = \"opportunistic\"", TlsPolicy::Opportunistic),
            ("allow_plaintext_auth = true", TlsPolicy::Opportunistic),
            (
                "allow_plaintext_auth = true\ntls = \"disable\"",
                TlsPolicy::Disable,
            ),
        ] {
            assert_eq!(tls_of(&route(more), "a.test"), expected, "{more}");
            // A token is worth as much as a password.
            let with_token = route(more).replace("password = \"p\"", "token_file = \"/t\"");
            assert_eq!(tls_of(&with_token, "a.test"), expected, "{more}");
        }
    }

    #[test]
    fn mistakes_in_routes_name_the_key() {
        let route = |rest: &str| format!("[[route]]\ndomains = [\"a.test\"]\n{rest}");
        for (text, parts) in [
            (
                route("hosts = [\"a:b\"]"),
                &["delivery.route[1].hosts", "\"a.test\"", "a:b"][..],
            ),
            (route("host = \"a\""), &["host"]),
            (route("user = \"u\""), &["user and password"]),
            (
                route("user = \"u\"\npassword = \"p\""),
                &["user", "with hosts"],
            ),
            (route("implicit_tls = true"), &["implicit_tls"]),
            (
                route("hosts = [\"h\"]\nimplicit_tls = true\ntls = \"disable\""),
                &["implicit_tls", "disable"],
            ),
            (
                route("hosts = [\"h\"]\nuser = \"u\"\npassword = \"p\"\ntls = \"disable\""),
                &["allow_plaintext_auth"],
            ),
            (
                route("hosts = [\"h\"]\nuser = \"u\"\npassword = \"p\"\ntoken_file = \"t\""),
                &["token_file", "contradicts the password"],
            ),
            (
                route("hosts = [\"h\"]\ntoken_file = \"t\""),
                &["user and token_file belong together"],
            ),
            (
                route("hosts = [\"h\"]\nmechanism = \"PLAIN\""),
                &["mechanism", "with user"],
            ),
            (
                route("hosts = [\"h\"]\nuser = \"u\"\npassword = \"p\"\nmechanism = \"CRAM-MD5\""),
                &["mechanism", "none of PLAIN, LOGIN, OAUTHBEARER, XOAUTH2"],
            ),
            (
                route("hosts = [\"h\"]\nuser = \"u\"\npassword = \"p\"\nmechanism = \"XOAUTH2\""),
                &["mechanism", "XOAUTH2 with token_file"],
            ),
            (
                route("hosts = [\"h\"]\nuser = \"u\"\ntoken_file = \"t\"\nmechanism = \"plain\""),
                &["mechanism", "PLAIN and LOGIN go with password"],
            ),
            (route("tls = \"maybe\""), &["tls", "maybe"]),
            (
                "[[route]]\ndomains = [\"a b\"]".into(),
                &["delivery.route[1].domains", "a b"],
            ),
            ("[[route]]\ndomains = []".into(), &["domains"]),
            (
                "[[route]]\ndomains = [\"a.test\", \"A.test\"]".into(),
                &["delivery.route.domains", "a.test has two routes"],
            ),
            (
                "smarthost = \"h\"\n[[route]]\ndomains = [\"*\"]\nhosts = [\"i\"]".into(),
                &["delivery.smarthost", "\"*\""],
            ),
            ("smarthost = \"h:\"".into(), &["delivery.smarthost", "h:"]),
        ] {
            let error = format!("{:#}", checked(&text).unwrap_err());
            for part in parts {
                assert!(error.contains(part), "{text:?} gave {error:?}");
            }
        }
    }

    #[test]
    fn passwords_do_not_show_in_debug_output() {
        let text =
            "[[route]]\ndomains = [\"*\"]\nhosts = [\"h\"]\nuser = \"u\"\npassword = \"hunter2\"";
        let delivery = checked(text).unwrap();
        let shown = format!("{delivery:?} {:?}", delivery.sender("mx.test").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

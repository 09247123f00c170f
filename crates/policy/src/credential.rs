//! Credentials: what lets clients hand in mail, and whose mail that is; and tokens of those who manage the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use skein_credential::{Cost, Verifier};

use crate::intake::IntakeRates;
use crate::names::resource_name;
use crate::network;
use crate::place::{At, Kind, Place, Problem};
use crate::read::{Keys, Reader, problem};
use crate::write::Map;

/// The one in use and the one that comes after it.
const SECRETS_MAX: usize = 2;
/// More ranges than the hosts of one customer have.
const NETWORKS_MAX: usize = 256;
/// RFC 4616 allows 255.
const USER_BYTES_MAX: usize = 255;
/// A certificate and the one that comes after it, of a few programs of one customer.
const CERTIFICATES_MAX: usize = 16;
/// A host name has 253 octets at most, a common name 64 (RFC 5280 appendix A.1).
const CERTIFICATE_BYTES_MAX: usize = 255;

/// What the holder of a token may do at the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRole {
    /// Everything.
    Admin,
    /// Whatever is about mail and nodes, without policy, members and backups.
    Operator,
    /// Look at everything but secrets.
    Viewer,
    /// Look at the mail of the tenant.
    Tenant,
}

impl TokenRole {
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Viewer, Self::Tenant];

    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Tenant => "tenant",
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| "must be admin, operator, viewer or tenant".into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub name: Arc<str>,
    /// Whose mail it is; empty for a token of a role that is not about one tenant.
    pub tenant: Arc<str>,
    /// It is a token for the admin API, and lets nobody hand in mail.
    pub role: Option<TokenRole>,
    /// What its holder calls itself at a login.
    pub user: String,
    /// Any of these lets in.
    pub secrets: Vec<Verifier>,
    /// Who shows a client certificate with one of these names needs no login. Without them and secrets, hosts of its networks
    /// need none.
    pub certificates: Vec<String>,
    /// Where it is good; empty: everywhere.
    pub networks: Vec<IpNet>,
    /// At which it lets mail in, over all nodes, beside those of its tenant.
    pub rates: IntakeRates,
    /// From then on it lets nobody in.
    pub expires: Option<Timestamp>,
}

/// What the checks of all credentials against each other name.
#[derive(Debug, Clone)]
pub(crate) struct CredentialGiven {
    pub credential: Arc<Credential>,
    user: At<String>,
    certificates: Vec<At<String>>,
    networks: Vec<At<IpNet>>,
}

impl Credential {
    /// Whether hosts need no login.
    pub fn is_network(&self) -> bool {
        self.secrets.is_empty() && self.certificates.is_empty() && self.role.is_none()
    }

    /// `at`: in milliseconds since 1970.
    pub fn has_expired(&self, at_ms: u64) -> bool {
        let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
        self.expires
            .is_some_and(|expires| expires.as_millisecond() <= at_ms)
    }

    /// Whether it is good for a client with this address.
    pub fn is_good_from(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|net| net.contains(&client))
    }
}

impl CredentialGiven {
    pub(crate) fn read(reader: &mut Reader, keys: &mut Keys<'_>) -> Option<Self> {
        let role = keys
            .value(reader, "role", TokenRole::read)
            .map(|role| role.value);
        let manages = role.is_some_and(|role| role != TokenRole::Tenant);
        let tenant = keys.value(reader, "tenant", resource_name);
        if !manages && !keys.has("tenant") {
            reader.fault(keys.line, "tenant", "is missing: give it");
        }
        let user = keys.value(reader, "user", user_name);
        let secrets = keys.list(reader, "secret", SECRETS_MAX, |text| {
            text.parse::<Verifier>().map_err(|error| error.to_string())
        });
        let certificates = keys.list(reader, "certificate", CERTIFICATES_MAX, certificate_name);
        let networks = keys.list(reader, "networks", NETWORKS_MAX, own_network);
        let rates = IntakeRates::read(reader, keys);
        let expires = keys.value(reader, "expires", |text| {
            text.parse::<Timestamp>()
                .map_err(|_| "must be a time such as 2027-01-31T00:00:00Z".to_owned())
        });
        let (secrets, networks) = (secrets.unwrap_or_default(), networks.unwrap_or_default());
        let certificates = certificates.unwrap_or_default();
        let has_certificates = keys.has("certificate") && !keys.is_empty_list("certificate");
        let has_networks = keys.has("networks") && !keys.is_empty_list("networks");
        if !keys.has("secret") && !has_certificates && !has_networks {
            let message = "lets nobody in: give secret (skeinctl credential create makes one), certificate, or networks whose \
                           hosts need no login";
            reader.fault(keys.line, "", message);
        }
        if let Some(line) = keys.line_of("user").filter(|_| !keys.has("secret")) {
            reader.fault(
                line,
                "user",
                "goes with secret: hosts of networks need no login",
            );
        }
        if role.is_some() {
            token_faults(reader, keys, manages);
            let slow = secrets
                .iter()
                .find(|secret| secret.value.cost() != Cost::Instant);
            if let Some(slow) = slow {
                let message =
                    "of a token is one that was made: whoever calls would have passwords hashed";
                reader.fault(slow.origin.place.line, "secret", message);
            }
        }
        let name = Arc::clone(&reader.name);
        let user = user.unwrap_or_else(|| At {
            value: name.to_string(),
            origin: Arc::new(reader.origin(keys.line, "")),
        });
        let credential = Credential {
            name,
            tenant: match tenant {
                Some(tenant) => tenant.value.into(),
                None if manages => "".into(),
                None => return None,
            },
            role,
            user: user.value.clone(),
            secrets: secrets.into_iter().map(|secret| secret.value).collect(),
            certificates: certificates.iter().map(|name| name.value.clone()).collect(),
            networks: networks.iter().map(|network| network.value).collect(),
            rates,
            expires: expires.map(|expires| expires.value),
        };
        Some(Self {
            credential: Arc::new(credential),
            user,
            certificates,
            networks,
        })
    }

    pub(crate) fn write(&self, map: Map) -> Map {
        NewCredential::of(&self.credential).write(map)
    }
}

/// A credential as it is to be written, before anybody has looked whether it is sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewCredential {
    pub name: String,
    /// Empty: none, for a token of a role that is not about one tenant.
    pub tenant: String,
    pub role: Option<TokenRole>,
    /// None: the name.
    pub user: Option<String>,
    pub secrets: Vec<String>,
    pub certificates: Vec<String>,
    pub networks: Vec<String>,
    pub rates: IntakeRates,
    pub expires: Option<String>,
}

impl NewCredential {
    pub fn of(credential: &Credential) -> Self {
        let Credential {
            name,
            tenant,
            role,
            user,
            secrets,
            certificates,
            networks,
            rates,
            expires,
        } = credential;
        Self {
            name: name.to_string(),
            tenant: tenant.to_string(),
            role: *role,
            user: (*user != **name).then(|| user.clone()),
            secrets: secrets.iter().map(ToString::to_string).collect(),
            certificates: certificates.clone(),
            networks: networks.iter().map(ToString::to_string).collect(),
            rates: rates.clone(),
            expires: expires.map(|expires| expires.to_string()),
        }
    }

    /// The resource as YAML.
    pub fn text(&self) -> String {
        self.write(Map::of(Kind::Credential, &self.name)).text()
    }

    fn write(&self, map: Map) -> Map {
        map.set_if("tenant", (!self.tenant.is_empty()).then_some(&self.tenant))
            .set_if("role", self.role.map(TokenRole::name))
            .set_if("user", self.user.as_ref())
            .list("secret", &self.secrets)
            .list("certificate", &self.certificates)
            .list("networks", &self.networks)
            .map("rates", self.rates.write())
            .set_if("expires", self.expires.as_ref())
    }
}

/// Who holds which credential.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials {
    by_user: BTreeMap<String, Arc<Credential>>,
    by_certificate: BTreeMap<String, Arc<Credential>>,
    /// Those whose hosts need no login, by the length of the prefix.
    by_network: BTreeMap<u8, BTreeMap<IpNet, Arc<Credential>>>,
    /// The first by name whose holder may log in by SCRAM.
    scram: Option<Arc<Credential>>,
}

impl Credentials {
    /// Two may not have one user, nor one name of a certificate, nor one network without a login.
    pub fn new<'a>(
        all: impl IntoIterator<Item = (&'a Place, &'a Arc<CredentialGiven>)>,
    ) -> (Self, Vec<Problem>) {
        let mut found = Self::default();
        let mut problems = Vec::new();
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(place, _)| *place);
        for (_, given) in all {
            let credential = &given.credential;
            if credential.role.is_some() {
                continue;
            }
            let mut own = BTreeSet::new();
            for at in given.certificates.iter().filter(|at| own.insert(&at.value)) {
                match found.by_certificate.get(&at.value) {
                    Some(other) => problems.push(taken(at, &at.value, other)),
                    None => {
                        let name = at.value.clone();
                        found.by_certificate.insert(name, Arc::clone(credential));
                    }
                }
            }
            let is_first = found
                .scram
                .as_ref()
                .is_none_or(|first| credential.name < first.name);
            if is_first && credential.secrets.iter().any(|one| one.scram().is_some()) {
                found.scram = Some(Arc::clone(credential));
            }
            if !credential.secrets.is_empty() {
                let user = credential.user.clone();
                match found.by_user.get(&user) {
                    Some(other) => problems.push(taken(&given.user, &user, other)),
                    None => drop(found.by_user.insert(user, Arc::clone(credential))),
                }
            }
            if !credential.is_network() {
                continue;
            }
            let mut own = BTreeSet::new();
            for at in given.networks.iter().filter(|at| own.insert(at.value)) {
                let of_length = found.by_network.entry(at.value.prefix_len()).or_default();
                match of_length.get(&at.value) {
                    Some(other) => problems.push(taken(at, &at.value.to_string(), other)),
                    None => drop(of_length.insert(at.value, Arc::clone(credential))),
                }
            }
        }
        (found, problems)
    }

    pub fn of_user(&self, user: &str) -> Option<&Arc<Credential>> {
        self.by_user.get(user)
    }

    pub fn of_certificate(&self, name: &str) -> Option<&Arc<Credential>> {
        self.by_certificate.get(name)
    }

    /// That of the smallest network that the client is in.
    pub fn of_client(&self, client: IpAddr) -> Option<&Arc<Credential>> {
        let client = client.to_canonical();
        self.by_network.iter().rev().find_map(|(length, nets)| {
            let net = IpNet::new(client, *length).ok()?;
            nets.get(&net.trunc())
        })
    }

    pub fn scram(&self) -> Option<&Arc<Credential>> {
        self.scram.as_ref()
    }

    pub fn has_users(&self) -> bool {
        !self.by_user.is_empty()
    }
}

/// What a token may not have: it has a secret that was made, and no name to log in with.
fn token_faults(reader: &mut Reader, keys: &Keys<'_>, manages: bool) {
    let mut fault = |key: &str, message: &str| {
        if let Some(line) = keys.line_of(key) {
            reader.fault(line, key, message);
        }
    };
    fault("user", "is for logins at an SMTP port: a token has none");
    fault("rates", "is for mail: a token hands none in");
    fault(
        "certificate",
        "is for SMTP ports: a certificate for the admin API names its role itself",
    );
    if manages {
        fault("tenant", "goes with role: tenant");
    }
    if !keys.has("secret") {
        let message = "needs secret: skeinctl credential create --role makes one";
        fault("role", message);
    }
}

fn taken<T>(at: &At<T>, what: &str, other: &Credential) -> Problem {
    let name = &other.name;
    let message = format!("{what} is that of credential {name:?} already: give another");
    problem(&at.origin, message)
}

fn user_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
    match (1..=USER_BYTES_MAX).contains(&text.len()) && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must have 1 to {USER_BYTES_MAX} bytes without white space, such as shop@example.com"
        )),
    }
}

/// A host name in lower case, a mail address, a URI, or a common name: one of the names that a certificate has.
fn certificate_name(text: &str) -> Result<String, String> {
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
    let has_length = (1..=CERTIFICATE_BYTES_MAX).contains(&text.len());
    match text.strip_prefix("CN=") {
        Some(name) if has_length && !name.trim().is_empty() && !name.contains(char::is_control) => {
            Ok(text.to_owned())
        }
        None if has_length && text.chars().all(is_host) => Ok(text.to_ascii_lowercase()),
        None if has_length && text.contains(['@', ':']) && text.chars().all(is_plain) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "must be a name of the certificate, of up to {CERTIFICATE_BYTES_MAX} bytes: a host such as app.example.com, an \
             address, a URI, or CN=name"
        )),
    }
}

fn own_network(text: &str) -> Result<IpNet, String> {
    let form = "must be a network such as 192.0.2.0/24, or one host such as 192.0.2.7";
    let net = match text.parse::<IpAddr>() {
        Ok(host) => IpNet::from(host),
        Err(_) => text.parse().map_err(|_| form)?,
    };
    if net.trunc() != net {
        return Err(format!("has bits beyond its length: write {}", net.trunc()));
    }
    if net.addr().to_canonical().is_ipv4() != matches!(net, IpNet::V4(_)) {
        return Err("is IPv4 written as IPv6: write it as IPv4".into());
    }
    match network::is_open(&net) {
        true => Err("has hosts of strangers: name networks of your own".into()),
        false => Ok(net),
    }
}

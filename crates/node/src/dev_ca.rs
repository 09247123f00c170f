//! `skein dev-ca`: a CA in a folder, for trying things out and for small clusters.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use jiff::{ToSpan, Zoned};
use rcgen::string::PrintableString;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{ServerName, UnixTime};
use skein_client::access::{Holder, Role};
use skein_client::tls::{self, Certificates, Revoked};

const CA_NAME: &str = "Skein development CA";
const CA_YEARS: i16 = 10;
const HOST_YEARS: i16 = 2;
const OPERATOR_BYTES_MAX: usize = 64;
/// For `skeinctl` on the machine itself and through a forwarded port.
const ALSO_NAMED: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

#[derive(Debug, Args)]
pub struct Wanted {
    /// Where the files go.
    folder: PathBuf,
    /// What other nodes call this one: a host name or an IP address. May be given several times.
    #[arg(
        long = "host",
        value_name = "NAME_OR_IP",
        required_unless_present = "operators"
    )]
    hosts: Vec<String>,
    /// What the hosts are: control, sender, egress; several with commas between. All that a node may be, unless
    /// set: the less a sender's certificate may do, the less is lost with it.
    #[arg(long = "role", value_name = "ROLES", value_delimiter = ',', default_values_t = Role::OF_NODES)]
    roles: Vec<Role>,
    /// Somebody who manages the cluster with skeinctl. May be given several times. A new CA comes with one for "operator",
    /// unless others are named.
    #[arg(long = "operator", value_name = "NAME")]
    operators: Vec<String>,
    /// What --operator may do: admin (everything), operator (mail and nodes), or viewer (look).
    #[arg(long, value_name = "ROLE", default_value_t = Role::Admin)]
    operator_role: Role,
    /// The certificate of the CA, where that is not `ca.pem` in the folder.
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// The key of the CA, where that is not `ca-key.pem` in the folder.
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// Replace certificates and keys that are there. A node reads the new ones within seconds.
    #[arg(long)]
    replace: bool,
}

pub fn run(wanted: &Wanted) -> anyhow::Result<()> {
    let made = make(wanted)?;
    if made.new_ca {
        println!(
            "A new CA is in {}; who has {} can join the cluster, so keep it away from the nodes.",
            made.ca.display(),
            made.ca_key.display()
        );
    }
    if !made.hosts.is_empty() {
        println!(
            "Each host needs {} and its own two files:",
            made.ca.display()
        );
    }
    for files in &made.hosts {
        println!(
            "\n# {}\n[cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}",
            files.name, made.ca, files.certificate, files.key
        );
    }
    for files in &made.operators {
        println!(
            "\nWith this, skeinctl manages the cluster as {}:\nexport SKEINCTL_CA={:?} SKEINCTL_CERT={:?} SKEINCTL_KEY={:?}",
            files.name, made.ca, files.certificate, files.key
        );
    }
    if made.operators.is_empty() {
        println!(
            "\nskeinctl needs a certificate of an operator: skein dev-ca {:?} --operator NAME",
            wanted.folder
        );
    }
    Ok(())
}

struct Made {
    new_ca: bool,
    ca: PathBuf,
    ca_key: PathBuf,
    hosts: Vec<Files>,
    operators: Vec<Files>,
}

/// What belongs to a host or an operator.
struct Files {
    name: String,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(folder: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}-key.pem")),
        }
    }
}

/// Names go into file names, and into lists of who did what.
fn check_operator(name: &str) -> anyhow::Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let is_name = !name.is_empty()
        && name.len() <= OPERATOR_BYTES_MAX
        && !name.starts_with(['.', '-'])
        && name.chars().all(is_plain);
    ensure!(
        is_name,
        "--operator {name:?}: use up to {OPERATOR_BYTES_MAX} letters, digits, - _ . and @"
    );
    Ok(())
}

/// Writes all files, or none where one of them exists.
fn make(wanted: &Wanted) -> anyhow::Result<Made> {
    for host in &wanted.hosts {
        ensure!(
            ServerName::try_from(host.as_str()).is_ok(),
            "--host {host:?} is not a host name or an IP address"
        );
    }
    let folder = &wanted.folder;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let (new_ca, ca_path, ca_key) = match (&wanted.ca_cert, &wanted.ca_key) {
        (Some(cert), Some(key)) => (false, cert.clone(), key.clone()),
        _ => {
            let (cert, key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
            (!cert.exists() && !key.exists(), cert, key)
        }
    };
    managers(wanted.operator_role)?;
    let mut operators = wanted.operators.clone();
    if new_ca && operators.is_empty() {
        operators.push(Role::Operator.name().to_owned());
    }
    for name in &operators {
        check_operator(name)?;
    }
    let files = |names: &[String]| -> Vec<Files> {
        let files = names.iter().map(|name| Files::of(&folder, name));
        files.collect()
    };
    let (hosts, operators) = (files(&wanted.hosts), files(&operators));
    let mut paths = BTreeSet::from([&ca_path, &ca_key]);
    for files in hosts.iter().chain(&operators) {
        for path in [&files.certificate, &files.key] {
            if path.exists() && !wanted.replace {
                bail!("{} exists; --replace makes another", path.display());
            }
            ensure!(paths.insert(path), "{} would be two files", path.display());
        }
    }
    let ca = match new_ca {
        true => Ca::new(&ca_path, &ca_key)?,
        false => Ca::read(&ca_path, &ca_key)?,
    };
    for files in &hosts {
        ca.write(files, Some(&files.name), &wanted.roles, wanted.replace)?;
    }
    for files in &operators {
        ca.write(files, None, managers(wanted.operator_role)?, wanted.replace)?;
    }
    Ok(Made {
        new_ca,
        ca: ca_path,
        ca_key,
        hosts,
        operators,
    })
}

/// The roles of a certificate for somebody who manages. Nodes of versions without admins know operators as such.
fn managers(role: Role) -> anyhow::Result<&'static [Role]> {
    match role {
        Role::Admin => Ok(&[Role::Admin, Role::Operator]),
        Role::Operator => Ok(&[Role::Operator]),
        Role::Viewer => Ok(&[Role::Viewer]),
        other => bail!("--operator-role {other}: it is admin, operator or viewer"),
    }
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(path: &Path, key_path: &Path) -> anyhow::Result<Self> {
        let common_name = DnValue::from(CA_NAME);
        let (params, key) = (ca_params(common_name)?, KeyPair::generate()?);
        let pem = params.self_signed(&key)?.pem();
        write(key_path, &key.serialize_pem(), 0o600, false)?;
        write(path, &pem, 0o644, false)?;
        let issuer = Issuer::new(params, key);
        Ok(Self { pem, issuer })
    }

    fn read(path: &Path, key_path: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        let key = KeyPair::from_pem(&read(key_path)?);
        let key = key.with_context(|| format!("reading {}", key_path.display()))?;
        let pem = read(path)?;
        let params = params_like(&pem, &key).with_context(|| format!("in {}", path.display()))?;
        let issuer = Issuer::new(params, key);
        Ok(Self { pem, issuer })
    }

    /// The key first: a process that is killed in between leaves a pair that does not fit, which a node refuses to use.
    fn write(
        &self,
        files: &Files,
        host: Option<&str>,
        roles: &[Role],
        replace: bool,
    ) -> anyhow::Result<()> {
        let (certificate, key) = self.issue(&files.name, host, roles)?;
        write(&files.key, &key.serialize_pem(), 0o600, replace)?;
        write(&files.certificate, &certificate.pem(), 0o644, replace)
    }

    /// Of a host others are clients; an operator is a client only.
    fn issue(
        &self,
        name: &str,
        host: Option<&str>,
        roles: &[Role],
    ) -> anyhow::Result<(Certificate, KeyPair)> {
        let mut names: Vec<String> = Vec::new();
        let mut usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(host) = host {
            names.push(host.to_owned());
            let further = ALSO_NAMED.iter().filter(|further| **further != host);
            names.extend(further.map(|name| (*name).to_owned()));
            usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let mut params = params(names, name, HOST_YEARS)?;
        for role in roles.iter().collect::<BTreeSet<_>>() {
            let uri = SanType::URI(role.uri().try_into()?);
            params.subject_alt_names.push(uri);
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        // A CA that something else made has another name, which only shows here.
        let chain = tls::own_chain(certificate.pem().as_bytes())?;
        let checked = Certificates {
            roots: tls::roots(self.pem.as_bytes()).context("ca.pem")?,
            own: tls::identity(chain, tls::key(key.serialize_pem().as_bytes())?)?,
            revoked: Revoked::default(),
        };
        checked
            .check(host, UnixTime::now())
            .context("certificate and key of the CA do not belong together, or are not a CA as `skein dev-ca` makes one")?;
        Ok((certificate, key))
    }
}

/// Those of a CA that has nothing but a common name. Whoever made it chose how that is encoded, and certificates are found to
/// be of it only where they say the same bytes (RFC 5280 4.1.2.4).
fn params_like(ca: &str, key: &KeyPair) -> anyhow::Result<CertificateParams> {
    let subject = |pem: &str| -> anyhow::Result<Vec<u8>> {
        let roots = tls::roots(pem.as_bytes())?;
        let first = roots.roots.first().context("no certificate is there")?;
        Ok(first.subject.to_vec())
    };
    let given = subject(ca)?;
    let chain = tls::own_chain(ca.as_bytes())?;
    let first = chain.first().context("no certificate is there")?;
    let name = Holder::of(first)?.name;
    let mut kinds = vec![DnValue::from(name.as_str())];
    kinds.extend(PrintableString::try_from(name.as_str()).map(DnValue::PrintableString));
    for kind in kinds {
        let params = ca_params(kind)?;
        if subject(&params.self_signed(key)?.pem())? == given {
            return Ok(params);
        }
    }
    bail!("the CA is called {name:?} and more; `skein dev-ca` knows those with a common name alone")
}

fn ca_params(common_name: DnValue) -> anyhow::Result<CertificateParams> {
    let mut params = params(Vec::new(), common_name, CA_YEARS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Valid since yesterday, for clocks that are behind.
fn params(
    names: Vec<String>,
    common_name: impl Into<DnValue>,
    years: i16,
) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    let now = Zoned::now();
    let day = |at: Zoned| {
        let (month, day) = (at.month().unsigned_abs(), at.day().unsigned_abs());
        rcgen::date_time_ymd(at.year().into(), month, day)
    };
    params.not_before = day(now.checked_sub(1.day())?);
    params.not_after = day(now.checked_add(years.years())?);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

/// What is replaced was there whole until then.
fn write(path: &Path, text: &str, mode: u32, replace: bool) -> anyhow::Result<()> {
    let new = match replace {
        true => path.with_extension("pem.new"),
        false => path.to_owned(),
    };
    let create = || -> io::Result<()> {
        if replace && new.exists() {
            fs::remove_file(&new)?;
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        match replace {
            true => fs::rename(&new, path),
            false => Ok(()),
        }
    };
    create().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use skein_client::access::RoleRule;

    use super::*;
    use crate::config::{PemFile, PemFiles, ShownTo};

    fn wanted(folder: &Path, hosts: &[&str], operators: &[&str]) -> Wanted {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Wanted {
            folder: folder.to_owned(),
            hosts: owned(hosts),
            roles: Role::OF_NODES.to_vec(),
            operators: owned(operators),
            operator_role: Role::Admin,
            ca_cert: None,
            ca_key: None,
            replace: false,
        }
    }

    fn made(folder: &Path, hosts: &[&str]) -> anyhow::Result<Made> {
        make(&wanted(folder, hosts, &[]))
    }

    fn holder(files: &Files) -> Holder {
        let pem = fs::read(&files.certificate).unwrap();
        Holder::of(&tls::own_chain(&pem).unwrap()[0]).unwrap()
    }

    #[test]
    fn certificates_say_what_their_holders_are() {
        let folder = tempfile::tempdir().unwrap();
        let of = |roles: &[Role]| Some(roles.iter().copied().collect::<BTreeSet<_>>());
        let first = made(folder.path(), &["a.test"]).unwrap();
        assert_eq!(holder(&first.hosts[0]).roles, of(&Role::OF_NODES));
        let operator = holder(&first.operators[0]);
        assert_eq!(
            (operator.name.as_str(), operator.roles.clone()),
            ("operator", of(&[Role::Admin, Role::Operator]))
        );
        assert!(!operator.is_host("localhost") && holder(&first.hosts[0]).is_host("localhost"));

        let mut further = wanted(folder.path(), &["s.test"], &["ann", "bob@x.test"]);
        further.roles = vec![Role::Sender];
        let further = make(&further).unwrap();
        assert_eq!(holder(&further.hosts[0]).roles, of(&[Role::Sender]));
        let names: Vec<String> = further
            .operators
            .iter()
            .map(|files| holder(files).name)
            .collect();
        assert_eq!(names, ["ann", "bob@x.test"]);
        assert!(
            made(folder.path(), &["t.test"])
                .unwrap()
                .operators
                .is_empty()
        );

        for operators in [
            &["ca"][..],
            &["a b"],
            &["../x"],
            &[""],
            &["u.test"],
            &["x", "x"],
            &[".x"],
        ] {
            let refused = make(&wanted(folder.path(), &["u.test"], operators));
            assert!(refused.is_err(), "{operators:?}");
        }
        assert!(!folder.path().join("u.test.pem").exists());
    }

    fn pem_files(made: &Made, ca: &Path, reached_as: &str) -> PemFiles {
        let file = |path: &Path| PemFile {
            setting: "cluster.tls",
            path: path.to_owned(),
        };
        PemFiles {
            port: "cluster",
            certificate: file(&made.hosts[0].certificate),
            key: file(&made.hosts[0].key),
            ca: Some(file(ca)),
            shown_to: ShownTo::Nodes {
                host: Some(reached_as.into()),
            },
            revoked: None,
            roles: RoleRule::Required,
        }
    }

    #[test]
    fn its_certificates_are_good_for_their_hosts_and_its_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        for host in ["10.0.0.1", "fd00::1", "mail-1.skein.test"] {
            let made = made(folder.path(), &[host]).unwrap();
            for reached_as in [host, "127.0.0.1", "localhost"] {
                crate::tls::load(&pem_files(&made, &made.ca, reached_as)).unwrap();
            }
            let other = crate::tls::load(&pem_files(&made, &made.ca, "10.9.9.9"));
            let error = format!("{:#}", other.err().unwrap());
            assert!(
                error.contains(host) && error.contains("cluster.tls"),
                "{error}"
            );
            for key in [&made.hosts[0].key, &made.ca_key] {
                let mode = fs::metadata(key).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
        }
    }

    #[test]
    fn nothing_is_overwritten_and_a_second_call_uses_the_first_ones_ca() {
        let folder = tempfile::tempdir().unwrap();
        assert!(made(folder.path(), &["a.test"]).unwrap().new_ca);
        let kept = fs::read(folder.path().join("a.test.pem")).unwrap();
        assert!(!made(folder.path(), &["b.test"]).unwrap().new_ca);

        let error = made(folder.path(), &["c.test", "a.test"])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("a.test.pem exists"), "{error}");
        assert!(!folder.path().join("c.test.pem").exists());
        assert_eq!(fs::read(folder.path().join("a.test.pem")).unwrap(), kept);
        assert!(made(folder.path(), &["../x"]).is_err());
    }

    #[test]
    fn a_node_gets_another_certificate_of_a_ca_elsewhere_at_each_start() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // As Go and OpenSSL encode it.
        let key = KeyPair::generate().unwrap();
        let name = PrintableString::try_from("A CA in a Secret").unwrap();
        let ca = ca_params(DnValue::PrintableString(name)).unwrap();
        let at = |name: &str| elsewhere.path().join(name);
        fs::write(at("tls.crt"), ca.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(at("tls.key"), key.serialize_pem()).unwrap();

        let mut start = wanted(folder.path(), &["pod-0.test"], &["operator"]);
        (start.ca_cert, start.ca_key) = (Some(at("tls.crt")), Some(at("tls.key")));
        start.replace = true;
        let serials: BTreeSet<String> = (0..2)
            .map(|_| {
                let made = make(&start).unwrap();
                crate::tls::load(&pem_files(&made, &at("tls.crt"), "pod-0.test")).unwrap();
                holder(&made.hosts[0]).serial.to_string()
            })
            .collect();
        assert_eq!(serials.len(), 2);
        let mut files: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort_unstable();
        let expected = [
            "operator-key.pem",
            "operator.pem",
            "pod-0.test-key.pem",
            "pod-0.test.pem",
        ];
        assert_eq!(files, expected);
    }

    #[test]
    fn a_ca_of_another_kind_is_refused() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        made(folder.path(), &["a.test"]).unwrap();
        made(elsewhere.path(), &["a.test"]).unwrap();
        let key = "ca-key.pem";
        fs::copy(elsewhere.path().join(key), folder.path().join(key)).unwrap();
        let error = made(folder.path(), &["b.test"]).err().unwrap();
        assert!(error.to_string().contains("skein dev-ca"), "{error:#}");
    }
}

//! `skein dev-ca`: a CA in a folder, for trying things out and for small clusters.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use jiff::{ToSpan, Zoned};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{ServerName, UnixTime};
use skein_client::tls::{self, Certificates};

const CA_NAME: &str = "Skein development CA";
const CA_YEARS: i16 = 10;
const HOST_YEARS: i16 = 2;
/// For `skeinctl` on the machine itself and through a forwarded port.
const ALSO_NAMED: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

pub fn run(folder: &Path, hosts: &[String]) -> anyhow::Result<()> {
    let made = make(folder, hosts)?;
    if made.new_ca {
        println!(
            "A new CA is in {}; who has {} can join the cluster, so keep it away from the nodes.",
            made.ca.display(),
            made.ca_key.display()
        );
    }
    println!(
        "Each host needs {} and its own two files:",
        made.ca.display()
    );
    for files in &made.hosts {
        println!(
            "\n# {}\n[cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}",
            files.host, made.ca, files.certificate, files.key
        );
    }
    if let Some(files) = made.hosts.first() {
        println!(
            "\nAny of them serves skeinctl too:\nexport SKEINCTL_CA={:?} SKEINCTL_CERT={:?} SKEINCTL_KEY={:?}",
            made.ca, files.certificate, files.key
        );
    }
    Ok(())
}

struct Made {
    new_ca: bool,
    ca: PathBuf,
    ca_key: PathBuf,
    hosts: Vec<HostFiles>,
}

struct HostFiles {
    host: String,
    certificate: PathBuf,
    key: PathBuf,
}

/// Writes all files, or none where one of them exists.
fn make(folder: &Path, hosts: &[String]) -> anyhow::Result<Made> {
    for host in hosts {
        ensure!(
            ServerName::try_from(host.as_str()).is_ok(),
            "--host {host:?} is not a host name or an IP address"
        );
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let (ca_path, ca_key) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
    let files: Vec<HostFiles> = hosts
        .iter()
        .map(|host| HostFiles {
            host: host.clone(),
            certificate: folder.join(format!("{host}.pem")),
            key: folder.join(format!("{host}-key.pem")),
        })
        .collect();
    for path in files
        .iter()
        .flat_map(|files| [&files.certificate, &files.key])
    {
        if path.exists() {
            bail!("{} exists; move it away to replace it", path.display());
        }
    }
    let new_ca = !ca_path.exists() && !ca_key.exists();
    let ca = match new_ca {
        true => Ca::new(&ca_path, &ca_key)?,
        false => Ca::read(&ca_path, &ca_key)?,
    };
    for files in &files {
        let (certificate, key) = ca.issue(&files.host)?;
        write(&files.certificate, &certificate.pem(), 0o644)?;
        write(&files.key, &key.serialize_pem(), 0o600)?;
    }
    Ok(Made {
        new_ca,
        ca: ca_path,
        ca_key,
        hosts: files,
    })
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(path: &Path, key_path: &Path) -> anyhow::Result<Self> {
        let (params, key) = (ca_params()?, KeyPair::generate()?);
        let pem = params.self_signed(&key)?.pem();
        write(key_path, &key.serialize_pem(), 0o600)?;
        write(path, &pem, 0o644)?;
        let issuer = Issuer::new(params, key);
        Ok(Self { pem, issuer })
    }

    fn read(path: &Path, key_path: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        let key = KeyPair::from_pem(&read(key_path)?);
        let key = key.with_context(|| format!("reading {}", key_path.display()))?;
        Ok(Self {
            pem: read(path)?,
            issuer: Issuer::new(ca_params()?, key),
        })
    }

    fn issue(&self, host: &str) -> anyhow::Result<(Certificate, KeyPair)> {
        let mut names = vec![host.to_owned()];
        names.extend(ALSO_NAMED.map(str::to_owned));
        names.dedup();
        let mut params = params(names, host, HOST_YEARS)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        // A CA that something else made has another name, which only shows here.
        let chain = tls::own_chain(certificate.pem().as_bytes())?;
        let checked = Certificates {
            roots: tls::roots(self.pem.as_bytes()).context("ca.pem")?,
            own: tls::identity(chain, tls::key(key.serialize_pem().as_bytes())?)?,
        };
        checked
            .check(Some(host), UnixTime::now())
            .context("ca.pem and ca-key.pem are not a CA that `skein dev-ca` made")?;
        Ok((certificate, key))
    }
}

fn ca_params() -> anyhow::Result<CertificateParams> {
    let mut params = params(Vec::new(), CA_NAME, CA_YEARS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Valid since yesterday, for clocks that are behind.
fn params(names: Vec<String>, common_name: &str, years: i16) -> anyhow::Result<CertificateParams> {
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

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file: File| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{PemFile, PemFiles, ShownTo};

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
        }
    }

    #[test]
    fn its_certificates_are_good_for_their_hosts_and_its_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        for host in ["10.0.0.1", "fd00::1", "mail-1.skein.test"] {
            let made = make(folder.path(), &[host.to_owned()]).unwrap();
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
        let host = |name: &str| [name.to_owned()];
        assert!(make(folder.path(), &host("a.test")).unwrap().new_ca);
        let kept = fs::read(folder.path().join("a.test.pem")).unwrap();
        assert!(!make(folder.path(), &host("b.test")).unwrap().new_ca);

        let both = ["c.test".to_owned(), "a.test".to_owned()];
        let error = make(folder.path(), &both).err().unwrap().to_string();
        assert!(error.contains("a.test.pem exists"), "{error}");
        assert!(!folder.path().join("c.test.pem").exists());
        assert_eq!(fs::read(folder.path().join("a.test.pem")).unwrap(), kept);
        assert!(make(folder.path(), &host("../x")).is_err());
    }

    #[test]
    fn a_ca_of_another_kind_is_refused() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(folder.path(), &["a.test".to_owned()]).unwrap();
        make(elsewhere.path(), &["a.test".to_owned()]).unwrap();
        let key = "ca-key.pem";
        fs::copy(elsewhere.path().join(key), folder.path().join(key)).unwrap();
        let error = make(folder.path(), &["b.test".to_owned()]).err().unwrap();
        assert!(error.to_string().contains("skein dev-ca"), "{error:#}");
    }
}

//! The way to the admin API.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use skein_client::{Channel, tls};

/// Of the help.
const CONNECTION: &str = "Connection";

#[derive(Debug, Args)]
pub struct Server {
    /// The admin API of any control node: http://host:port or https://host:port.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7001"
    )]
    pub server: String,
    /// With https: the CA of the server's certificate, a PEM file. `send` and `probe` trust it too.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_CA",
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,
    /// With https: the certificate that says who you are, a PEM file.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_CERT",
        value_name = "FILE"
    )]
    cert: Option<PathBuf>,
    /// The private key of --cert.
    #[arg(
        long,
        global = true,
        help_heading = CONNECTION,
        env = "SKEINCTL_KEY",
        value_name = "FILE"
    )]
    key: Option<PathBuf>,
}

pub fn channel(to: &Server) -> anyhow::Result<Channel> {
    let shape = || {
        format!(
            "--server {:?} is not like http://host:port or https://host:port",
            to.server
        )
    };
    let Some(address) = to.server.strip_prefix("https://") else {
        return skein_client::connect(to.server.clone()).with_context(shape);
    };
    let Some(ca) = &to.ca else {
        bail!(
            "--server {}: https needs --ca FILE, the CA of the server",
            to.server
        );
    };
    let roots = tls::roots(&read("--ca", ca)?).with_context(|| name("--ca", ca))?;
    let own = match (&to.cert, &to.key) {
        (Some(cert), Some(key)) => {
            let chain = tls::own_chain(&read("--cert", cert)?);
            let chain = chain.with_context(|| name("--cert", cert))?;
            let private = tls::key(&read("--key", key)?).with_context(|| name("--key", key))?;
            Some(tls::identity(chain, private).with_context(|| name("--key", key))?)
        }
        (None, None) => None,
        (Some(_), None) => bail!("--cert needs --key FILE, its private key"),
        (None, Some(_)) => bail!("--key needs --cert FILE, the certificate that it is of"),
    };
    let config = tls::client_config(roots, own)?;
    let address = address.trim_end_matches('/');
    tls::connect(address, config).with_context(shape)
}

fn read(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| name(option, path))
}

fn name(option: &str, path: &Path) -> String {
    format!("{option} {}", path.display())
}
